"""`study.yaml`: what may stand in it, and how it is read."""

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from nufitdose.config import Settings, build, read_yaml
from nufitdose.errors import InputError
from nufitdose.image_sources import ImageSource, ImageSources
from nufitdose.io.study_folder.fields import DicomValues, FilePath, Moment, Name, Number, Paths, Text, Uid
from nufitdose.io.study_folder.scanner_file import ScannerEntry, read_scanner
from nufitdose.scanner import Scanner
from nufitdose.study import Details
from nufitdose.types import PerVoxel

MANIFEST = "study.yaml"
_MOST_SLICES = 1 << 16
_LARGEST_LABEL = 2**31 - 1


class AdministrationEntry(Settings):
    """`administration:` activity at the time of administration, and that time (ISO 8601)."""

    activity_mbq: Number = Field(gt=0, allow_inf_nan=False)
    time: Moment | None = None


class BedEntry(Settings):
    """One entry of `beds:` the slices [first, last] along the third axis, from 0, and when after `time` they began."""

    slices: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(lt=_MOST_SLICES)]]
    start_s: Number = Field(ge=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _in_order(self) -> "BedEntry":
        if self.slices[1] < self.slices[0]:
            raise ValueError(f"the slices {list(self.slices)} end before they begin")
        return self


class TimePointEntry(Settings):
    """One entry of `timepoints:`; exactly one of `time` and `hours` (after administration).

    With `beds`, slices were acquired one bed after the other; `activity` is physically decay-corrected to `time`.
    """

    id: Name = Field(max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    time: Moment | None = None
    hours: Number | None = Field(default=None, ge=0, allow_inf_nan=False)
    activity: FilePath
    decay_corrected_to: Literal["acquisition", "administration"]
    ct: FilePath | None = None
    structures: Paths | None = None
    dicom: FilePath | None = None
    beds: Annotated[list[BedEntry], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one_time(self) -> "TimePointEntry":
        if (self.time is None) == (self.hours is None):
            raise ValueError(f"time point {self.id!r} needs exactly one of 'time' and 'hours'")
        return self

    @model_validator(mode="after")
    def _every_slice_once(self) -> "TimePointEntry":
        following = 0
        for bed in sorted(self.beds or (), key=lambda bed: bed.slices):
            if bed.slices[0] != following:
                raise ValueError(
                    f"the beds of time point {self.id!r} must hold every slice once; slice "
                    f"{min(following, bed.slices[0])} is in {'none' if bed.slices[0] > following else 'two'}"
                )
            following = bed.slices[1] + 1
        return self

    def slice_offsets_h(self) -> PerVoxel | None:
        """Hours after the start of the scan at which each slice was acquired."""
        if self.beds is None:
            return None
        beds = sorted(self.beds, key=lambda bed: bed.slices)
        return np.concatenate([np.full(1 + bed.slices[1] - bed.slices[0], bed.start_s / 3600.0) for bed in beds])


class SourceEntry(Settings):
    """One series of a file of image sources: the UIDs of its images in order of slices."""

    study: Uid
    series: Uid
    frame_of_reference: Uid | Literal[""] = ""
    sop_class: Uid
    images: Annotated[list[Uid], Field(min_length=1, max_length=_MOST_SLICES)]
    study_date: Text = Field(default="", pattern=r"^(?:[0-9]{8})?$")
    study_time: Text = Field(default="", max_length=16, pattern=r"^[0-9.]*$")

    def source(self) -> ImageSource:
        """As a value."""
        return ImageSource(
            self.study, self.series, self.frame_of_reference, self.sop_class, tuple(self.images),
            self.study_date, self.study_time,
        )  # fmt: skip

    @classmethod
    def plain(cls, source: ImageSource) -> dict[str, Any]:
        """The entry of a value."""
        return {
            "study": source.study_uid, "series": source.series_uid,
            "frame_of_reference": source.frame_of_reference_uid, "sop_class": source.sop_class_uid,
            "study_date": source.study_date, "study_time": source.study_time,
            "images": list(source.sop_instance_uids),
        }  # fmt: skip


class SourcesEntry(Settings):
    """The file named by `dicom:` of a time point: which DICOM images its activity and CT were read from."""

    activity: SourceEntry
    ct: SourceEntry | None = None

    def sources(self) -> ImageSources:
        """As a value."""
        return ImageSources(self.activity.source(), self.ct.source() if self.ct else None)


class StructuresEntry(Settings):
    """`structures:` on the reference time point; several label maps where structures overlap.

    `u_outline_mm`: standard uncertainty of where the outlines lie, along their normal, as two observers differ.
    """

    labels: Paths
    names: dict[Annotated[int, Field(ge=-_LARGEST_LABEL, le=_LARGEST_LABEL)], Name] = Field(min_length=1)
    tumours: tuple[Name, ...] = ()
    u_outline_mm: Number | None = Field(default=None, ge=0, le=50, allow_inf_nan=False)

    @model_validator(mode="after")
    def _known_and_single(self) -> "StructuresEntry":
        known = list(self.names.values())
        if len(set(known)) != len(known):
            raise ValueError(f"two labels carry one structure name: {sorted(known)}")
        unknown = sorted(set(self.tumours) - set(known))
        if unknown:
            raise ValueError(f"the tumours {unknown} are not among the structures {known}")
        return self


class DetailsEntry(Settings):
    """`details:` what the head of the report names beside the treatment: sex, weight, cycle, site, operator."""

    sex: Literal["F", "M", "O"] | None = None
    weight_kg: Number | None = Field(default=None, gt=0, le=700, allow_inf_nan=False)
    cycle: int | None = Field(default=None, ge=1, le=1000)
    site: Name | None = None
    operator: Name | None = None

    def details(self) -> Details:
        """The values."""
        return Details(**self.model_dump())


class Manifest(Settings):
    """`study.yaml` (DESIGN: the study folder)."""

    patient: Name
    nuclide: Name
    tracer: Name | None = None
    administration: AdministrationEntry
    reference: Name
    timepoints: list[TimePointEntry] = Field(min_length=1)
    structures: StructuresEntry | None = None
    scanner: ScannerEntry | FilePath | None = None
    dicom: DicomValues | None = None
    statements: tuple[Text, ...] = ()
    details: DetailsEntry = DetailsEntry()

    def described_scanner(self, folder: Path) -> Scanner | None:
        """The scanner described here, or in the file named here relative to `folder`."""
        if isinstance(self.scanner, str):
            return read_scanner(folder / self.scanner)
        return None if self.scanner is None else self.scanner.scanner()


def manifest_path(study: str | Path) -> Path:
    """The manifest of a study given as its folder or as the file itself."""
    path = Path(study)
    if path.is_dir():
        path = path / MANIFEST
    elif path.is_file() and path.suffix.lower() not in (".yaml", ".yml"):
        raise InputError(f"this is a file, a study folder or its {MANIFEST} is wanted", where=study)
    if not path.is_file():
        raise InputError(
            f"there is no {MANIFEST} here",
            where=study,
            remedy="Give a study folder; 'nufitdose import DICOM_DIR --out DIR' makes one from DICOM",
        )
    return path


def read_manifest(path: Path) -> Manifest:
    """The checked content of a manifest file."""
    return build(Manifest, read_yaml(path), where=path)
