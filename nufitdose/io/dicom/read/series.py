"""Objects sorted into series: which belong to one volume, and which are passed over or refused.

Objects are grouped by SeriesInstanceUID and SOP class; scans that share a SeriesInstanceUID are told apart by
their acquisition time. Folders play no part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

import numpy as np
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedPETImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    LegacyConvertedEnhancedPETImageStorage,
    NuclearMedicineImageStorage,
    PositronEmissionTomographyImageStorage,
    RTStructureSetStorage,
    SegmentationStorage,
)

from nufitdose.errors import InputError
from nufitdose.io.dicom.read.headers import Header
from nufitdose.io.dicom.read.images import ImageSeries, StoredSlice, make_series, slices_of
from nufitdose.io.dicom.read.multiframe import enhanced_frames, nm_frames
from nufitdose.io.dicom.read.times import acquisition_time

_LABEL_MAP_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.7"
_ENHANCED_CT = {EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage}
_ENHANCED_PET = {EnhancedPETImageStorage, LegacyConvertedEnhancedPETImageStorage}
_ONE_SCAN_S = 3 * 3600.0  # beds of one scan start within this


class Kind(StrEnum):
    """What a series can be to a study."""

    ACTIVITY = "activity"
    CT = "CT"
    STRUCTURES = "structures"
    OTHER = "other"


@dataclass(frozen=True, eq=False)
class Gathered:
    """The objects of one volume (or one structure object); `series`, or why there is none."""

    kind: Kind
    headers: tuple[Header, ...]
    series: ImageSeries | None = None
    refusal: InputError | None = None
    skipped: str | None = None

    @property
    def uid(self) -> str:
        """SeriesInstanceUID."""
        return self.headers[0].text("SeriesInstanceUID")

    @property
    def uids(self) -> frozenset[str]:
        """What a user may name it by: the series, or the object where it is a single one."""
        single = {self.headers[0].text("SOPInstanceUID")} if len(self.headers) == 1 else set()
        return frozenset({self.uid} | single)


def gather(headers: Sequence[Header]) -> list[Gathered]:
    """Sort objects into volumes and structure objects, in order of first appearance; nothing is raised."""
    groups: dict[tuple[str, ...], list[Header]] = {}
    for header in headers:
        kind = _kind(header)
        passed_over = _passed_over(header, kind) or ""
        own = str(header.path) if kind is Kind.STRUCTURES else ""
        groups.setdefault((header.text("SeriesInstanceUID"), header.sop_class, passed_over, own), []).append(header)
    found: list[Gathered] = []
    for (_, _, passed_over, _), members in groups.items():
        kind, together = _kind(members[0]), tuple(members)
        if passed_over:
            found.append(Gathered(kind, together, skipped=passed_over))
        elif kind is Kind.STRUCTURES:
            found.append(Gathered(kind, together))
        else:
            try:
                volumes = _volumes(members, kind)
                found += [Gathered(kind, series.headers, series) for series in volumes]
            except InputError as refusal:
                found.append(Gathered(kind, together, refusal=refusal))
    return found


def _kind(header: Header) -> Kind:
    sop_class = header.sop_class
    if sop_class in {PositronEmissionTomographyImageStorage, NuclearMedicineImageStorage, *_ENHANCED_PET}:
        return Kind.ACTIVITY
    if sop_class in {CTImageStorage, *_ENHANCED_CT}:
        return Kind.CT
    if sop_class in {SegmentationStorage, RTStructureSetStorage, _LABEL_MAP_SEGMENTATION}:
        return Kind.STRUCTURES
    return Kind.OTHER


def _passed_over(header: Header, kind: Kind) -> str | None:
    """Why an object is of no use to a study, or None."""
    if kind is Kind.OTHER:
        return f"{header.sop_class.name} is not used"
    image_type = header.texts("ImageType") if kind is not Kind.STRUCTURES else ()
    if kind is Kind.CT and "LOCALIZER" in image_type:
        return "localizer"
    if header.is_nm and not {"RECON TOMO", "RECON GATED TOMO"} & set(image_type[2:3]):
        return f"NM image of type {image_type[2] if len(image_type) > 2 else 'unknown'}, not a reconstruction"
    if header.sop_class == PositronEmissionTomographyImageStorage and "REPROJECTION" in header.texts("SeriesType"):
        return "reprojection, not a volume"
    return None


def _volumes(headers: list[Header], kind: Kind) -> list[ImageSeries]:
    sop_class = headers[0].sop_class
    if sop_class in _ENHANCED_PET:
        raise InputError(
            f"{sop_class.name} is not read",
            where=headers[0].path,
            remedy="Export the series as single-frame PET images (Positron Emission Tomography Image Storage)",
        )
    if sop_class == NuclearMedicineImageStorage:
        return [make_series(nm_frames(header)) for header in headers]
    if sop_class in _ENHANCED_CT:
        return [make_series([frame for header in headers for frame in enhanced_frames(header)])]
    if kind is Kind.CT:
        return [make_series(slices_of(headers))]
    return _pet_volumes(headers)


def _pet_volumes(headers: list[Header]) -> list[ImageSeries]:
    for header in headers:
        if (kind := (*header.texts("SeriesType"), "")[0]) in {"DYNAMIC", "GATED"}:
            raise header.wrong("SeriesType", f"a {kind.lower()} series holds many volumes, one is wanted")
    frames = slices_of(headers)
    try:
        series = [make_series(frames)]
    except InputError as refusal:
        series = _apart_in_time(frames)
        if not series:
            raise refusal
    for one in series:
        _check_one_scan(one)
    return series


def _apart_in_time(frames: list[StoredSlice]) -> list[ImageSeries]:
    """Scans of one region at different times under one SeriesInstanceUID; empty where that is not what it is."""
    scans: dict[object, list[StoredSlice]] = {}
    for frame in frames:
        scans.setdefault(acquisition_time(frame.header)[0], []).append(frame)
    if len(scans) < 2 or len({len(scan) for scan in scans.values()}) > 1 or len(frames) < 2 * len(scans):
        return []
    try:
        series = [make_series(scan) for scan in scans.values()]
    except InputError:
        return []
    extents = [one.grid.corners_mm() for one in series]
    low, high = (np.array([pick(corners, axis=0) for corners in extents]) for pick in (np.min, np.max))
    shared = np.min(high, axis=0) - np.max(low, axis=0)
    whole = np.min(high - low, axis=0)
    return series if (shared >= 0.5 * whole).all() else []


def _check_one_scan(series: ImageSeries) -> None:
    """Whether the slices are of one acquisition: beds one after the other, complete."""
    stated = series.header.number("NumberOfSlices")
    if stated is not None and stated > len(series.frames):
        raise InputError(
            f"{len(series.frames)} of {stated:.0f} slices are there, NumberOfSlices (0054,0081) says",
            where=series.where,
            remedy="Export the complete series again",
        )
    moments = [acquisition_time(frame.header)[0] for frame in series.frames]
    aware = {moment.tzinfo is None for moment in moments}
    changes = sum(a != b for a, b in pairwise(moments))
    if len(aware) == 1 and (max(moments) - min(moments)).total_seconds() <= _ONE_SCAN_S and changes < len(set(moments)):
        return
    raise InputError(
        f"the slices were acquired at {len(set(moments))} different times, and not as beds one after the other",
        where=series.where,
        remedy="Export each scan as a series of its own",
    )
