"""The folder a run writes: whole or not at all, with run.json saying how it came about."""

import contextlib
import errno
import hashlib
import json
import logging
import os
import platform
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from nufitdose.errors import InputError, RunStopped
from nufitdose.files import pour, sweep, whole_folder, write_whole
from nufitdose.locks import holds_something, locked
from nufitdose.printable import printable

RECORD = "run.json"
_PACKAGES = (
    "nufitdose",
    "torch",
    "numpy",
    "scipy",
    "numba",
    "lmfit",
    "nibabel",
    "pydicom",
    "highdicom",
    "radioactivedecay",
    "icrp107-database",
)

_LONGEST_WARNING = 2000  # characters
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass
class RunRecord:
    """What run.json will say; `warnings` are what the user should know."""

    command: str
    config: Mapping[str, Any]
    seed: int = 0
    device: str = "cpu"
    inputs: dict[str, str] = field(default_factory=dict)
    timings_s: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def add_inputs(self, files: Iterable[Path], relative_to: Path) -> None:
        """Record the sha256 of each input file under its path relative to a folder."""
        for path in files:
            name = os.path.relpath(path, relative_to)
            self.inputs[Path(name).as_posix()] = sha256(path)

    def to_dict(self) -> dict[str, Any]:
        """The content of run.json."""
        return {
            "command": self.command,
            "started": self.started,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": versions(),
            "config": self.config,
            "seed": self.seed,
            "device": self.device,
            "inputs": [{"path": path, "sha256": digest} for path, digest in sorted(self.inputs.items())],
            "timings_s": {name: round(seconds, 3) for name, seconds in self.timings_s.items()},
            "warnings": self.warnings,
            **self.notes,
        }


class _Collector(logging.Handler):
    def __init__(self, record: RunRecord) -> None:
        super().__init__(logging.WARNING)
        self.record = record

    def emit(self, record: logging.LogRecord) -> None:
        message = printable(record.getMessage(), most=_LONGEST_WARNING)
        if message not in self.record.warnings:
            self.record.warnings.append(message)


@contextmanager
def collected_warnings(record: RunRecord) -> Iterator[None]:
    """Send what the program's own loggers warn of into the record while the block runs."""
    collector = _Collector(record)
    loggers = [logging.getLogger(name) for name in ("nufitdose", "dosimetry", "pretrain", "finetune")]
    for logger in loggers:
        logger.addHandler(collector)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(collector)


@contextmanager
def output_folder(out: str | Path, *, kind: str, inputs: Iterable[Path] = (), keep: bool = False) -> Iterator[Path]:
    """A folder to write into, renamed to `out` when the block ends well and removed when it does not.

    An earlier result of the same `kind` (its run.json says which command wrote it) is replaced at the very end, file by
    file: what it wrote goes, everything else in the folder stays. Raises `InputError` when `out` lies inside one of
    `inputs` or holds one, holds something else or, where that is to `keep`, an earlier result, or cannot be written.
    """
    target = Path(out).resolve()
    _check_place(target, inputs)
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(target))
            sweep(target)
            earlier = _check_earlier(target, kind, keep)
            place = stack.enter_context(whole_folder(target))
        except OSError as error:
            raise _not_writable(out, error) from error
        with _told_when_full(out):
            yield place
            _list_files(place)
            if earlier is not None:
                _announce(place, target, earlier)
                pour(place, target, earlier, last=RECORD)
                shutil.rmtree(place)


@contextmanager
def growing_folder(out: str | Path, *, marker: str, kind: str, inputs: Iterable[Path] = ()) -> Iterator[Path]:
    """A folder that a run fills part by part, so that a stopped one goes on; the run holds it meanwhile.

    Raises `InputError` as `output_folder` does, and where the folder holds something and no folder `marker`, which is
    made first, tells that a run of this `kind` left it.
    """
    target = Path(out).resolve()
    _check_place(target, inputs)
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(target))
            if holds_something(target) and not (target / marker).is_dir():
                raise InputError(
                    f"the folder is not empty and holds no {kind}", where=target, remedy="Choose a new folder"
                )
            (target / marker).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _not_writable(out, error) from error
        with _told_when_full(out):
            yield target


