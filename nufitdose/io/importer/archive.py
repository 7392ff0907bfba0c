"""Where an import takes its DICOM files from: a folder, or an archive asked by DICOMweb."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nufitdose.errors import InputError
from nufitdose.files import whole_folder
from nufitdose.io.dicom.net.web import Wanted, check_url, fetch
from nufitdose.progress import Steps, Stream


@dataclass(frozen=True)
class Archive:
    """The address of an archive and what is asked of it."""

    url: str
    wanted: Wanted

    @classmethod
    def named(
        cls, folder: Path | None, url: str | None, patient_id: str | None, studies: tuple[str, ...]
    ) -> "Archive | None":
        """The archive that the options of a command name; None for a folder. Raises `InputError` on both or neither."""
        if (folder is None) == (url is None):
            raise InputError("DICOM_DIR and --dicomweb: one of the two is wanted")
        if url is None:
            if patient_id is not None or studies:
                raise InputError("--patient-id and --study say what to ask an archive for: name it with --dicomweb URL")
            return None
        check_url(url)
        return cls(url, Wanted(patient_id, studies))

    def to_dict(self) -> dict[str, object]:
        """Plain values, for run.json."""
        return {"dicomweb": self.url, "patient_id": self.wanted.patient_id, "studies": list(self.wanted.studies)}


@contextmanager
def dicom_folder(
    folder: Path | None, archive: Archive | None, out: Path | None, stream: Stream | None
) -> Iterator[Path]:
    """The folder of DICOM files: the one given, or one that is filled from the archive and goes with the block.

    That one stands beside `out`, where a later import clears it away if this one is killed.
    """
    if archive is None:
        assert folder is not None
        yield folder
        return
    with _passing_folder(out) as place:
        with Steps(1.0, stream) as steps, steps.step(f"fetching from {archive.url}") as on_progress:
            fetch(archive.url, archive.wanted, place, on_progress)
        yield place


@contextmanager
def _passing_folder(out: Path | None) -> Iterator[Path]:
    if out is None:
        with tempfile.TemporaryDirectory() as place:
            yield Path(place)
        return
    with whole_folder(out.resolve().with_name(f"{out.resolve().name}.dicom")) as place:
        yield place
        shutil.rmtree(place)
