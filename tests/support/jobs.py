"""Jobs that end well, badly, late or not at all, for processes of their own."""

import os
import signal
import sys
import time
from pathlib import Path

from nufitdose.errors import InputError


def square(number: int) -> int:
    return number * number


def once(folder: Path, number: int) -> int:
    """Leave a mark of being done."""
    with (folder / f"{number}.done").open("a") as file:
        file.write("x")
    return number


def refuse(text: str) -> None:
    raise InputError(text)


def fail_first(mark: Path, how: str) -> int:
    """Fail the first time, do well the second."""
    if mark.exists():
        return 7
    mark.write_text("tried")
    print("about to fail", file=sys.stderr, flush=True)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "abort":
        os.abort()
    if how == "exit":
        os._exit(3)
    if how == "sleep":
        time.sleep(60)
    if how == "memory":
        raise MemoryError("no more")
    raise ZeroDivisionError("by nought")


def hold(mark: Path, seconds: float) -> int:
    """Write the process, then wait."""
    mark.write_text(str(os.getpid()))
    time.sleep(seconds)
    return os.getpid()


def count_to_the_end(folder: Path, number: int, seconds: float) -> int:
    """Leave a mark of being begun, and after a while one of being done."""
    with (folder / f"{number}.begun").open("a") as file:
        file.write("x")
    time.sleep(seconds)
    return once(folder, number)
