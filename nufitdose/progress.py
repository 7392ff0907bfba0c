"""What is being done and how long it will take: a bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import IO, TYPE_CHECKING, Protocol, cast, runtime_checkable

from nufitdose.printable import printable

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

OnProgress = Callable[[float], None]  # takes the finished share of a step, 0 to 1

_began_s: ContextVar[float | None] = ContextVar("_began_s", default=None)


@contextmanager
def one_clock() -> Iterator[None]:
    """Let every `Steps` within show seconds since this began, however many parts a command has.

    Within another clock that one goes on.
    """
    token = _began_s.set(_began())
    try:
        yield
    finally:
        _began_s.reset(token)


def _began() -> float:
    running = _began_s.get()
    return time.monotonic() if running is None else running


@runtime_checkable
class Stream(Protocol):
    """Where progress is shown; standard error for a command."""

    def write(self, text: str, /) -> object:
        """Take text."""

    def flush(self) -> object:
        """Pass on what was taken."""

    def isatty(self) -> bool:
        """Whether a person watches."""


def tell_warnings(warnings: Iterable[str], stream: Stream | None) -> None:
    """Write a line for each on `stream`, if there is one."""
    for warning in warnings:
        if stream is not None:
            print(f"warning: {warning}", file=stream, flush=True)


class Steps:
    """Timed steps of known relative cost, shown on `stream` (nothing is shown where it is None).

    Use as a context manager; `planned` is the sum of the weights of all steps to come, so that the bar
    and the remaining time mean the whole run. `seconds` holds what each step took; the seconds shown count from the
    start of the command (see `one_clock`), else from here.
    """

    def __init__(self, planned: float, stream: Stream | None = None) -> None:
        self.planned = planned
        self.seconds: dict[str, float] = {}
        self._stream = stream
        self._start = _began()
        self._done = 0.0
        self._note = ""
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> "Steps":
        if self._stream is not None and self._stream.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

            columns = (
                TextColumn("{task.description:<34}"),
                BarColumn(bar_width=30),
                TextColumn("{task.percentage:>3.0f} %"),
                TimeElapsedColumn(),
                TextColumn("·"),
                TimeRemainingColumn(),
                TextColumn("left"),
            )
            console = Console(file=cast(IO[str], self._stream))
            self._bar = Progress(*columns, console=console, transient=True, get_time=time.monotonic)
            self._task = self._bar.add_task("starting", total=self.planned)
            self._bar.tasks[0].start_time = self._start
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    @contextmanager
    def step(self, name: str, weight: float = 1.0) -> Iterator[OnProgress]:
        """One step; yields a callable that takes its finished share."""
        begun, self._note = time.monotonic(), ""
        self._show(name, 0.0)
        if self._stream is not None and self._bar is None:
            print(f"[{begun - self._start:6.1f} s] {printable(name)}", file=self._stream, flush=True)
        yield lambda share: self._show(name, weight * min(max(share, 0.0), 1.0))
        self._done += weight
        self._show(name, 0.0)
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - begun

    def note(self, words: str) -> None:
        """Words that the bar shows beside the name of this step from its next share on, such as a loss."""
        self._note = f", {words}"

    def _show(self, name: str, within: float) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=name + self._note, completed=self._done + within)
