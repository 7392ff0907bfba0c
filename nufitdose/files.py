"""A file or a folder appears whole or not at all: the one place that writes aside and renames.

What is being written stands beside its place under a hidden name that says which process writes it. A process
that is killed leaves that behind; the next one that writes to the same place clears it away.
"""

import itertools
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_UNFINISHED, _PREVIOUS = "unfinished", "previous"
_numbers = itertools.count()  # threads of one process may write one file at once


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A path beside `path`, of the same ending, to write to; renamed to `path` when the block ends well.

    Rights are those of any new file (the umask decides).
    """
    target = Path(path)
    sweep(target)
    ending = target.name[target.name.find(".", 1) :] if "." in target.name[1:] else ""
    aside = target.with_name(f"{_aside(target, _UNFINISHED)}-{next(_numbers)}{ending}")
    try:
        yield aside
        aside.replace(target)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def write_whole(path: str | Path, content: bytes | str) -> Path:
    """Write bytes, or text as UTF-8, whole or not at all; returns the path."""
    with whole_file(path) as aside:
        aside.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return Path(path)


@contextmanager
def whole_folder(path: str | Path, *, durable: bool = False) -> Iterator[Path]:
    """An empty folder beside `path` to write into; it takes the place of `path` when the block ends well.

    What was at `path` is gone then, unless the block has emptied the folder into it (`pour`) and removed it. With
    `durable` the files are on the disk, not in a cache, before that.
    """
    target = Path(path)
    sweep(target)
    aside = target.with_name(_aside(target, _UNFINISHED))
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        yield aside
        if durable:
            for written in sorted(aside.rglob("*")):
                _to_disk(written)
        if aside.exists():
            _take_place(aside, target)
        if durable:
            _to_disk(target.parent)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def pour(aside: Path, target: Path, outdated: Iterable[str], last: str) -> None:
    """Put the files of `aside` into `target` one by one, `last` last; of what is there only `outdated` files go.

    Each file is replaced whole. Names that lead out of `target` are passed over.
    """
    new = sorted(path.relative_to(aside) for path in aside.rglob("*") if not path.is_dir())
    for name in sorted(new, key=lambda name: name.as_posix() == last):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (aside / name).replace(target / name)
    kept = {name.as_posix() for name in new}
    for text in sorted(set(outdated) - kept, reverse=True):
        path = target / text
        if target not in path.resolve().parents or path.is_dir():
            continue
        path.unlink(missing_ok=True)
        for folder in path.parents:
            if folder == target or not folder.is_dir() or any(folder.iterdir()):
                break
            folder.rmdir()


def sweep(path: str | Path) -> None:
    """Remove what processes that run no more left beside `path`."""
    target = Path(path)
    left_by = re.compile(rf"\.{re.escape(target.name)}\.(?:{_UNFINISHED}|{_PREVIOUS})-(\d+)(?:[-.].*)?")
    try:
        beside = list(os.scandir(target.parent))
    except OSError:  # there is no such folder yet
        return
    for entry in beside:
        match = left_by.fullmatch(entry.name)
        if match is None or _runs(int(match[1])):
            continue
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            Path(entry.path).unlink(missing_ok=True)


def _aside(target: Path, what: str) -> str:
    return f".{target.name}.{what}-{os.getpid()}"


def _take_place(aside: Path, target: Path) -> None:
    previous = target.with_name(_aside(target, _PREVIOUS))
    if target.exists():
        target.rename(previous)
    aside.rename(target)
    shutil.rmtree(previous, ignore_errors=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
