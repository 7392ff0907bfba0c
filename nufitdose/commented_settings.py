"""All settings of a model as YAML with comments, from their defaults, their types and their docstrings.

What a docstring says in a sentence with the name of a field in backticks is the description of that field, unless the
field brings its own.
"""

import inspect
import json
import re
import textwrap
import types
import typing
from collections.abc import Iterable, Iterator

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from nufitdose.config import Settings, parse_yaml
from nufitdose.errors import InputError

_WIDTH = 100
_BOUNDS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤", "min_length": "length ≥", "max_length": "length ≤"}
_PLAIN: dict[object, str] = {str: "text", int: "whole number", float: "number", bool: "true | false"}
_SENTENCE = re.compile(r"(?<=\.)\s+(?=[A-Z`\"'(])|(?<=;)\s+(?=`)")


def commented_yaml(model: type[Settings]) -> str:
    """YAML text with every key of a model at its default; a key without one holds its own name in capitals."""
    return "\n".join(_lines(model, "")) + "\n"


def sentences_of(model: type[BaseModel]) -> list[tuple[str, list[str]]]:
    """The sentences of its docstring and of its bases', each with the fields it names, in their order there.

    Of the bases' only what names a field. A list with semicolons is taken apart where each item names a field.
    """
    found = []
    for base in (one for one in model.__mro__ if _is_model(one) and one not in (Settings, BaseModel)):
        for sentence in _sentences(base):
            named = [name for name in re.findall(r"`(\w+)(?=`|:)", sentence) if name in model.model_fields]
            if named or base is model:
                found.append((sentence, list(dict.fromkeys(named))))
    return found


def bounds_of(field: FieldInfo) -> str:
    """The bounds of a number, as ', ≥ 0'."""
    found = [
        f"{sign} {getattr(rule, bound):g}"
        for rule in field.metadata
        for bound, sign in _BOUNDS.items()
        if getattr(rule, bound, None) is not None
    ]
    return "".join(f", {bound}" for bound in found)


def _sentences(model: type) -> list[str]:
    """The docstring in sentences; a piece with an open parenthesis, or without a name, goes with the next."""
    whole: list[str] = []
    before = ""
    for new in _SENTENCE.split(" ".join(inspect.cleandoc(model.__doc__ or "").split())):
        piece = f"{before} {new}".strip()
        before = piece if piece.count("(") > piece.count(")") or (piece.endswith(";") and "`" not in piece) else ""
        if not before:
            whole.append(piece[:-1] + "." if piece.endswith(";") else piece)
    return [*whole, *filter(None, [before])]


def _lines(model: type[Settings], indent: str) -> Iterator[str]:
    sentences, known = sentences_of(model), model.known_names()
    yield from _comment(" ".join(sentence for sentence, named in sentences if not named), indent)
    for name, field in model.model_fields.items():
        if not indent:
            yield ""
        about = [sentence for sentence, named in sentences if named[:1] == [name]]
        yield from _comment(field.description or " ".join(about), indent)
        if _is_model(field.annotation):
            yield f"{indent}{name}:"
            yield from _lines(typing.cast(type[Settings], field.annotation), indent + "  ")
        else:
            yield from _entry(name, field, known.get(name, ()), indent)


def _entry(name: str, field: FieldInfo, known: Iterable[str], indent: str) -> Iterator[str]:
    """`key: value  # what else it may be`, that on lines above where it is long."""
    allowed = _type_words(field.annotation, known) + bounds_of(field)
    if field.is_required():
        value, allowed = name.upper(), f"needed; {allowed}"
    else:
        value = _as_yaml(field.get_default(call_default_factory=True))
    line = f"{indent}{name}: {value}"
    if len(line) + len(allowed) + 4 <= _WIDTH:
        yield f"{line}  # {allowed}"
    else:
        yield from _comment(f"{name}: {allowed}", indent)
        yield line


def _comment(text: str, indent: str) -> list[str]:
    start = f"{indent}# "
    return textwrap.wrap(
        text, _WIDTH, initial_indent=start, subsequent_indent=start, break_long_words=False, break_on_hyphens=False
    )


def _type_words(annotation: object, known: Iterable[str] = ()) -> str:
    """A type as a writer of YAML sees it; `known` are the names that a text may be."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if known and annotation is str:
        return " | ".join(known)
    if origin is typing.Annotated:
        return _type_words(arguments[0])
    if origin is typing.Literal:
        return " | ".join(map(str, arguments))
    if origin in (types.UnionType, typing.Union):
        return " | ".join("null" if part is type(None) else _type_words(part, known) for part in arguments)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return f"list: [{_type_words(arguments[0])}, ...]"
    if origin in (tuple, list):
        return f"list: [{', '.join(_type_words(part) for part in arguments)}]"
    if origin is dict:
        return f"mapping: {{{_type_words(arguments[0])}: {_type_words(arguments[1])}}}"
    if _is_model(annotation):
        return f"mapping of {', '.join(typing.cast(type[BaseModel], annotation).model_fields)}"
    return _PLAIN.get(annotation, "text" if getattr(annotation, "__name__", "") == "Path" else "anything")


def _as_yaml(value: object) -> str:
    """A value in one line that the strict reader turns into the same one."""
    text = json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and value:
        try:
            return value if parse_yaml(f"value: {value}", where="")["value"] == value else text
        except InputError:
            return text
    return text


def _is_model(annotation: object) -> bool:
    return isinstance(annotation, type) and not typing.get_args(annotation) and issubclass(annotation, BaseModel)
