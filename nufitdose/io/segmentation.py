"""DICOM SEG: segments as voxels (PS3.3 C.8.20), whatever frames are stored and in which order.

A frame is put where its position says; frames that are not stored are background. Voxels at or above half
of the full value belong to a segment of a FRACTIONAL object, be it a probability or an occupancy. In a
LABELMAP, the Pixel Padding Value and segments coded as background are background.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.utils import iter_pixels

from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.io.dicom_file import Header, quiet
from nufitdose.io.nifti import RAS_LPS
from nufitdose.io.references import StructureReferences, collect
from nufitdose.io.regions import Region, readable_name
from nufitdose.volume import Quantity, Volume

_log = logging.getLogger(__name__)
_KINDS = ("BINARY", "FRACTIONAL", "LABELMAP")
_HALF = 0.5
_TOLERANCE = 0.1  # of a voxel: rounded positions still mean the same voxels
_BACKGROUND = ("125040", "DCM")
_EXPORT_AGAIN = "Export the segmentation again, on the grid of the image"


@dataclass(frozen=True, eq=False)
class _Frame:
    """Where pixel (column 0, row 0) lies and what one column, one row further adds (mm, RAS+)."""

    number: int
    segment: int  # 0 in a label map
    origin_mm: np.ndarray
    column_mm: np.ndarray
    row_mm: np.ndarray


def segmentation_references(header: Header) -> StructureReferences:
    """The images a segmentation refers to: by series, as sources, and frame by frame."""
    frame = header.text("FrameOfReferenceUID")
    named: list[tuple[str, str, frozenset[str]]] = [(frame, "", frozenset())]
    for series in header.items("ReferencedSeriesSequence"):
        images = frozenset(i.text("ReferencedSOPInstanceUID") for i in series.items("ReferencedInstanceSequence"))
        named.append((frame, series.text("SeriesInstanceUID"), images - {""}))
    known = frozenset().union(*(images for _, _, images in named))
    sources = list(header.items("SourceImageSequence"))
    for group in header.items("PerFrameFunctionalGroupsSequence"):
        for derivation in group.items("DerivationImageSequence"):
            sources += derivation.items("SourceImageSequence")
    named.append((frame, "", frozenset(s.text("ReferencedSOPInstanceUID") for s in sources) - known - {""}))
    return collect(header, header.text("ContentLabel") or header.text("SeriesDescription"), named)


def segmentation_regions(header: Header, grid: Grid, *, shares_frame: bool) -> list[Region]:
    """The segments of a SEG file on `grid`.

    Frames that lie on the voxels of the grid (axes may run the other way) are copied; otherwise the nearest
    voxel is taken, with a warning, and only where `shares_frame` says that both are in one frame of
    reference. Raises `InputError` on objects that cannot be placed or read.
    """
    kind = header.required_text("SegmentationType").upper()
    if kind not in _KINDS:
        raise header.wrong("SegmentationType", f"one of {', '.join(_KINDS)} is wanted", _EXPORT_AGAIN)
    names = _segments(header)
    frames = _frames(header, kind)
    own, fits = grid, all(_fits(frame, header, grid) for frame in frames)
    if not fits:
        if not shares_frame:
            raise InputError(
                "the segmentation lies on other voxels than the image, and in another frame of reference",
                where=header.path,
                remedy=_EXPORT_AGAIN,
            )
        own = _own_grid(header, frames, grid)
    regions, lost = [], 0
    for number, group, pixels in _by_segment(header, kind, names, frames):
        region, outside = _place(names[number], group, pixels, own)
        lost += outside
        if region is not None and not fits:
            region = _resampled(header, region, own, grid)
        if region is None:
            _log.warning("%s: %s: no voxel lies in the image; it is left out", header.path.name, names[number])
        else:
            regions.append(region)
    if lost:
        _log.warning("%s: %d segmented voxels lie outside the image and are left out", header.path.name, lost)
    return regions


def _segments(header: Header) -> dict[int, str]:
    """Segment number -> name, background left out."""
    names = {}
    padding = header.number("PixelPaddingValue") if header.text("SegmentationType").upper() == "LABELMAP" else None
    for segment in header.items("SegmentSequence"):
        number = int(segment.required_number("SegmentNumber"))
        types = segment.items("SegmentedPropertyTypeCodeSequence")
        codes = [(code.text("CodeValue"), code.text("CodingSchemeDesignator")) for code in types]
        if number == padding or _BACKGROUND in codes:
            continue
        if number in names:
            raise segment.wrong("SegmentNumber", "a number of its own is wanted for every segment", _EXPORT_AGAIN)
        meaning = types[0].text("CodeMeaning") if types else ""
        names[number] = readable_name(segment.text("SegmentLabel") or meaning, f"segment {number}")
    if not names:
        raise InputError("the segmentation describes no segment", where=header.path, remedy=_EXPORT_AGAIN)
    return names


def _frames(header: Header, kind: str) -> list[_Frame]:
    shared = header.items("SharedFunctionalGroupsSequence")
    groups = header.items("PerFrameFunctionalGroupsSequence")
    if len(groups) != header.count("NumberOfFrames"):
        raise header.wrong("NumberOfFrames", f"the object describes {len(groups)} frames", _EXPORT_AGAIN)

    def item(group: Header, sequence: str) -> Header:
        for place in (group, *shared):
            if found := place.items(sequence):
                return found[0]
        raise group.missing(sequence, _EXPORT_AGAIN)

    frames = []
    for number, group in enumerate(groups):
        cosines = item(group, "PlaneOrientationSequence").vector("ImageOrientationPatient", 6)
        measures = item(group, "PixelMeasuresSequence")
        between_rows, between_columns = measures.vector("PixelSpacing", 2)
        if min(between_rows, between_columns) <= 0.0:
            raise measures.wrong("PixelSpacing", "two positive numbers are wanted", _EXPORT_AGAIN)
        segment = 0
        if kind != "LABELMAP":
            identification = item(group, "SegmentIdentificationSequence")
            segment = int(identification.required_number("ReferencedSegmentNumber"))
        position = item(group, "PlanePositionSequence").vector("ImagePositionPatient", 3)
        to_ras = RAS_LPS[:3, :3]
        frames.append(
            _Frame(
                number,
                segment,
                to_ras @ position,
                to_ras @ cosines[:3] * between_columns,
                to_ras @ cosines[3:] * between_rows,
            )
        )
    return frames


def _fits(frame: _Frame, header: Header, grid: Grid) -> bool:
    """Whether the pixels of a frame are voxels of the grid: corners on voxel centres, steps of one voxel."""
    corner, column, row = _on_grid(frame, grid)
    reach = (column - np.rint(column)) * header.count("Columns"), (row - np.rint(row)) * header.count("Rows")
    off = max(float(np.abs(part).max()) for part in (corner - np.rint(corner), *reach))
    unit = np.abs(np.rint(column)).sum() == 1 and np.abs(np.rint(row)).sum() == 1
    return bool(off <= _TOLERANCE and unit and not (np.rint(column) * np.rint(row)).any())


def _on_grid(frame: _Frame, grid: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    to_index = grid.inverse_affine[:3, :3]
    return grid.index(frame.origin_mm), to_index @ frame.column_mm, to_index @ frame.row_mm


def _by_segment(
    header: Header, kind: str, names: dict[int, str], frames: Sequence[_Frame]
) -> Iterator[tuple[int, list[_Frame], list[np.ndarray]]]:
    """Every segment with its frames and which pixels `[row, column]` of them belong to it."""
    dataset = _with_pixels(header.path)
    if kind == "LABELMAP":
        stored = _decode(header, dataset, [frame.number for frame in frames])
        found = set(np.unique(np.concatenate([np.unique(plane) for plane in stored])).tolist())
        padding = header.number("PixelPaddingValue")
        described = {int(s.required_number("SegmentNumber")) for s in header.items("SegmentSequence")}
        if unknown := sorted(found - described - {0, padding}):
            _log.warning("%s: labels %s are not described and are left out", header.path.name, unknown)
        for number in names:
            yield number, list(frames), [plane == number for plane in stored]
        return
    threshold = 1.0
    if kind == "FRACTIONAL":
        threshold = _HALF * header.required_number("MaximumFractionalValue", _EXPORT_AGAIN)
        meaning = header.text("SegmentationFractionalType").lower() or "fraction"
        _log.warning("%s: voxels with a %s of at least one half are taken", header.path.name, meaning)
    for number in names:
        group = [frame for frame in frames if frame.segment == number]
        yield number, group, [plane >= threshold for plane in _decode(header, dataset, [f.number for f in group])]


def _with_pixels(path: Path) -> Dataset:
    try:
        with quiet():
            return dcmread(path)
    except Exception as error:  # pydicom raises whatever damaged bytes lead it into
        raise InputError(f"the file cannot be read ({error})", where=path, remedy=_EXPORT_AGAIN) from error


def _decode(header: Header, dataset: Dataset, numbers: Sequence[int]) -> list[np.ndarray]:
    """Stored values of some frames, `[row, column]`."""
    if not numbers:
        return []
    try:
        with quiet():
            return list(iter_pixels(dataset, indices=numbers, raw=True))
    except Exception as error:  # pydicom and its decoders raise many kinds
        raise InputError(
            f"the pixels cannot be read, the file looks truncated or damaged ({error})",
            where=header.path,
            remedy=_EXPORT_AGAIN,
        ) from error


def _place(name: str, frames: Sequence[_Frame], pixels: Sequence[np.ndarray], grid: Grid) -> tuple[Region | None, int]:
    """The region of a segment, None where it has no voxel in the grid, and how many voxels lie outside."""
    whole, outside = np.zeros(grid.shape, dtype=bool), 0
    first, last = np.array(grid.shape), np.zeros(3, dtype=int)
    for frame, plane in zip(frames, pixels, strict=True):
        corner, column, row = (np.rint(part).astype(int) for part in _on_grid(frame, grid))
        rows, columns = np.nonzero(plane)
        index = corner + columns[:, None] * column + rows[:, None] * row
        inside = index[((index >= 0) & (index < np.array(grid.shape))).all(axis=1)]
        outside += len(index) - len(inside)
        if len(inside):
            whole[tuple(inside.T)] = True
            first, last = np.minimum(first, inside.min(axis=0)), np.maximum(last, inside.max(axis=0) + 1)
    if (first >= last).any():
        return None, outside
    i, j, k = (slice(int(low), int(high)) for low, high in zip(first, last, strict=True))
    return Region(name, whole[i, j, k].copy(), (i, j, k)), outside


def _own_grid(header: Header, frames: Sequence[_Frame], grid: Grid) -> Grid:
    """The grid the frames themselves lie on; slices may be missing from it."""
    first = frames[0]
    normal = np.cross(first.column_mm, first.row_mm)
    normal /= np.linalg.norm(normal)
    origins = np.array([frame.origin_mm for frame in frames]) - first.origin_mm
    turned = max(np.abs([f.column_mm - first.column_mm, f.row_mm - first.row_mm]).max() for f in frames)
    along = origins @ normal
    shifted = np.abs(origins - np.outer(along, normal)).max()
    spacing = min(np.linalg.norm(first.column_mm), np.linalg.norm(first.row_mm))
    places = np.unique(np.round(along, 3))
    gaps = np.diff(places)[np.diff(places) > 0.1 * spacing]
    step = float(gaps.min()) if len(gaps) else _stated_step(header) or min(grid.spacing_mm)
    slices = (along - along.min()) / step
    if turned * max(header.count("Rows"), header.count("Columns")) > _TOLERANCE * spacing or (
        shifted > _TOLERANCE * spacing or np.abs(slices - np.rint(slices)).max() > _TOLERANCE
    ):
        raise InputError(
            "the frames of the segmentation do not lie on one regular grid",
            where=header.path,
            remedy=_EXPORT_AGAIN,
        )
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([first.column_mm, first.row_mm, normal * step])
    affine[:3, 3] = first.origin_mm + along.min() * normal
    _log.warning("%s: lies on other voxels than the image: the nearest voxel is taken", header.path.name)
    return Grid((header.count("Columns"), header.count("Rows"), round(float(slices.max())) + 1), affine)


def _stated_step(header: Header) -> float | None:
    for shared in header.items("SharedFunctionalGroupsSequence"):
        for measures in shared.items("PixelMeasuresSequence"):
            return measures.number("SpacingBetweenSlices") or measures.number("SliceThickness")
    return None


def _resampled(header: Header, region: Region, own: Grid, grid: Grid) -> Region | None:
    labels = np.zeros(own.shape, dtype=np.uint8)
    labels[region.box][region.mask] = 1
    mask = Volume(labels, own, Quantity.LABELS).resampled_to(grid).data > 0
    if not mask.any():
        return None
    before, after = int(region.mask.sum()) * own.voxel_volume_ml, int(mask.sum()) * grid.voxel_volume_ml
    if abs(after / before - 1.0) > 0.02:
        text = "%s: %s: %.3f mL in the segmentation, %.3f mL on the voxels of the image"
        _log.warning(text, header.path.name, region.name, before, after)
    return Region(region.name, mask, (slice(0, grid.shape[0]), slice(0, grid.shape[1]), slice(0, grid.shape[2])))
