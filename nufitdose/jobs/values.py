"""What is to be done, what came of it, and how it stands meanwhile."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


@dataclass(frozen=True)
class Job:
    """A call of a function that an import finds, with arguments and a result that pickle can carry.

    `key` names it among the others, `memory_mb` is what it is expected to need (0: no idea).
    """

    key: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    named: Mapping[str, Any] = field(default_factory=dict)
    memory_mb: float = 0.0


class FaultKind(StrEnum):
    """Why a job came to nothing."""

    INPUT = "bad input"
    ERROR = "error"
    MEMORY = "out of memory"
    KILLED = "killed"
    TIMEOUT = "timeout"


@dataclass(frozen=True)
class Fault:
    """Why a job came to nothing, in words; `said` is the end of what its process wrote to standard error."""

    kind: FaultKind
    text: str
    said: str = ""

    @property
    def worth_a_retry(self) -> bool:
        """Whether the same again may end otherwise; bad input stays what it is."""
        return self.kind is not FaultKind.INPUT

    @property
    def of_memory(self) -> bool:
        """Whether want of memory is why, or may be: the system kills the largest process with signal 9."""
        return self.kind in (FaultKind.MEMORY, FaultKind.KILLED)


@dataclass(frozen=True)
class Outcome:
    """What came of a job: its value, or a fault. `peak_mb` is NaN where the system does not tell it."""

    key: str
    value: Any
    fault: Fault | None
    seconds: float
    peak_mb: float
    host: str
    tries: int = 1


@dataclass(frozen=True)
class Running:
    """A job at work: for how long, with how much memory, and the last line that it wrote ("": not known)."""

    key: str
    seconds: float
    memory_mb: float = float("nan")
    line: str = ""


#: Takes the jobs at work, about once a second.
Watch = Callable[[Sequence[Running]], None]
