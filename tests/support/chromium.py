"""A page in a real browser: headless Chromium, without a display and without a graphics card."""

import shutil
import subprocess
from pathlib import Path

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_SECONDS = 240


def find_chromium() -> str:
    """The program; the test is skipped where there is none."""
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium is installed: the page is not tried in a browser")
    return found


def in_chromium(page: Path, work: Path, *wanted: str, width: int = 1000, height: int = 1400) -> tuple[str, list[str]]:
    """What Chromium prints for `wanted` (--dump-dom, --screenshot=...), and what the page wrote on the console."""
    command = [
        find_chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader",
        "--hide-scrollbars", "--virtual-time-budget=15000", f"--window-size={width},{height}",
        f"--user-data-dir={work / 'profile'}", "--enable-logging=stderr", *wanted, page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)
    said = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return done.stdout, [line for line in said if "GPU stall due to ReadPixels" not in line]  # of the software card
