"""Compressed pixels, decoded in a process of their own.

The decoders are C and C++: what damaged bytes lead them into may end the process, take all memory or never come back.
One child serves all files; it is ended where it breaks a limit, and the next file gets a new one.
"""

import atexit
import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from pydicom import dcmread
from pydicom.pixels.utils import iter_pixels, pixel_array

_MOST_SECONDS = 60.0
_SECONDS_PER_BYTE = 2e-7  # 5 MB/s: slower than any decoder
_SPARE_BYTES = 1 << 30  # beside the pixels, which a decoder may hold three times
_START = "import sys; sys.path[:] = {path!r}; from nufitdose.io.dicom.read.decoding import serve; serve()"


class DecodingError(Exception):
    """Compressed pixels that cannot be decoded, and why."""


def decode(path: Path, most_bytes: int, frames: Sequence[int] | None = None) -> np.ndarray:
    """Stored values of a file, all or of these frames (from 0); `most_bytes` is what they take once decoded.

    Raises `DecodingError` where the decoder fails, dies, or goes beyond its memory or time.
    """
    return _DECODER.ask({"path": str(path.absolute()), "bytes": most_bytes, "frames": frames and list(frames)})


def serve() -> None:
    """The child: a line of JSON in, an array (or why there is none) out, until the input ends."""
    answers = sys.stdout.buffer
    sys.stdout = sys.stderr
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            _limit_memory(3 * asked["bytes"] + _SPARE_BYTES)
            dataset = dcmread(asked["path"], force=True)
            if asked["frames"] is None:
                found = pixel_array(dataset, raw=True)
            else:
                found = np.stack(list(iter_pixels(dataset, indices=asked["frames"], raw=True)))
        except Exception as error:  # pydicom raises whatever damaged bytes lead it into
            told = {"error": str(error)[:500] or type(error).__name__}
            answers.write(json.dumps(told).encode("ascii") + b"\n")
        else:
            answers.write(json.dumps({"type": found.dtype.str, "shape": found.shape}).encode("ascii") + b"\n")
            answers.write(np.ascontiguousarray(found).data)
        answers.flush()


def _limit_memory(most_bytes: int) -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):  # no such limits on Windows
        import resource

        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        soft = most_bytes if hard == resource.RLIM_INFINITY else min(most_bytes, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


class _Decoder:
    """The child, started on first use."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._one_at_a_time = threading.Lock()
        atexit.register(self._end)

    def ask(self, request: dict[str, Any]) -> np.ndarray:
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
                raise DecodingError(f"the decoder {late} over these pixels") from error
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


def _answer(child: subprocess.Popen[bytes], request: dict[str, Any]) -> np.ndarray:
    to_child, from_child = cast(IO[bytes], child.stdin), cast(IO[bytes], child.stdout)
    to_child.write(json.dumps(request).encode("ascii") + b"\n")
    to_child.flush()
    told = json.loads(from_child.readline())
    if "error" in told:
        raise DecodingError(told["error"])
    found = np.empty(told["shape"], dtype=told["type"])
    left = memoryview(cast(Any, found)).cast("B")
    while left:
        count = cast(Any, from_child).readinto(left)
        if not count:
            raise ValueError("the child ended")
        left = left[count:]
    return found


_DECODER = _Decoder()
