"""DICOM files found in a folder at any depth, and what was passed over there."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pydicom import config
from pydicom.dataset import Dataset
from pydicom.filereader import read_partial

from nufitdose.errors import InputError
from nufitdose.io.dicom.read.headers import IDENTITY, Header, quiet, read_header
from nufitdose.progress import OnProgress

_SERIES_INSTANCE_UID = 0x0020000E
_PREAMBLE, _MAGIC = 128, b"DICM"


@dataclass(frozen=True, eq=False)
class Damaged:
    """A file that cannot be read, why, and the series it belongs to; empty where that cannot be told."""

    path: Path
    problem: InputError
    series_uid: str


@dataclass(frozen=True, eq=False)
class Found:
    """What a folder holds: DICOM headers in order of path, and what was passed over.

    `links` are links to folders, which are not followed; `unreadable` are folders that cannot be listed, `damaged`
    are files that cannot be read.
    """

    headers: tuple[Header, ...]
    other_files: int
    copies: tuple[Path, ...]
    links: tuple[Path, ...] = ()
    unreadable: tuple[Path, ...] = ()
    damaged: tuple[Damaged, ...] = ()

    @property
    def incomplete(self) -> dict[str, InputError]:
        """The series of which a file cannot be read, by UID, and why."""
        return {one.series_uid: one.problem for one in reversed(self.damaged) if one.series_uid}


def find_dicom(folder: Path, on_progress: OnProgress = lambda share: None) -> Found:
    """Read the headers of all DICOM files in a folder, at any depth.

    Other files, DICOMDIR among them, are counted and passed over; of byte-identical copies one is kept. `on_progress`
    is told before each file. Raises
    `InputError` where the folder is missing or holds no DICOM that can be read, or where an otherwise sound header
    does not say its series.
    """
    if not folder.is_dir():
        problem = "this is a file, a folder is wanted" if folder.exists() else "there is no such folder"
        raise InputError(problem, where=folder, remedy="Give the folder that holds the DICOM files")
    headers: list[Header] = []
    damaged: list[Damaged] = []
    links: list[Path] = []
    unreadable: list[Path] = []
    others = 0
    paths = list(_files(folder, links, unreadable))
    for number, path in enumerate(paths, start=1):
        on_progress(number / len(paths))
        try:
            header = read_header(path)
        except InputError as problem:
            damaged.append(Damaged(path, problem, _series_of(path, problem)))
            continue
        if header is None:
            others += 1
        else:
            headers.append(header)
    if damaged and not headers:
        raise damaged[0].problem
    if not headers:
        raise InputError(
            f"no DICOM images were found among {others} files",
            where=folder,
            remedy="Give the folder that holds the DICOM files; it is searched at any depth",
        )
    unique, copies = _without_copies(headers)
    return Found(tuple(unique), others, tuple(copies), tuple(links), tuple(unreadable), tuple(damaged))


def holds_dicom(folder: Path, most_files: int = 100) -> bool:
    """Whether one of the first files of a folder, at any depth, is a DICOM file (PS3.10: DICM after 128 bytes)."""
    for path in islice(_files(folder, [], []), most_files):
        with contextlib.suppress(OSError), path.open("rb") as file:
            if file.read(_PREAMBLE + len(_MAGIC))[_PREAMBLE:] == _MAGIC:
                return True
    return False


def _series_of(path: Path, problem: InputError) -> str:
    """The series of a file whose header cannot be read, from what stands before the damage.

    Raises `problem` where the header is sound but for its series: such a slice would go missing unnoticed.
    """
    try:
        with path.open("rb") as file, quiet(), config.disable_value_validation():
            start: Dataset = read_partial(file, lambda tag, vr, length: tag > _SERIES_INSTANCE_UID, force=True)
            said = {keyword: str(start.get(keyword) or "").strip("\0 ") for keyword in IDENTITY}
    except Exception:  # pydicom raises whatever the damaged bytes lead it into
        return ""
    if any(said.values()) and not said["SeriesInstanceUID"]:
        raise problem
    return said["SeriesInstanceUID"]


def _files(folder: Path, links: list[Path], unreadable: list[Path]) -> Iterator[Path]:
    """Regular files at any depth, in order of path; pipes and devices would be waited for."""
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        try:
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError:  # no rights, or deeper than the system goes
            unreadable.append(place)
            continue
        entries = [entry for entry in entries if not entry.name.startswith(".")]
        yield from (Path(entry.path) for entry in entries if _is_file(entry))
        folders = [entry for entry in entries if _is_folder(entry)]
        links += [Path(entry.path) for entry in folders if entry.is_symlink()]
        waiting += [Path(entry.path) for entry in reversed(folders) if not entry.is_symlink()]


def _is_file(entry: os.DirEntry[str]) -> bool:
    with contextlib.suppress(OSError):  # a link that leads round in circles, a name too long for the system
        return entry.is_file()
    return False


def _is_folder(entry: os.DirEntry[str]) -> bool:
    with contextlib.suppress(OSError):
        return entry.is_dir()
    return False


def _without_copies(headers: list[Header]) -> tuple[list[Header], list[Path]]:
    first: dict[str, Header] = {}
    unique, copies = [], []
    for header in headers:
        twin = first.setdefault(header.text("SOPInstanceUID"), header)
        if twin is not header and twin.path.read_bytes() == header.path.read_bytes():
            copies.append(header.path)
        else:
            unique.append(header)
    return unique, copies
