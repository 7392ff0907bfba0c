"""The page as PDF, printed by a browser without a window; pages bear the patient and their number."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from nufitdose.errors import InputError
from nufitdose.files import write_whole

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")
_SECONDS = 300


def print_pdf(page: Path) -> Path:
    """`page` beside itself as .pdf. Raises `InputError` where no Chromium is installed or it prints nothing."""
    browser = next((path for name in _BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        raise InputError(
            f"no browser that prints was found ({', '.join(_BROWSERS)})",
            where=page,
            remedy="Install Chromium, or open the page and print it to a file",
        )
    with tempfile.TemporaryDirectory() as work:
        printed = Path(work) / "report.pdf"
        command = [
            browser, "--headless", "--disable-gpu", "--no-pdf-header-footer", f"--user-data-dir={work}/profile",
            *(["--no-sandbox"] if _is_root() else []),  # Chromium has no sandbox for root
            f"--print-to-pdf={printed}", page.resolve().as_uri(),
        ]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise InputError(f"the browser did not print within {_SECONDS} s", where=page) from error
        if not printed.is_file():
            said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
            raise InputError(f"the browser {browser} printed nothing; it said: {said}", where=page)
        return write_whole(page.with_suffix(".pdf"), printed.read_bytes())


def css_string(text: str) -> str:
    """Text as a CSS string that can hold anything and end nothing."""
    return '"' + "".join(c if c.isalnum() and c.isascii() else f"\\{ord(c):06x}" for c in text) + '"'


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0
