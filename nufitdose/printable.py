"""Text that came from a file, made fit for a terminal, a log or a table: no control characters, no end of it."""

import unicodedata

#: Control characters, halves of surrogate pairs, private and unassigned code points, marks that turn the writing.
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_FORMULA = ("=", "+", "-", "@")


def is_printable(text: str) -> bool:
    """Whether a terminal shows the text as it is."""
    return all(unicodedata.category(letter) not in _UNSAFE for letter in text)


def printable(text: str, *, most: int | None = None, lines: bool = False) -> str:
    """The text with what is not printable as escapes, and at most so many characters, the middle left out.

    With `lines` ends of lines and tabs stay.
    """
    if most is not None and len(text) > most:
        text = f"{text[: most // 2]} ... ({len(text)} characters) ... {text[-most // 4 :]}"
    if text.isascii() and text.isprintable():
        return text
    kept = "\n\t" if lines else ""
    return "".join(
        letter
        if letter in kept or unicodedata.category(letter) not in _UNSAFE
        else letter.encode("unicode_escape", "replace").decode("ascii")
        for letter in text
    )


def one_line(text: str, *, most: int | None = None) -> str:
    """The text on one line, what is not printable left out; cut after so many characters."""
    line = " ".join("".join(letter if is_printable(letter) else " " for letter in text).split())
    return line if most is None or len(line) <= most else f"{line[: most - 1].rstrip()}…"


def without_formula(text: str) -> str:
    """A table's cell that no spreadsheet takes as a formula: an apostrophe stands before = + - @, as they know it."""
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text
