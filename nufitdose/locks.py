"""One process at a time writes to a folder: a lock that the system lets go when its holder ends, however it ends."""

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nufitdose.errors import InputError
from nufitdose.files import workplace

_LOOK_S = 0.2


@contextmanager
def locked(path: str | Path, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold a folder (which need not exist yet) for this process while the block runs.

    The lock is a hidden file beside the folder, inside it where its parent cannot be written. Raises `InputError`, with
    who holds it, when another run does so for longer than `wait_s`. Where the file system knows no locks nothing is
    held.
    """
    target = Path(path).resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    file = workplace(target) / _name(target)
    end_s = time.monotonic() + wait_s
    while (handle := _try(file)) is None:
        if time.monotonic() >= end_s:
            raise InputError(
                f"another run writes to this folder ({_holder(file)})",
                where=target,
                remedy="Wait until it has ended, or choose another --out",
            )
        time.sleep(_LOOK_S)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)
        os.close(handle)


def holds_something(folder: Path) -> bool:
    """Whether a folder has anything in it but its lock."""
    return folder.is_dir() and any(path.name != _name(folder) for path in folder.iterdir())


def _name(target: Path) -> str:
    return f".{target.name}.lock"


def _try(file: Path) -> int | None:
    """The handle of the lock, None where another holds it."""
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        except OSError:  # a file system without locks
            return handle
        if _is(file, handle):
            os.ftruncate(handle, 0)
            os.write(handle, json.dumps({"process": os.getpid(), "host": socket.gethostname()}).encode())
            return handle
        os.close(handle)  # its holder has removed it meanwhile


def _is(file: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(file), os.fstat(handle))
    except OSError:
        return False


def _holder(file: Path) -> str:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return f"process {content['process']} on {content['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "just begun"
