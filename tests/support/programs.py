"""Programs of other people that tests ask for their opinion; a test skips where they are not installed."""

import shutil
import subprocess
from pathlib import Path

import pytest

_PACKAGES = {"dciodvfy": "dicom3tools", "dcmdump": "dcmtk", "plastimatch": "plastimatch"}


def run_program(name: str, *words: str | Path) -> str:
    """What a program says, on both streams; skips with a reason where it is absent."""
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed (Debian package {_PACKAGES[name]}; .ci/run installs it)")
    done = subprocess.run(
        [name, *map(str, words)], capture_output=True, text=True, errors="replace", timeout=120, check=False
    )
    return done.stdout + done.stderr


def standard_errors(path: Path) -> list[str]:
    """What dciodvfy finds against the standard in an object; warnings are not counted."""
    said = run_program("dciodvfy", path)
    assert said.strip(), "dciodvfy said nothing"
    return [line for line in said.splitlines() if line.startswith(("Error", "Assertion", "Abort"))]
