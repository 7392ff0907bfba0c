"""Slices in space: sorted along their normal, checked, and turned into a `Grid`.

DICOM gives positions in LPS mm (PS3.3 C.7.6.2): the first pixel's centre (Image Position), the directions of
a row and of a column (Image Orientation), and Pixel Spacing as (between rows, between columns). Arrays here
are [i = column, j = row, k = slice, ascending along row x column direction].
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.io.lps import RAS_LPS

_LOG = logging.getLogger(__name__)
#: No slice may lie further than this from its place on the uniform grid.
SLICE_TOLERANCE_MM = 0.05
_ROUNDED_MM = 0.1  # some systems write positions to this; each end of the stack and the slice may be off by half
_ORIENTATION_TOLERANCE = 1e-4  # of a direction cosine, between slices of one series
_SHEAR_LIMIT_DEGREES = 0.1  # what `Grid` carries
_COMPLETE = "Export the complete series again"


@dataclass(frozen=True)
class Plane:
    """Where one slice lies: LPS mm; `name` says which file (and frame) it is."""

    position_mm: tuple[float, ...]
    orientation: tuple[float, ...]
    pixel_spacing_mm: tuple[float, ...]
    matrix: tuple[int, int]
    thickness_mm: float | None
    path: Path
    frame: int | None = None

    @property
    def name(self) -> str:
        """The file, and the frame in it."""
        return self.path.name if self.frame is None else f"frame {self.frame + 1}"


@dataclass(frozen=True, eq=False)
class Stack:
    """The grid of a set of slices, their order, and how far the worst slice lies from its place.

    Where slices lie in blocks of different steps, `heights_mm` says how far each lies above the first; the grid then
    has the finest of the steps.
    """

    grid: Grid
    order: tuple[int, ...]
    deviation_mm: float
    heights_mm: tuple[float, ...] | None = None


def stack_planes(planes: Sequence[Plane], *, in_blocks: bool = False) -> Stack:
    """Sort slices by position along their normal and make the grid they fill.

    The slice step is the mean one, or with `in_blocks` the finest where whole blocks of slices have steps of their own.
    Raises `InputError` on mixed orientations, matrices or pixel spacings,
    positions that repeat, missing slices, a slice further than 0.05 mm from the uniform grid, and slices
    sheared against their normal (gantry tilt).
    """
    first = planes[0]
    _check_alike(planes)
    row, column = _directions(first)
    normal = np.cross(row, column)
    positions = np.array([plane.position_mm for plane in planes], dtype=np.float64)
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    positions, along, planes = positions[order], along[order], [planes[n] for n in order]
    blocks = _block_steps(along) if in_blocks else None
    if blocks is not None:
        return _stack_of_blocks(planes, order, positions, along - along[0], min(blocks))
    step = _step_mm(planes, positions, along, normal)
    places = positions[0] + np.arange(len(planes))[:, None] * step
    deviation = float(np.linalg.norm(positions - places, axis=1).max())
    return Stack(_grid(first, positions[0], step, len(planes)), tuple(int(n) for n in order), deviation)


def _grid(first: Plane, position: np.ndarray, step: np.ndarray, count: int) -> Grid:
    row, column = _directions(first)
    affine = np.eye(4)
    affine[:3, 0] = row * first.pixel_spacing_mm[1]
    affine[:3, 1] = column * first.pixel_spacing_mm[0]
    affine[:3, 2] = step
    affine[:3, 3] = position
    rows, columns = first.matrix
    try:
        return Grid((columns, rows, count), RAS_LPS @ affine + 0.0)  # + 0.0: no negative zeros
    except InputError as error:
        raise InputError(error.problem, where=first.path, remedy=error.remedy) from error


def _block_steps(along: np.ndarray) -> list[float] | None:
    """The steps of blocks of slices, where there are several, each block of at least three slices; else None.

    A single odd gap is a slice that is missing or out of place, not a block.
    """
    gaps = np.diff(along)
    if gaps.size < 4 or gaps.min() <= 1e-3:
        return None
    steps, count = [float(gaps[0])], 1
    for gap in gaps[1:]:
        if abs(gap - steps[-1]) <= SLICE_TOLERANCE_MM:
            count += 1
            continue
        if count < 2:
            return None
        steps.append(float(gap))
        count = 1
    return steps if len(steps) > 1 and count >= 2 else None


def _stack_of_blocks(
    planes: Sequence[Plane], order: np.ndarray, positions: np.ndarray, heights: np.ndarray, step_mm: float
) -> Stack:
    whole = positions[-1] - positions[0]
    normal = whole / np.linalg.norm(whole)
    off = float(np.linalg.norm(positions - positions[0] - np.outer(heights, normal), axis=1).max())
    if off > 2.0 * SLICE_TOLERANCE_MM:
        raise InputError(
            f"a slice lies {off:.2f} mm off the line through the others, at most {SLICE_TOLERANCE_MM} mm is accepted",
            where=planes[0].path,
            remedy=_COMPLETE,
        )
    count = int(heights[-1] / step_mm + 1e-3) + 1
    _LOG.warning(
        "%s: the slices lie %.3g to %.3g mm apart, block by block; they are resampled to %.3g mm",
        planes[0].path.parent, float(np.diff(heights).min()), float(np.diff(heights).max()), step_mm,
    )  # fmt: skip
    grid = _grid(planes[0], positions[0], normal * step_mm, count)
    return Stack(grid, tuple(int(n) for n in order), off, tuple(float(height) for height in heights))


def _directions(plane: Plane) -> tuple[np.ndarray, np.ndarray]:
    row, column = np.array(plane.orientation[:3]), np.array(plane.orientation[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(length - 1.0) for length in lengths) > 1e-2 or abs(row @ column) > 1e-3:
        raise InputError(
            f"ImageOrientationPatient (0020,0037) is {list(plane.orientation)}, two perpendicular unit vectors are "
            "wanted",
            where=plane.path,
            remedy="Export the series again",
        )
    return row / lengths[0], column / lengths[1]


def _check_alike(planes: Sequence[Plane]) -> None:
    first = planes[0]
    if min(first.pixel_spacing_mm) <= 0.0:
        raise InputError(f"PixelSpacing (0028,0030) is {list(first.pixel_spacing_mm)} mm, wanted > 0", where=first.path)
    for plane in planes[1:]:
        for what, mine, theirs, tolerance in (
            ("matrix of rows and columns", plane.matrix, first.matrix, 0.0),
            ("orientation (0020,0037)", plane.orientation, first.orientation, _ORIENTATION_TOLERANCE),
            ("pixel spacing (0028,0030)", plane.pixel_spacing_mm, first.pixel_spacing_mm, 1e-4),
        ):
            if np.abs(np.subtract(mine, theirs)).max() > tolerance:
                raise InputError(
                    f"the series mixes slices of different {what}: {list(mine)} here, {list(theirs)} in {first.name}",
                    where=plane.path,
                    remedy="Take the slices that do not belong to the volume (localizers, reformats) out of the folder",
                )


def _step_mm(planes: Sequence[Plane], positions: np.ndarray, along: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """The vector from one slice to the next, LPS mm."""
    if len(planes) == 1:
        thickness = planes[0].thickness_mm
        if thickness is None or thickness <= 0.0:
            raise InputError(
                "the series is a single slice without SliceThickness (0018,0050), so its voxels have no volume",
                where=planes[0].path,
                remedy=_COMPLETE,
            )
        return normal * thickness
    gaps = np.diff(along)
    usual = float(np.median(gaps))
    closest = int(np.argmin(gaps))
    if gaps[closest] < max(1e-3, 0.1 * usual):
        raise InputError(
            f"{planes[closest].name} and {planes[closest + 1].name} lie at one position "
            f"({along[closest]:.3f} mm along the slice normal)",
            where=planes[closest].path,
            remedy="The series holds several volumes (gates, time frames, repeats): export the one that is wanted, or "
            "go on without it by naming the others with --series",
        )
    step = (positions[-1] - positions[0]) / (len(planes) - 1)
    off = np.abs(along - along[0] - np.arange(len(planes)) * float(step @ normal))
    tolerance = SLICE_TOLERANCE_MM if not _rounded(positions) else _ROUNDED_MM + 1e-3
    if off.max() > min(tolerance, 0.1 * usual):
        raise _uneven(planes, gaps, usual, float(off.max()))
    sideways = positions - positions[0] - np.outer(along - along[0], normal)
    angle = math.degrees(math.atan2(float(np.linalg.norm(sideways[-1])), float(along[-1] - along[0])))
    if angle > _SHEAR_LIMIT_DEGREES:
        raise InputError(
            f"the slices are sheared by {angle:.2f} degrees against their normal (gantry tilt)",
            where=planes[0].path,
            remedy="Reconstruct or resample the series without tilt",
        )
    wobble = positions - positions[0] - np.arange(len(planes))[:, None] * step
    if (worst := float(np.linalg.norm(wobble, axis=1).max())) > SLICE_TOLERANCE_MM * 2:
        raise InputError(
            f"a slice lies {worst:.2f} mm off the line through the others, at most {SLICE_TOLERANCE_MM} mm is accepted",
            where=planes[int(np.linalg.norm(wobble, axis=1).argmax())].path,
            remedy=_COMPLETE,
        )
    return np.asarray(step)


def _rounded(positions: np.ndarray) -> bool:
    """Whether positions stand to a tenth of a millimetre, so that an even step looks uneven."""
    return bool(np.abs(positions / _ROUNDED_MM - np.rint(positions / _ROUNDED_MM)).max() < 1e-6)


def _uneven(planes: Sequence[Plane], gaps: np.ndarray, usual: float, off_mm: float) -> InputError:
    widest = int(np.argmax(np.abs(gaps - usual)))
    ends = f"{planes[widest].name} and {planes[widest + 1].name}"
    missing = gaps[widest] / usual - 1.0
    if missing > 0.9 and abs(missing - round(missing)) < 0.1:
        number = round(missing)
        what = f"{number} slice{' is' if number == 1 else 's are'} missing between {ends}"
        return InputError(
            f"{what}: they lie {gaps[widest]:.3f} mm apart, the others {usual:.3f} mm",
            where=planes[widest].path,
            remedy=_COMPLETE,
        )
    return InputError(
        f"the slices are not evenly spaced: {gaps[widest]:.3f} mm between {ends}, {usual:.3f} mm elsewhere; a slice "
        f"would be {off_mm:.3f} mm off its place, at most {SLICE_TOLERANCE_MM} mm is accepted",
        where=planes[widest].path,
        remedy="Export the complete series again, or resample it to an even slice step",
    )
