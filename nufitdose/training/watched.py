"""A training stage in a process of its own, its validations watched from outside."""

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from nufitdose.training.records import read_table

_LOOK_EVERY_S = 1.0
_PATIENCE_S = 20.0  # for a run to end when it is asked to

Row = Mapping[str, float]


def stage_command(stage: str) -> list[str]:
    """A stage as a program; folders of the same name in the working directory are not looked at."""
    return [sys.executable, "-P", "-m", stage]


def run_watched(
    command: Sequence[str], log: Path, validation: Path, held: int, on_row: Callable[[Row], bool]
) -> int | None:
    """Run a command; its exit code, or None where it was ended because `on_row` said so of a row of `validation`.

    What it prints goes to `log`; it inherits the open file `held`. It does not outlive an exception here.
    """
    seen = 0
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, pass_fds=(held,))
        try:
            while True:
                code = _wait_a_moment(process)
                rows = read_table(validation) if validation.is_file() else []
                stop = False
                for row in rows[seen:]:
                    stop = on_row(row) or stop
                seen = len(rows)
                if code is not None:
                    return code
                if stop:
                    return None
        finally:
            _end(process)


def _wait_a_moment(process: "subprocess.Popen[bytes]") -> int | None:
    """The exit code, once it has ended; waits for a moment."""
    try:
        return process.wait(timeout=_LOOK_EVERY_S)
    except subprocess.TimeoutExpired:
        return None


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
