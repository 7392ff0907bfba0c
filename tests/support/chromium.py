"""A page in a real browser: headless Chromium, without a display and without a graphics card, driven through a pipe."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_SECONDS = 240
_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader", "--hide-scrollbars", "--no-first-run",
    "--remote-debugging-pipe",
)  # fmt: skip
_OF_THE_CARD = "GPU stall due to ReadPixels"  # what the software card says
_FIRST_FREE = 10  # Chromium reads from 3 and writes to 4: the pipe's own ends stay clear of them


def find_chromium() -> str:
    """The program; the test is skipped where there is none."""
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium is installed: the page is not tried in a browser")
    return found


class Browser:
    """One page at a time; `console` is what it wrote there. Methods are those of the DevTools protocol."""

    def __init__(self, commands: int, answers: int) -> None:
        self.console: list[str] = []
        self._commands, self._answers, self._rest, self._last = commands, answers, b"", 0
        self._seen: set[str] = set()
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What the page answers to a command."""
        return self._ask(method, self._session, **parameters)

    def open(self, page: Path, *, width: int = 1000, height: int = 1400, dark: bool = False) -> None:
        """Show the page, and wait until it has loaded; what the one before wrote on the console is forgotten."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.ask("Emulation.setEmulatedMedia", features=scheme)
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.console, self._seen = [], set()
        self.ask("Page.navigate", url=page.as_uri())
        end = time.monotonic() + _SECONDS
        while "Page.loadEventFired" not in self._seen:
            self._take(self._message(end))

    def run(self, script: str) -> Any:
        """The value of an expression in the page, awaited where it is a promise."""
        found = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, key: str, code: int, text: str = "") -> None:
        """Press and release a key as a hand does."""
        named = {"key": key, "windowsVirtualKeyCode": code}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **named, text=text)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **named)

    def picture(self, path: Path, *, whole: bool = False) -> Path:
        """The page, or as much of it as the window shows, as PNG."""
        found = self.ask("Page.captureScreenshot", captureBeyondViewport=whole, **(self._whole() if whole else {}))
        path.write_bytes(base64.b64decode(found["data"]))
        return path

    def _whole(self) -> dict[str, Any]:
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}

    def _ask(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        self._last += 1
        asked = {"id": self._last, "method": method, "params": parameters}
        message = asked | ({"sessionId": session} if session else {})
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + _SECONDS
        while True:
            found = self._message(end)
            if found.get("id") == asked["id"]:
                assert "error" not in found, (method, found["error"])
                return found["result"]
            self._take(found)

    def _take(self, event: dict[str, Any]) -> None:
        method, said = event.get("method", ""), event.get("params", {})
        self._seen.add(method)
        if method == "Runtime.consoleAPICalled":
            self._say(" ".join(str(part.get("value", part.get("description"))) for part in said["args"]))
        elif method == "Runtime.exceptionThrown":
            self._say(str(said["exceptionDetails"]))
        elif method == "Log.entryAdded":
            self._say(said["entry"]["text"])

    def _say(self, words: str) -> None:
        if _OF_THE_CARD not in words:
            self.console.append(words)

    def _message(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._answers], [], [], max(end - time.monotonic(), 0.0))
            assert ready, f"Chromium did not answer within {_SECONDS} s"
            part = os.read(self._answers, 1 << 20)
            assert part, "Chromium ended"
            self._rest += part
        first, _, self._rest = self._rest.partition(b"\0")
        return json.loads(first)


def _clear_of_low_numbers(end: int) -> int:
    found = fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE)
    os.close(end)
    return found


@contextmanager
def chromium(work: Path) -> Iterator[Browser]:
    """A browser whose profile lies in `work`; it ends with the block."""
    program = find_chromium()
    ends = [_clear_of_low_numbers(end) for pair in (os.pipe(), os.pipe()) for end in pair]
    its_input, commands, answers, its_output = ends

    def hand_over() -> None:
        os.dup2(its_input, 3)
        os.dup2(its_output, 4)

    process = subprocess.Popen(
        [program, *_OPTIONS, f"--user-data-dir={work / 'profile'}"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        pass_fds=(3, 4), preexec_fn=hand_over,  # noqa: PLW1509 - no thread of the tests holds a lock here
    )  # fmt: skip
    os.close(its_input)
    os.close(its_output)
    try:
        yield Browser(commands, answers)
    finally:
        process.terminate()
        process.wait(_SECONDS)
        os.close(commands)
        os.close(answers)
