"""Objects sorted into series: which belong to one volume, and which are passed over or refused.

Objects are grouped by SeriesInstanceUID and SOP class; scans that share a SeriesInstanceUID are told apart by
their acquisition time. Folders play no part.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
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
from nufitdose.io.dicom.read.given import NOTHING, Given
from nufitdose.io.dicom.read.headers import Header
from nufitdose.io.dicom.read.images import ImageSeries, StoredSlice, make_series, slices_of
from nufitdose.io.dicom.read.multiframe import enhanced_frames, nm_frames
from nufitdose.io.dicom.read.times import acquisition_time

_REGISTRATION = "1.2.840.10008.5.1.4.1.1.66.1"
_LABEL_MAP_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.7"
_ENHANCED_CT = {EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage}
_ENHANCED_PET = {EnhancedPETImageStorage, LegacyConvertedEnhancedPETImageStorage}
_PROJECTIONS = {"MIP", "MAX_IP", "MINIP", "MIN_IP", "PROJECTION IMAGE", "MAXIMUM INTENSITY PROJECTION"}
_ONE_SCAN_S = 3 * 3600.0  # beds of one scan start within this


class Kind(StrEnum):
    """What a series can be to a study."""

    ACTIVITY = "activity"
    CT = "CT"
    STRUCTURES = "structures"
    OTHER = "other"


Names = frozenset[str]  # what a user may call a series by
GivenOf = Callable[[Names], Given]


@dataclass(frozen=True, eq=False)
class Gathered:
    """The objects of one volume (or one structure object); `series`, or why there is none.

    `number` counts series in order of their first file; volumes that share a series are 3.1, 3.2, ...
    """

    kind: Kind
    headers: tuple[Header, ...]
    series: ImageSeries | None = None
    refusal: InputError | None = None
    skipped: str | None = None
    number: str = ""

    @property
    def uid(self) -> str:
        """SeriesInstanceUID."""
        return self.headers[0].text("SeriesInstanceUID")

    @property
    def uids(self) -> Names:
        """What a user may name it by: its number, the series, or the object where it is a single one."""
        return _names(self.number, self.headers)


def gather(
    headers: Sequence[Header],
    given_of: GivenOf = lambda names: NOTHING,
    incomplete: Mapping[str, InputError] | None = None,
) -> list[Gathered]:
    """Sort objects into volumes and structure objects, in order of first appearance; nothing is raised.

    `given_of` is what the user says of a series; `incomplete` are the series of which a file cannot be read, and why.
    """
    groups: dict[tuple[str, ...], list[Header]] = {}
    for header in headers:
        kind = _kind(header)
        passed_over = _passed_over(header, kind) or ""
        own = str(header.path) if kind is Kind.STRUCTURES else ""
        groups.setdefault((header.text("SeriesInstanceUID"), header.sop_class, passed_over, own), []).append(header)
    found: list[Gathered] = []
    for number, ((uid, _, passed_over, _), members) in enumerate(groups.items(), start=1):
        kind, together = _kind(members[0]), tuple(members)
        wanted = kind is Kind.ACTIVITY and given_of(_names(str(number), together)).reconstruction
        if passed_over and not wanted:
            found.append(Gathered(kind, together, skipped=passed_over, number=str(number)))
        elif kind is Kind.STRUCTURES:
            found.append(Gathered(kind, together, number=str(number)))
        elif refusal := (incomplete or {}).get(uid):
            found.append(Gathered(kind, together, refusal=refusal, number=str(number)))
        else:
            found += _numbered(_volumes(members, kind, str(number), given_of), kind, str(number))
    return found


def _names(number: str, headers: Sequence[Header]) -> Names:
    single = {headers[0].text("SOPInstanceUID")} if len(headers) == 1 else set()
    return frozenset({number, number.partition(".")[0], headers[0].text("SeriesInstanceUID")} | single)


Part = tuple[Sequence[Header], ImageSeries | InputError]


def _numbered(parts: Sequence[Part], kind: Kind, number: str) -> list[Gathered]:
    made = []
    for n, (headers, found) in enumerate(parts, start=1):
        own = number if len(parts) == 1 else f"{number}.{n}"
        if isinstance(found, InputError):
            made.append(Gathered(kind, tuple(headers), refusal=found, number=own))
        else:
            made.append(Gathered(kind, found.headers, found, number=own))
    return made


def _part(headers: Sequence[Header], frames: Callable[[], list[StoredSlice]]) -> Part:
    try:
        return headers, make_series(frames())
    except InputError as refusal:
        return headers, refusal


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
    if header.sop_class == _REGISTRATION:
        return "registration, used where structures need it"
    if kind is Kind.OTHER:
        return f"{header.sop_class.name} is not used"
    image_type = header.image_type() if kind is not Kind.STRUCTURES else ()
    if kind is Kind.CT and "LOCALIZER" in image_type:
        return "localizer"
    if header.is_nm and not {"RECON TOMO", "RECON GATED TOMO"} & set(image_type[2:3]):
        return f"NM image of type {image_type[2] if len(image_type) > 2 else 'unknown'}, not a reconstruction"
    if header.sop_class == PositronEmissionTomographyImageStorage and "REPROJECTION" in header.texts("SeriesType"):
        return "reprojection, not a volume"
    if _PROJECTIONS & {value.upper() for value in image_type}:
        return "projection, not a volume"
    return None


def _volumes(headers: list[Header], kind: Kind, number: str, given_of: GivenOf) -> list[Part]:
    sop_class, given = headers[0].sop_class, given_of(_names(number, headers))
    if sop_class in _ENHANCED_PET | _ENHANCED_CT:
        flat = [_part([header], partial(enhanced_frames, header)) for header in headers]
        whole = _part(headers, lambda: [frame for header in headers for frame in enhanced_frames(header)])
        return [whole] if isinstance(whole[1], ImageSeries) or len(headers) == 1 else flat
    if sop_class == NuclearMedicineImageStorage:
        return _nm_volumes(headers, number, given_of)
    if kind is Kind.CT:
        return _ct_volumes(headers)
    try:
        return [(series.headers, series) for series in _pet_volumes(headers, given)]
    except InputError as refusal:
        return [(headers, refusal)]


def _nm_volumes(headers: list[Header], number: str, given_of: GivenOf) -> list[Part]:
    """One volume an object, or one volume of all where each object holds one slice of it."""
    if len(headers) > 1 and all(header.number("NumberOfFrames") == 1 for header in headers):
        given = given_of(_names(number, headers))
        return [_part(headers, lambda: [frame for header in headers for frame in nm_frames(header, given)])]
    many = len(headers) > 1
    return [
        _part([header], partial(nm_frames, header, given_of(_names(f"{number}.{n}" if many else number, [header]))))
        for n, header in enumerate(headers, start=1)
    ]


def _ct_volumes(headers: list[Header]) -> list[Part]:
    """One volume, of one slice step or of blocks of steps; else one for each acquisition (its number, or its time)."""
    whole = _part(headers, lambda: slices_of(headers))
    if isinstance(whole[1], ImageSeries):
        return [whole]
    try:
        return [(headers, make_series(slices_of(headers), in_blocks=True))]
    except InputError:
        pass  # not that either
    for acquisition in (_acquisition_number, _acquisition_time):
        groups: dict[str, list[Header]] = {}
        for header in headers:
            groups.setdefault(acquisition(header), []).append(header)
        parts = [_part(group, partial(slices_of, group)) for group in groups.values()]
        if len(parts) > 1 and any(isinstance(found, ImageSeries) for _, found in parts):
            return parts
    return [whole]


def _acquisition_number(header: Header) -> str:
    return header.text("AcquisitionNumber")


def _acquisition_time(header: Header) -> str:
    return f"{header.text('AcquisitionDateTime')} {header.text('AcquisitionDate')} {header.text('AcquisitionTime')}"


def _pet_volumes(headers: list[Header], given: Given) -> list[ImageSeries]:
    for header in headers:
        if (kind := (*header.texts("SeriesType"), "")[0]) in {"DYNAMIC", "GATED"}:
            raise header.wrong(
                "SeriesType",
                f"a {kind.lower()} series holds many volumes, one is wanted",
                f"Export the {'sum of its frames' if kind == 'DYNAMIC' else 'ungated reconstruction'}, as a static "
                "series; go on without it by naming the others with --series",
            )
    frames = slices_of(headers, given)
    try:
        series = [make_series(frames)]
    except InputError as refusal:
        series = _apart_in_time(frames)
        if not series:
            raise refusal
    for one in series:
        _check_one_scan(one, given)
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


def _check_one_scan(series: ImageSeries, given: Given) -> None:
    """Whether the slices are of one acquisition: beds one after the other, complete.

    Times that cannot be read do not matter where the user says when the scan was.
    """
    stated = series.header.number("NumberOfSlices")
    if stated is not None and stated > len(series.frames):
        raise InputError(
            f"{len(series.frames)} of {stated:.0f} slices are there, NumberOfSlices (0054,0081) says",
            where=series.where,
            remedy="Export the complete series again",
        )
    try:
        moments = [acquisition_time(frame.header)[0] for frame in series.frames]
    except InputError:
        if given.acquired_at is None and given.hours is None:
            raise
        return
    aware = {moment.tzinfo is None for moment in moments}
    changes = sum(a != b for a, b in pairwise(moments))
    if len(aware) == 1 and (max(moments) - min(moments)).total_seconds() <= _ONE_SCAN_S and changes < len(set(moments)):
        return
    raise InputError(
        f"the slices were acquired at {len(set(moments))} different times, and not as beds one after the other",
        where=series.where,
        remedy="Export each scan as a series of its own",
    )
