"""Planes through the patient, cut in world coordinates, so that a picture's letters cannot disagree with it.

Radiological display: the patient is seen from the feet (axial), from the front (coronal) and from the
left (sagittal); patient left is on the right of the picture.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dosimetry.results import PatientResults
from nufitdose.grid import Grid
from nufitdose.types import F64, Points
from nufitdose.volume import OUTSIDE, Quantity, Volume

#: The negative and the positive end of each world axis (RAS+).
WORLD_LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))
_BODY_HU = -300.0
_MARGIN_MM = 15.0
_LONGEST_MM = 600.0  # a longer body is cropped to the structures
_AROUND_STRUCTURES_MM = 120.0


@dataclass(frozen=True)
class Orientation:
    """Which world axis, with which sign, runs to the right and to the top of the picture."""

    name: str
    right: tuple[int, int]  # axis, sign
    top: tuple[int, int]
    through: int  # axis the plane is perpendicular to

    @property
    def letters(self) -> tuple[str, str, str, str]:
        """Left, right, top and bottom of the picture."""
        return (*_ends(self.right), *reversed(_ends(self.top)))  # type: ignore[return-value]


AXIAL = Orientation("axial", right=(0, -1), top=(1, 1), through=2)
CORONAL = Orientation("coronal", right=(0, -1), top=(2, 1), through=1)
SAGITTAL = Orientation("sagittal", right=(1, -1), top=(2, 1), through=0)
ORIENTATIONS = (AXIAL, CORONAL, SAGITTAL)


@dataclass(frozen=True, eq=False)
class Box:
    """What the pictures show: a box in world mm, and the point `at_mm` its three planes pass through."""

    low_mm: F64
    high_mm: F64
    at_mm: F64

    def extent_mm(self, plane: Orientation) -> tuple[float, float]:
        """Width and height of the picture."""
        size = self.high_mm - self.low_mm
        return float(size[plane.right[0]]), float(size[plane.top[0]])

    def points(self, plane: Orientation, pixel_mm: float) -> Points:
        """World positions of the picture's pixels, `[row, column, 3]`, the first row on top."""
        width, height = self.extent_mm(plane)
        columns = self._positions(plane.right, max(2, round(width / pixel_mm)))
        rows = self._positions(plane.top, max(2, round(height / pixel_mm)))[::-1]
        points = np.empty((rows.size, columns.size, 3))
        points[..., plane.right[0]] = columns[None, :]
        points[..., plane.top[0]] = rows[:, None]
        points[..., plane.through] = self.at_mm[plane.through]
        return points

    def _positions(self, axis: tuple[int, int], pixels: int) -> F64:
        step = (self.high_mm[axis[0]] - self.low_mm[axis[0]]) / pixels
        positions = self.low_mm[axis[0]] + step * (np.arange(pixels) + 0.5)
        return positions if axis[1] > 0 else positions[::-1]


def cut(volume: Volume, points_mm: Points) -> NDArray[np.float32]:
    """The volume at world positions: linear, nearest for labels; air, zero or background beyond it."""
    index = np.moveaxis(volume.grid.index(points_mm), -1, 0)
    if volume.quantity is Quantity.LABELS:
        return ndimage.map_coordinates(volume.data, index, np.float32, order=0, mode="constant")
    outside = OUTSIDE.get(volume.quantity, 0.0)
    return ndimage.map_coordinates(volume.data, index, np.float32, order=1, mode="grid-constant", cval=outside)


def box_of(results: PatientResults) -> Box:
    """The body (or what is active) of the reference scan, and the planes that show most of the structures.

    Each plane is the one where the structures' areas, each relative to its largest, add to most; the
    activity stands in where there are no structures.
    """
    study, grid = results.study, results.maps.dose.grid
    low, high = _visible(study.reference.ct, study.reference.activity)
    if not results.structures:
        return Box(low, high, _most_active(study.reference.activity))
    places = [_thin(result.region.index, grid) for result in results.structures]
    at = np.array([_fullest(places, axis, min(grid.spacing_mm)) for axis in range(3)])
    lowest, highest = (np.array([end(p, axis=0) for p in places]) for end in (np.min, np.max))
    inner, outer = lowest.min(axis=0), highest.max(axis=0)
    low, high = np.minimum(low, inner - _MARGIN_MM), np.maximum(high, outer + _MARGIN_MM)
    long = high - low > _LONGEST_MM
    low = np.where(long, np.maximum(low, inner - _AROUND_STRUCTURES_MM), low)
    high = np.where(long, np.minimum(high, outer + _AROUND_STRUCTURES_MM), high)
    return Box(low, high, at)


def planes_in_words(box: Box) -> str:
    """Where the three planes lie, in words of the patient."""
    words = []
    for plane in ORIENTATIONS:
        position = float(box.at_mm[plane.through])
        words.append(f"{plane.name} at {WORLD_LETTERS[plane.through][position >= 0]} {abs(position):.0f} mm")
    return ", ".join(words)


def _ends(axis: tuple[int, int]) -> tuple[str, str]:
    negative, positive = WORLD_LETTERS[axis[0]]
    return (negative, positive) if axis[1] > 0 else (positive, negative)


def _visible(ct: Volume | None, activity: Volume) -> tuple[F64, F64]:
    """Lowest and highest world positions of the body on the CT, else of what is active, with a margin."""
    image, level = (ct, _BODY_HU) if ct else (activity, 0.0)
    step = tuple(max(1, round(6.0 / s)) for s in image.grid.spacing_mm)
    coarse = image.data[:: step[0], :: step[1], :: step[2]]
    if ct is None:
        coarse = ndimage.uniform_filter(coarse, 3)
        level = 0.02 * float(np.quantile(coarse, 0.999))
    where = np.argwhere(coarse > level)
    if not len(where):
        where = np.array([[0, 0, 0], [n - 1 for n in coarse.shape]])
    places = image.grid.world(where * np.array(step))
    corners = image.grid.corners_mm()
    low = np.maximum(places.min(axis=0) - _MARGIN_MM, corners.min(axis=0))
    high = np.minimum(places.max(axis=0) + _MARGIN_MM, corners.max(axis=0))
    return low, np.maximum(high, low + min(image.grid.spacing_mm))


def _most_active(activity: Volume) -> F64:
    smooth = ndimage.uniform_filter(activity.data, 3)
    return activity.grid.world(np.array(np.unravel_index(int(np.argmax(smooth)), smooth.shape), dtype=np.float64))


def _thin(index: NDArray[np.int64], grid: Grid, most: int = 100_000) -> F64:
    """World positions of a structure's voxels, at most about `most` of them, evenly taken."""
    chosen = index[:: max(1, index.size // most)]
    return grid.world(np.stack(np.unravel_index(chosen, grid.shape), axis=-1))


def _fullest(places: list[F64], axis: int, width_mm: float) -> float:
    low = min(float(p[:, axis].min()) for p in places) - width_mm / 2
    bins = [((p[:, axis] - low) / width_mm).astype(int) for p in places]
    length = max(int(b.max()) for b in bins) + 1
    total = np.zeros(length)
    for numbers in bins:
        area = np.bincount(numbers, minlength=length)
        total += area / area.max()
    return float(low + (int(np.argmax(total)) + 0.5) * width_mm)
