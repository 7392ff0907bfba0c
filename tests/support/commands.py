"""The command line as a process of its own, to be stopped and killed."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

COMMAND = [sys.executable, "-c", "from nufitdose.cli import main; main()"]


def start_command(*arguments: object, **how) -> subprocess.Popen:
    """`nufitdose` with these arguments, from this source tree."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **how.pop("environment", {})}
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **how,
    )


def wait_for(found: Callable[[], bool], process: subprocess.Popen, seconds: float = 120.0) -> None:
    """Wait until something is so, while a process runs."""
    end = time.monotonic() + seconds
    while not found():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def unfinished(folder: Path) -> list[str]:
    """What runs have left half done in a folder, however deep."""
    return sorted(path.name for path in folder.rglob(".*") if ".unfinished" in path.name or ".previous" in path.name)
