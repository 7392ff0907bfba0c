"""RTSTRUCT: the regions of interest of a structure set as voxels (PS3.3 C.8.8.5, C.8.8.6)."""

import logging
from collections import Counter

import numpy as np
from pydicom.dataelem import RawDataElement

from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.io.contours import rasterise
from nufitdose.io.dicom.read.headers import Header, tag_name
from nufitdose.io.dicom.read.references import StructureReferences, collect
from nufitdose.io.drawn_structures import DrawnStructure, readable_name
from nufitdose.io.lps import RAS_LPS

_log = logging.getLogger(__name__)
_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")  # both combined by even-odd
_VOLUME_WARNING = 0.02  # of the contours' volume


def rtstruct_references(header: Header) -> StructureReferences:
    """The images and frames of reference a structure set refers to, as a whole and contour by contour."""
    named: list[tuple[str, str, frozenset[str]]] = []
    for frame in header.items("ReferencedFrameOfReferenceSequence"):
        uid = frame.text("FrameOfReferenceUID")
        named.append((uid, "", frozenset()))
        for study in frame.items("RTReferencedStudySequence"):
            for series in study.items("RTReferencedSeriesSequence"):
                uids = frozenset(i.text("ReferencedSOPInstanceUID") for i in series.items("ContourImageSequence"))
                named.append((uid, series.text("SeriesInstanceUID"), uids - {""}))
    known = frozenset().union(*(images for _, _, images in named))
    frames = {roi.text("ROINumber"): _frame(roi) for roi in header.items("StructureSetROISequence")}
    for roi in header.items("ROIContourSequence"):
        images = frozenset(
            image.text("ReferencedSOPInstanceUID")
            for contour in roi.items("ContourSequence")
            for image in contour.items("ContourImageSequence")
        )
        frame_uid = frames.get(roi.text("ReferencedROINumber"), "")
        named.append((frame_uid, "", images - known - {""}))
    return collect(header, header.text("StructureSetLabel") or header.text("SeriesDescription"), named)


def rtstruct_regions(header: Header, frames: frozenset[str], grid: Grid) -> list[DrawnStructure]:
    """The structures of a structure set whose frame of reference is among `frames` (or unsaid), on `grid`.

    What encloses no volume is passed over with a warning: a structure without closed contours, points and
    open lines, structures outside the image; so is one whose contours are damaged or not parallel to the slices.
    Raises `InputError` where no structure is left because of such contours.
    """
    for keyword in ("StructureSetROISequence", "ROIContourSequence"):
        if keyword not in header.dataset:
            raise header.missing(keyword, "Export the structure set again")
    numbers = Counter(roi.text("ROINumber") for roi in header.items("StructureSetROISequence"))
    drawn = Counter(roi.text("ReferencedROINumber") for roi in header.items("ROIContourSequence"))
    for keyword, counted in (("StructureSetROISequence", numbers), ("ROIContourSequence", drawn)):
        if twice := [number for number, count in counted.items() if count > 1]:
            raise InputError(
                f"{tag_name(keyword)} has several items of ROI number {', '.join(twice[:10])}: which contours belong "
                "to which structure cannot be told",
                where=header.path,
                remedy="Export the structure set again",
            )
    contours = {roi.text("ReferencedROINumber"): roi for roi in header.items("ROIContourSequence")}
    regions: list[DrawnStructure] = []
    unusable: list[InputError] = []
    for roi in header.items("StructureSetROISequence"):
        number = roi.required_text("ROINumber")
        name = readable_name(roi.text("ROIName"), f"ROI {number}")
        if frames and _frame(roi) and _frame(roi) not in frames:
            _warn(header, name, "lies in another frame of reference than the images and is left out")
            continue
        try:
            polygons = _polygons(contours[number], name) if number in contours else []
            region = _region(header, name, polygons, grid) if polygons else None
        except InputError as problem:
            unusable.append(problem)
            continue
        if not polygons:
            _warn(header, name, "has no closed contours and is left out")
        elif region is not None:
            regions.append(region)
    if unusable and not regions:
        raise unusable[0]
    for reason in unusable:
        _log.warning("%s: %s; the structure is left out", header.path.name, reason.problem)
    return regions


def _frame(roi: Header) -> str:
    return roi.text("ReferencedFrameOfReferenceUID")


def _polygons(roi: Header, name: str) -> list[np.ndarray]:
    """The closed contours with at least three points, each `[points, 3]` in mm, RAS+."""
    polygons, skipped = [], Counter[str]()
    for contour in roi.items("ContourSequence"):
        kind = contour.text("ContourGeometricType").upper()
        if kind not in _CLOSED:
            skipped[f"of type {kind or 'unsaid'}"] += 1
            continue
        points = _points(contour, name)
        if len(points) < 3:
            skipped["of fewer than three points"] += 1
            continue
        polygons.append(points)
    for reason, count in skipped.items():
        _warn(roi, name, f"{count} contours {reason} enclose nothing and are left out")
    return polygons


def _points(contour: Header, name: str) -> np.ndarray:
    """The points of a contour, `[points, 3]` in mm, RAS+; a damaged contour is refused, not repaired."""
    raw = contour.raw_element("ContourData")
    if isinstance(raw, RawDataElement) and raw.value:  # straight from the bytes: structure sets hold millions
        text = raw.value.decode("ascii", errors="replace").strip(" \0")
        try:
            numbers = np.array(text.split("\\"), dtype=np.float64)
        except ValueError:
            numbers = np.array([np.nan])
    else:
        numbers = np.array(contour.numbers("ContourData"))
    if not np.isfinite(numbers).all() or len(numbers) % 3:
        got = "what is not a finite number" if not np.isfinite(numbers).all() else f"{len(numbers)} numbers"
        raise InputError(
            f"{name}: {contour.trail}{tag_name('ContourData')} holds {got}, three numbers for every point are wanted",
            where=contour.path,
            remedy="Export the structure set again, or delete the structure from it",
        )
    return numbers.reshape(-1, 3) @ RAS_LPS[:3, :3]


def _region(header: Header, name: str, polygons: list[np.ndarray], grid: Grid) -> DrawnStructure | None:
    try:
        found = rasterise(polygons, grid)
    except InputError as error:
        raise InputError(f"{name}: {error.problem}", where=header.path, remedy=error.remedy) from error
    if not found.mask.any():
        what = "lies outside the image" if found.inside_ml == 0.0 else "is smaller than a voxel"
        _warn(header, name, f"{what} and is left out")
        return None
    if found.inside_ml < 0.999 * found.contours_ml:
        text = f"reaches beyond the image: {found.inside_ml:.2f} mL of its {found.contours_ml:.2f} mL lie inside"
        _warn(header, name, text)
    if abs(found.voxels_ml / found.inside_ml - 1.0) > _VOLUME_WARNING:
        text = f"the voxels hold {found.voxels_ml:.3f} mL, the contours {found.inside_ml:.3f} mL"
        _warn(header, name, f"{text}: few voxels make this structure")
    if found.spacing_mm > 1.5 * grid.spacing_mm[2]:
        text = f"contours {found.spacing_mm:.2f} mm apart stand for slabs of that thickness"
        _warn(header, name, f"{text}, the slices are {grid.spacing_mm[2]:.2f} mm apart")
    if found.empty_slices:
        _warn(header, name, f"{found.empty_slices} slices between its contours have none and stay empty")
    return DrawnStructure(name, found.mask, found.box)


def _warn(header: Header, name: str, text: str) -> None:
    _log.warning("%s: %s: %s", header.path.name, name, text)
