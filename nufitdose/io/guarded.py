"""Files read in a process of their own.

Decoders and readers of images are C and C++: what damaged bytes lead them into may end the process, take all memory or
never come back. One child serves all files; it is ended where it breaks a limit, and the next file gets a new one.
"""

import atexit
import contextlib
import importlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import IO, Any, cast

import numpy as np

_MOST_SECONDS = 60.0
_SECONDS_PER_BYTE = 2e-7  # 5 MB/s: slower than any reader
_SPARE_BYTES = 1 << 30  # beside the voxels, which a reader may hold three times
_START = "import sys; sys.path[:] = {path!r}; from nufitdose.io.guarded import serve; serve()"

#: What a reader makes of a file, for JSON, and its voxels where it reads them.
Read = tuple[dict[str, Any], np.ndarray | None]


class ReadingError(Exception):
    """A file that cannot be read, and why."""


def read_guarded(reader: Callable[..., Read], most_bytes: int, **arguments: Any) -> Read:
    """What `reader` returns for `arguments` (for JSON) in the child; `most_bytes` is what the voxels take.

    `reader` is a function of a module, known by its name there. Raises `ReadingError` where it raises anything, dies,
    or goes beyond its memory or time.
    """
    name = f"{reader.__module__}:{reader.__name__}"
    return _CHILD.ask({"reader": name, "bytes": most_bytes, "arguments": arguments})


def serve() -> None:
    """The child: a line of JSON in; facts (or why there are none) and voxels out, until the input ends."""
    answers = sys.stdout.buffer
    sys.stdout = sys.stderr
    for line in sys.stdin:
        asked = json.loads(line)
        module, name = asked["reader"].split(":")
        try:
            _limit_memory(3 * asked["bytes"] + _SPARE_BYTES)
            facts, voxels = getattr(importlib.import_module(module), name)(**asked["arguments"])
            told = {"facts": facts}
            if voxels is not None:
                told |= {"type": voxels.dtype.str, "shape": voxels.shape}
            head = json.dumps(told)
        except Exception as error:  # readers raise whatever damaged bytes lead them into
            head, voxels = json.dumps({"error": str(error)[:500] or type(error).__name__}), None
        answers.write(head.encode("ascii") + b"\n")
        if voxels is not None:
            answers.write(np.ascontiguousarray(voxels).data)
        answers.flush()


def _limit_memory(most_bytes: int) -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):  # no such limits on Windows
        import resource

        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        soft = most_bytes if hard == resource.RLIM_INFINITY else min(most_bytes, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


class _Child:
    """The child, started on first use."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._one_at_a_time = threading.Lock()
        atexit.register(self._end)

    def ask(self, request: dict[str, Any]) -> Read:
        with self._one_at_a_time:
            if self._child is None or self._child.poll() is not None:
                self._child = self._started()
            child = self._child
            seconds = _MOST_SECONDS + _SECONDS_PER_BYTE * request["bytes"]
            alarm = threading.Timer(seconds, child.kill)
            alarm.start()
            try:
                return _answer(child, request)
            except (OSError, ValueError) as error:
                self._end()
                late = "takes too long" if alarm.finished.is_set() else "broke down"
                raise ReadingError(f"the reader {late} over these bytes") from error
            finally:
                alarm.cancel()

    def _started(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", _START.format(path=sys.path)]
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            with child, contextlib.suppress(OSError):  # closes its pipes and waits
                pass


def _answer(child: subprocess.Popen[bytes], request: dict[str, Any]) -> Read:
    to_child, from_child = cast(IO[bytes], child.stdin), cast(IO[bytes], child.stdout)
    to_child.write(json.dumps(request).encode("ascii") + b"\n")
    to_child.flush()
    told = json.loads(from_child.readline())
    if "error" in told:
        raise ReadingError(told["error"])
    if "shape" not in told:
        return told["facts"], None
    found = np.empty(told["shape"], dtype=told["type"])
    left = memoryview(cast(Any, found)).cast("B")
    while left:
        count = cast(Any, from_child).readinto(left)
        if not count:
            raise ValueError("the child ended")
        left = left[count:]
    return told["facts"], found


_CHILD = _Child()
