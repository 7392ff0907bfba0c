"""The exceptions that end a command with a sentence: what a user can mend, and a run that cannot go on."""

from pathlib import Path

from nufitdose.printable import printable

_LONGEST = 2000  # characters of a problem: what is wrong may hold what a file said
_LONGEST_PLACE = 500


class InputError(Exception):
    """A mistake in what the user gave: what was got, where, and what to do.

    `problem` says what was got and what was wanted, `where` is the file (and time point or tag),
    `remedy` what to do. The command line prints the three as one paragraph and exits with code 2. Texts are cut
    where they are very long, and control characters in them are shown as escapes.
    """

    def __init__(self, problem: str, *, where: str | Path | None = None, remedy: str | None = None) -> None:
        self.problem = printable(problem, most=_LONGEST, lines=True).rstrip(".")
        self.where = None if where is None else printable(str(where), most=_LONGEST_PLACE)
        self.remedy = None if remedy is None else remedy.rstrip(".")
        super().__init__(str(self))

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        remedy = f" {self.remedy}." if self.remedy else ""
        return f"{where}{self.problem}{'' if self.problem.endswith('?') else '.'}{remedy}"

    def located(self, where: str | Path) -> "InputError":
        """The same error with its place, where it did not name one yet."""
        return self if self.where else InputError(self.problem, where=where, remedy=self.remedy)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (self.problem, self.where, self.remedy))


class RunStopped(Exception):  # noqa: N818  (a run that stops is no error in the input)
    """A run that cannot go on although nothing given was wrong; the command line prints it and exits with code 1."""


def _rebuild(problem: str, where: str | None, remedy: str | None) -> InputError:
    return InputError(problem, where=where, remedy=remedy)
