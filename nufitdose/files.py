"""A file or a folder appears whole or not at all: the one place that writes aside and renames.

What is being written stands beside its place under a hidden name that says which process writes it; inside it, where
the place is a mounted folder or its parent cannot be written. A process that is killed leaves that behind; the next one
that writes to the same place clears it away.
"""

import contextlib
import itertools
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nufitdose.errors import InputError

_UNFINISHED, _PREVIOUS = "unfinished", "previous"
_numbers = itertools.count()  # threads of one process may write one file at once


def read_text(path: str | Path, most_bytes: int) -> str:
    """A text file in UTF-8 of at most so many bytes; `InputError` on anything else, pipes and devices among it."""
    path = Path(path)
    try:
        if not path.exists():
            raise InputError("there is no such file", where=path)
        if not path.is_file():  # a pipe would be waited for, a device never ends
            raise InputError("this is no regular file", where=path, remedy="Name a file")
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
        if len(content) > most_bytes:
            raise InputError(f"the file is longer than {most_bytes >> 10} kB, a text of settings is wanted", where=path)
        return content.decode("utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"the file cannot be read as UTF-8 text ({error})", where=path) from error


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
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = workplace(target) / _aside(target, _UNFINISHED)
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        yield aside
        if durable:
            for written in sorted(aside.rglob("*")):
                sync_to_disk(written)
        if aside.exists():
            _take_place(aside, target)
        if durable:
            sync_to_disk(target.parent)
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
        _put(aside / name, target / name)
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
    """Remove what processes that run no more left beside `path`, or in it."""
    target = Path(path)
    left_by = re.compile(rf"\.{re.escape(target.name)}\.(?:{_UNFINISHED}|{_PREVIOUS})-(\d+)(?:t(\d+))?(?:[-.].*)?")
    found: list[os.DirEntry[str]] = []
    for place in (target.parent, target):
        with contextlib.suppress(OSError):  # there is no such folder yet
            found += os.scandir(place)
    for entry in found:
        match = left_by.fullmatch(entry.name)
        if match is None or _at_work(int(match[1]), match[2]):
            continue
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            Path(entry.path).unlink(missing_ok=True)


def workplace(target: Path) -> Path:
    """The folder to write aside in: that of the target, or the target itself where only that can be written."""
    if target.is_dir() and (os.path.ismount(target) or not os.access(target.parent, os.W_OK)):
        return target
    return target.parent


def _aside(target: Path, what: str) -> str:
    known = _state(os.getpid())
    return f".{target.name}.{what}-{os.getpid()}" + (f"t{known[1]}" if known else "")


def _take_place(aside: Path, target: Path) -> None:
    if aside.parent == target:
        _fill(aside, target)
        return
    previous = target.with_name(_aside(target, _PREVIOUS))
    if target.exists():
        try:
            target.rename(previous)
        except OSError:  # a mounted folder that does not look like one cannot be renamed
            _fill(aside, target)
            return
    aside.rename(target)
    shutil.rmtree(previous, ignore_errors=True)


def _fill(aside: Path, target: Path) -> None:
    """Make a folder that cannot be replaced hold what `aside` holds."""
    new = {path.name for path in aside.iterdir()}
    for path in [path for path in target.iterdir() if path != aside and path.name not in new]:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for path in sorted(aside.iterdir(), key=lambda path: path.is_file()):  # files, which tell of the rest, last
        if (target / path.name).is_dir():
            shutil.rmtree(target / path.name)
        _put(path, target / path.name)
    aside.rmdir()


def _put(source: Path, target: Path) -> None:
    """Move a file or folder, across file systems too."""
    try:
        source.replace(target)
    except OSError:
        aside = target.with_name(f"{_aside(target, _UNFINISHED)}-{next(_numbers)}")
        shutil.move(source, aside)
        aside.replace(target)


def _at_work(process: int, began: str | None) -> bool:
    """Whether the process that wrote something runs: not one that ended and waits, nor a later one of its number."""
    if not _runs(process):
        return False
    known = _state(process)
    return known is None or (known[0] not in "ZX" and began in (None, known[1]))


def _state(process: int) -> tuple[str, str] | None:
    """The state of a process as one letter and the clock tick at which it began; None where that cannot be known."""
    try:
        fields = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:  # no Linux, or the process belongs to somebody who hides it
        return None
    return (fields[0].decode("ascii"), fields[19].decode("ascii")) if len(fields) > 19 else None


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def sync_to_disk(path: Path) -> None:
    """Return when a file or a folder's list of names is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
