"""Programs of other people that tests ask for their opinion; a test skips where they are not installed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_PACKAGES = {"dciodvfy": "dicom3tools", "dcmdump": "dcmtk", "plastimatch": "plastimatch", "storescu": "dcmtk"}


def find_program(name: str) -> str:
    """Where a program is; skips with a reason where it is absent.

    Those of this Python's own environment do not count: pynetdicom brings a storescu of its own.
    """
    folders = [f for f in os.get_exec_path() if Path(f) != Path(sys.prefix) / "bin"]
    found = shutil.which(name, path=os.pathsep.join(folders))
    if found is None:
        pytest.skip(f"{name} is not installed (Debian package {_PACKAGES[name]}; .ci/run installs it)")
    return found


def run_program(name: str, *words: str | Path) -> str:
    """What a program says, on both streams; skips with a reason where it is absent."""
    done = subprocess.run(
        [find_program(name), *map(str, words)],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
        check=False,
    )
    return done.stdout + done.stderr


def standard_errors(path: Path) -> list[str]:
    """What dciodvfy finds against the standard in an object; warnings are not counted."""
    said = run_program("dciodvfy", path)
    assert said.strip(), "dciodvfy said nothing"
    return [line for line in said.splitlines() if line.startswith(("Error", "Assertion", "Abort"))]