@contextmanager
def _told_when_full(out: str | Path) -> Iterator[None]:
    """`RunStopped` with the folder where the system has no room for what is written."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise RunStopped(
            f"{out}: the result could not be written ({error.strerror}). Make room and start again; "
            "nothing is left half written."
        ) from error


def _not_writable(out: str | Path, error: OSError) -> InputError:
    return InputError(
        f"the output folder cannot be made ({error.strerror})",
        where=out,
        remedy="Choose a folder you can write to",
    )


def _announce(place: Path, target: Path, earlier: list[str]) -> None:
    """Have run.json of the earlier result say that it is being replaced, and all files that a rerun may remove."""
    new = [path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()]
    known = _earlier(target) or {}
    files = sorted({*earlier, *new})
    content = {"command": known.get("command"), "unfinished": "it was being replaced by a later run", "files": files}
    write_whole(target / RECORD, json.dumps(content, indent=2) + "\n")


def _list_files(folder: Path) -> None:
    """Have run.json say which files the run wrote, so that a later one knows them from others."""
    record = folder / RECORD
    if record.is_file():
        content = json.loads(record.read_text(encoding="utf-8"))
        content["files"] = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        write_whole(record, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _check_place(target: Path, inputs: Iterable[Path]) -> None:
    """Raise `InputError` where the output would be a file, or lie in an input or about one."""
    if target.exists() and not target.is_dir():
        raise InputError("a file of this name exists, a folder is wanted", where=target)
    for folder in inputs:
        source, place = folder.resolve(), target
        if place == source or source in place.parents:
            raise InputError(
                "the output folder lies inside the input", where=target, remedy="Choose --out outside the study folder"
            )
        if place in source.parents:
            raise InputError("the input lies inside the output folder", where=target, remedy="Choose another --out")


def _check_earlier(target: Path, kind: str, keep: bool) -> list[str] | None:
    """The files of an earlier result of the same kind that is to be replaced; None where the folder is new or empty."""
    if not holds_something(target):
        return None
    found = _earlier(target)
    if found is None or found.get("command") != kind:
        what = f"a result of '{found['command']}'" if found and found.get("command") else "no earlier result"
        raise InputError(
            f"the folder is not empty and holds {what}, not one of '{kind}' ({RECORD})",
            where=target,
            remedy="Choose a new folder; nothing was changed",
        )
    if keep:
        raise InputError(
            f"a result of '{kind}' is already here, perhaps with edits of yours",
            where=target,
            remedy="Choose a new folder, or replace its files with --force; others in the folder stay either way",
        )
    files = found.get("files")
    return [name for name in files if isinstance(name, str)] if isinstance(files, list) else []


def _earlier(folder: Path) -> dict[str, Any] | None:
    """What run.json says; None where there is none that can be read."""
    try:
        content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def write_record(record: RunRecord, folder: Path) -> None:
    """Write run.json."""
    text = json.dumps(record.to_dict(), indent=2, ensure_ascii=False, default=str)
    write_whole(folder / RECORD, text + "\n")


def read_record(folder: Path, command: str) -> dict[str, Any]:
    """What run.json says of a result of `command`. Raises `InputError` where there is none."""
    found = _earlier(folder)
    if found is None or found.get("command") != command:
        raise InputError(
            f"this is no result of 'nufitdose {command}': {RECORD} is missing or says something else",
            where=folder,
            remedy="Give the folder that was its --out",
        )
    return found


def read_warnings(folder: Path) -> list[str]:
    """The warnings of the run that wrote a folder."""
    found = (_earlier(folder) or {}).get("warnings", [])
    return [str(warning) for warning in found]


def versions() -> dict[str, str]:
    """Versions of the program, of what it stands on, and of the system."""
    found = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
