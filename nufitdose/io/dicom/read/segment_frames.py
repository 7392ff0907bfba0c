"""Frames of a segmentation in space: which voxels of a grid their pixels are.

A frame may lie on a grid with its axes turned or running the other way, its position may be rounded, and
frames may be left out.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.io.dicom.read.headers import Header
from nufitdose.io.drawn_structures import DrawnStructure
from nufitdose.volume import Quantity, Volume

_log = logging.getLogger(__name__)
_TOLERANCE = 0.1  # of a voxel: rounded positions still mean the same voxels
_MOST_SLICES = 10_000  # frames further apart do not belong together
_EXPORT_AGAIN = "Export the segmentation again, on the grid of the image"


@dataclass(frozen=True, eq=False)
class SegmentFrame:
    """Where pixel (column 0, row 0) lies and what one column, one row further adds (mm, RAS+)."""

    number: int
    segment: int  # 0 in a label map
    origin_mm: np.ndarray
    column_mm: np.ndarray
    row_mm: np.ndarray


def fits(frame: SegmentFrame, header: Header, grid: Grid) -> bool:
    """Whether the pixels of a frame are voxels of the grid: corners on voxel centres, steps of one voxel."""
    corner, column, row = _on_grid(frame, grid)
    reach = (column - np.rint(column)) * header.count("Columns"), (row - np.rint(row)) * header.count("Rows")
    off = max(float(np.abs(part).max()) for part in (corner - np.rint(corner), *reach))
    unit = np.abs(np.rint(column)).sum() == 1 and np.abs(np.rint(row)).sum() == 1
    return bool(off <= _TOLERANCE and unit and not (np.rint(column) * np.rint(row)).any())


def _on_grid(frame: SegmentFrame, grid: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    to_index = grid.inverse_affine[:3, :3]
    return grid.index(frame.origin_mm), to_index @ frame.column_mm, to_index @ frame.row_mm


def place(
    name: str, frames: Sequence[SegmentFrame], pixels: Sequence[np.ndarray], grid: Grid
) -> tuple[DrawnStructure | None, int]:
    """The region of a segment, None where it has no voxel in the grid, and how many voxels lie outside."""
    whole, outside = np.zeros(grid.shape, dtype=bool), 0
    first, last = np.array(grid.shape), np.zeros(3, dtype=int)
    for frame, plane in zip(frames, pixels, strict=True):
        if not plane.any():
            continue
        places, block = _voxels(frame, plane, grid)
        inside = [(index >= 0) & (index < size) for index, size in zip(places, grid.shape, strict=True)]
        block = block[np.ix_(*inside)]
        outside += int(plane.sum()) - int(block.sum())
        if block.any():
            places = [index[kept] for index, kept in zip(places, inside, strict=True)]
            whole[np.ix_(*places)] |= block
            hit = [index[block.any(axis=other)] for index, other in zip(places, ((1, 2), (0, 2), (0, 1)), strict=True)]
            first = np.minimum(first, [index.min() for index in hit])
            last = np.maximum(last, [index.max() + 1 for index in hit])
    if (first >= last).any():
        return None, outside
    i, j, k = (slice(int(low), int(high)) for low, high in zip(first, last, strict=True))
    return DrawnStructure(name, whole[i, j, k].copy(), (i, j, k)), outside


def _voxels(frame: SegmentFrame, plane: np.ndarray, grid: Grid) -> tuple[list[np.ndarray], np.ndarray]:
    """The indices along i, j, k of the marked part of a frame, and its pixels in that order of axes."""
    rows, columns = np.flatnonzero(plane.any(axis=1)), np.flatnonzero(plane.any(axis=0))
    plane = plane[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    corner, column, row = (np.rint(part).astype(int) for part in _on_grid(frame, grid))
    along_column, along_row = int(np.abs(column).argmax()), int(np.abs(row).argmax())
    places = [corner[axis : axis + 1] for axis in range(3)]
    places[along_column] = corner[along_column] + column[along_column] * np.arange(columns[0], columns[-1] + 1)
    places[along_row] = corner[along_row] + row[along_row] * np.arange(rows[0], rows[-1] + 1)
    block = plane.T if along_column < along_row else plane
    return places, np.expand_dims(block, 3 - along_column - along_row)


def own_grid(header: Header, frames: Sequence[SegmentFrame]) -> Grid:
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
    step = float(gaps.min()) if len(gaps) else _stated_step_mm(header)
    slices = (along - along.min()) / step
    if turned * max(header.count("Rows"), header.count("Columns")) > _TOLERANCE * spacing or (
        shifted > _TOLERANCE * spacing
        or np.abs(slices - np.rint(slices)).max() > _TOLERANCE
        or slices.max() > _MOST_SLICES
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


def _stated_step_mm(header: Header) -> float:
    """The slice step of frames on one plane, which their positions do not tell."""
    groups = (*header.items("SharedFunctionalGroupsSequence"), *header.items("PerFrameFunctionalGroupsSequence"))
    for measures in (item for group in groups for item in group.items("PixelMeasuresSequence")):
        step = measures.number("SpacingBetweenSlices") or measures.number("SliceThickness")
        if step is not None and step > 0.0:
            return step
    raise header.missing("SpacingBetweenSlices", _EXPORT_AGAIN)


def resampled(header: Header, region: DrawnStructure, own: Grid, grid: Grid) -> DrawnStructure | None:
    """A region on another grid, nearest voxel; None where nothing of it lies there."""
    labels = np.zeros(own.shape, dtype=np.uint8)
    labels[region.box][region.mask] = 1
    mask = Volume(labels, own, Quantity.LABELS).resampled_to(grid).data > 0
    if not mask.any():
        return None
    before, after = int(region.mask.sum()) * own.voxel_volume_ml, int(mask.sum()) * grid.voxel_volume_ml
    if abs(after / before - 1.0) > 0.02:
        text = "%s: %s: %.3f mL in the segmentation, %.3f mL on the voxels of the image"
        _log.warning(text, header.path.name, region.name, before, after)
    return DrawnStructure(
        region.name, mask, (slice(0, grid.shape[0]), slice(0, grid.shape[1]), slice(0, grid.shape[2]))
    )
