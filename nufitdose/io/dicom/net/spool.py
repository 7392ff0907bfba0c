"""Objects that arrive, kept on disk until their study is whole, then handed over by one rename.

    FOLDER/.arriving/<patient>/<StudyInstanceUID>/<object>.dcm     what comes in
    FOLDER/<patient>/<StudyInstanceUID>/<object>.dcm               whole studies

`<patient>` and `<object>` are digests of PatientID and SOP Instance UID: no name on disk says whose images these are,
and none is chosen by a sender. A UID is taken only as PS3.5 section 9.1 writes it.
"""

import contextlib
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from pydicom import dcmread

from nufitdose.errors import InputError
from nufitdose.files import sync_to_disk
from nufitdose.io.dicom.read.headers import quiet
from nufitdose.locks import locked
from nufitdose.printable import one_line

ARRIVING = ".arriving"
_PART = ".part"
_UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))+")
_LONGEST_UID = 64
_GROUPING = ["PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]

#: C-STORE statuses (PS3.4 table B.2-1).
OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0xA700, 0xC000


class RefusedError(Exception):
    """An object that is not taken: the status for its sender, and why."""

    def __init__(self, status: int, why: str) -> None:
        self.status = status
        super().__init__(why)


@dataclass(frozen=True)
class Limits:
    """When an object is refused: its size, what has to stay free on the disk, studies that nobody has taken away."""

    most_object_bytes: int = 1 << 30
    free_bytes: int = 5 << 30
    most_studies: int = 1000


@dataclass
class _Arriving:
    """A study on its way: when its last object came (monotonic s) and over which connections."""

    last_s: float
    senders: set[int] = field(default_factory=set)


class Spool:
    """The folder that a listener fills. Threads may call `take` and `leave` at once; one process owns it (`owned`).

    A study is whole when nothing came for `quiet_s` seconds and no connection that brought objects of it is open.
    """

    def __init__(
        self, folder: Path, limits: Limits, *, quiet_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.folder, self.limits, self.quiet_s = folder.resolve(), limits, quiet_s
        self._clock = clock
        self._lock = threading.Lock()
        self._arriving: dict[Path, _Arriving] = {}

    @contextmanager
    def owned(self) -> Iterator["Spool"]:
        """Take hold of the folder, with what an earlier listener had accepted and not handed over.

        Raises `InputError` where it cannot be written, or another process has it.
        """
        with contextlib.ExitStack() as held:
            try:
                (self.folder / ARRIVING).mkdir(parents=True, exist_ok=True)
                held.enter_context(locked(self.folder))
            except OSError as error:
                raise InputError(
                    f"the folder cannot be written ({error.strerror})", where=self.folder, remedy="Choose another one"
                ) from error
            self._recover()
            yield self

    def take(self, sender: int, parts: tuple[bytes, ...]) -> Path:
        """Keep an object (the parts of a DICOM file): on the disk, under its name, when this returns.

        Raises `RefusedError` where it is none, too large, or there is no room.
        """
        size = sum(map(len, parts))
        if size > self.limits.most_object_bytes:
            raise RefusedError(OUT_OF_RESOURCES, f"an object of {size >> 20} MB")
        if shutil.disk_usage(self.folder).free - size < self.limits.free_bytes:
            raise RefusedError(OUT_OF_RESOURCES, f"less than {self.limits.free_bytes >> 20} MB of the disk are free")
        aside = self.folder / ARRIVING / f"{os.getpid()}-{threading.get_ident()}{_PART}"
        try:
            with aside.open("wb") as file:
                for part in parts:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            patient, study, name = _place_of(aside)
            with self._lock:
                return self._put(aside, self.folder / ARRIVING / patient / study, name, sender)
        except OSError as error:
            raise RefusedError(OUT_OF_RESOURCES, f"it cannot be written ({error.strerror})") from error
        finally:
            aside.unlink(missing_ok=True)

    def leave(self, sender: int) -> None:
        """A connection is closed: what it brought waits for others no longer."""
        with self._lock:
            for study in self._arriving.values():
                study.senders.discard(sender)

    def hand_over(self) -> list[Path]:
        """Rename every study that is whole to its place; returns the places."""
        done = []
        with self._lock:
            for study, state in list(self._arriving.items()):
                if state.senders or self._clock() - state.last_s < self.quiet_s:
                    continue
                target = _free_name(self.folder / study.parent.name / study.name)
                target.parent.mkdir(exist_ok=True)
                study.rename(target)
                for place in (target.parent, self.folder, study.parent):
                    sync_to_disk(place)
                with contextlib.suppress(OSError):  # other studies of the patient are on their way
                    study.parent.rmdir()
                del self._arriving[study]
                done.append(target)
        return done

    def _put(self, aside: Path, study: Path, name: str, sender: int) -> Path:
        known = self._arriving.get(study)
        if known is None and len(self._arriving) + self._waiting() >= self.limits.most_studies:
            raise RefusedError(OUT_OF_RESOURCES, f"{self.limits.most_studies} studies wait to be taken away")
        study.mkdir(parents=True, exist_ok=True)
        aside.replace(study / name)
        for place in (study, study.parent, study.parent.parent) if known is None else (study,):
            sync_to_disk(place)
        known = self._arriving.setdefault(study, _Arriving(0.0))
        known.last_s = self._clock()
        known.senders.add(sender)
        return study / name

    def _waiting(self) -> int:
        """Whole studies that nobody has taken away."""
        patients = [path for path in self.folder.iterdir() if path.is_dir() and path.name != ARRIVING]
        return sum(1 for patient in patients for _ in patient.iterdir())

    def _recover(self) -> None:
        place = self.folder / ARRIVING
        for left in place.glob(f"*{_PART}"):
            left.unlink()
        for study in place.glob("*/*"):
            if any(study.iterdir()):
                self._arriving[study] = _Arriving(self._clock())
            else:  # its first object was not accepted any more
                study.rmdir()
        for patient in place.iterdir():
            with contextlib.suppress(OSError):  # something of the patient is on its way
                patient.rmdir()


def _place_of(path: Path) -> tuple[str, str, str]:
    """Where an object belongs: patient, study and name."""
    try:
        with quiet():
            found = dcmread(path, stop_before_pixels=True, specific_tags=_GROUPING)
            said = {keyword: str(found.get(keyword) or "").strip() for keyword in _GROUPING}
    except Exception as error:  # pydicom raises whatever the damaged bytes lead it into
        raise RefusedError(CANNOT_UNDERSTAND, f"it cannot be read ({one_line(str(error), most=200)})") from error
    for keyword in _GROUPING[1:]:
        if len(said[keyword]) > _LONGEST_UID or not _UID.fullmatch(said[keyword]):
            raise RefusedError(CANNOT_UNDERSTAND, f"{keyword} is {one_line(ascii(said[keyword]), most=80)}, no UID")
    patient = f"patient-{_digest(said['PatientID'])[:16]}"
    return patient, said["StudyInstanceUID"], f"{_digest(said['SOPInstanceUID'])[:32]}.dcm"


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _free_name(path: Path) -> Path:
    """The path, or where it is taken (objects that came after the study was handed over) the next with a number."""
    number, found = 1, path
    while found.exists():
        number += 1
        found = path.with_name(f"{path.name}.part{number}")
    return found
