"""The folder a run writes: whole or not at all, with run.json saying how it came about."""

import contextlib
import hashlib
import json
import logging
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from nufitdose.errors import InputError
from nufitdose.files import whole_folder, write_whole

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
    "radioactivedecay",
    "icrp107-database",
)


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
        message = record.getMessage()
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
def output_folder(out: str | Path, *, inputs: Iterable[Path] = ()) -> Iterator[Path]:
    """A folder to write into, renamed to `out` when the block ends well and removed when it does not.

    An earlier result at `out` (a folder with run.json) is replaced at the very end. Raises `InputError`
    when `out` lies inside one of `inputs` or holds one, holds something else, or cannot be written.
    """
    target = Path(out).resolve()
    _check_target(target, inputs)
    with ExitStack() as stack:
        try:
            place = stack.enter_context(whole_folder(target))
        except OSError as error:
            raise InputError(
                f"the output folder cannot be made ({error.strerror})",
                where=out,
                remedy="Choose a folder you can write to",
            ) from error
        yield place


def _check_target(target: Path, inputs: Iterable[Path]) -> None:
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
    if target.is_dir() and any(target.iterdir()) and not (target / RECORD).is_file():
        raise InputError(
            f"the folder is not empty and holds no earlier result (no {RECORD})",
            where=target,
            remedy="Choose a new folder; nothing was changed",
        )


def write_record(record: RunRecord, folder: Path) -> None:
    """Write run.json."""
    text = json.dumps(record.to_dict(), indent=2, ensure_ascii=False, default=str)
    write_whole(folder / RECORD, text + "\n")


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
