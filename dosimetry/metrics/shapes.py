"""Bodies in world coordinates that a point lies in or not: drawn structures and balls, with a margin around them."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dosimetry.metrics.surface import signed_distance_mm
from nufitdose.anatomy.regions import Region
from nufitdose.grid import Grid
from nufitdose.types import Mask, Points, Triple

BoolPoints = NDArray[np.bool_]  # [n]

_POINTS_AT_ONCE = 2_000_000
_FEWEST_PARTS, _MOST_PARTS = 4, 8  # of a voxel along each axis; a coarser mask needs no finer parts


@dataclass(frozen=True)
class Ball:
    """A ball around a point of the world, mm (RAS+); grown by a margin it is the larger ball."""

    at_mm: Triple
    radius_mm: float

    def contains(self, points_mm: Points, beyond_mm: float = 0.0) -> BoolPoints:
        """Which points have |x - c| <= r + m."""
        away = np.linalg.norm(points_mm - np.asarray(self.at_mm, dtype=np.float64), axis=-1)
        return np.asarray(away <= self.radius_mm + beyond_mm)

    def corners_mm(self, beyond_mm: float = 0.0) -> Points:
        """Of the cube around it."""
        reach = max(self.radius_mm + beyond_mm, 0.0)
        return np.asarray(self.at_mm, dtype=np.float64) + reach * np.array(list(product((-1.0, 1.0), repeat=3)))

    @property
    def finest_mm(self) -> float:
        """A sixth of its radius."""
        return self.radius_mm / 6.0


class Voxels:
    """The body that the voxels of a mask stand for, with a margin around it.

    Without a margin it is the voxels themselves. With m > 0 it is all that lies within m of the body's surface, with
    m < 0 what lies within it by more than |m|; `metrics.surface` says where the surface runs. Distances are known at
    the centres of the voxels and interpolated linearly between them. `reach_mm` is the largest margin that will be
    asked for.
    """

    def __init__(self, mask: Mask, grid: Grid, reach_mm: float = 0.0) -> None:
        pad = np.ceil(max(reach_mm, 0.0) / np.array(grid.spacing_mm)).astype(int) + 2
        box = ndimage.find_objects(mask.astype(np.uint8))[0]
        first = np.array([side.start for side in box]) - pad
        affine = np.array(grid.affine)
        affine[:3, 3] = grid.world(first.astype(np.float64))
        self.mask: Mask = np.pad(mask[box], [(n, n) for n in pad])
        self.grid = Grid(self.mask.shape, affine)
        self._distance_mm = signed_distance_mm(self.mask, grid.spacing_mm, reach_mm) if reach_mm else None

    def contains(self, points_mm: Points, beyond_mm: float = 0.0) -> BoolPoints:
        """By the voxel that holds the point, with a margin by the distance to the surface."""
        index = self.grid.index(points_mm).T
        if beyond_mm == 0.0:
            return np.asarray(ndimage.map_coordinates(self.mask.astype(np.uint8), index, order=0) > 0)
        if self._distance_mm is None:
            raise ValueError("a margin was asked for, but no reach was given")
        return np.asarray(ndimage.map_coordinates(self._distance_mm, index, order=1, mode="nearest") <= beyond_mm)

    def corners_mm(self, beyond_mm: float = 0.0) -> Points:
        """Of the padded box, whatever the margin within the reach."""
        return self.grid.corners_mm()

    @property
    def finest_mm(self) -> float:
        """The smallest side of its voxels."""
        return min(self.grid.spacing_mm)


def fill(contains: Callable[[Points], BoolPoints], corners_mm: Points, finest_mm: float, grid: Grid) -> Region:
    """The region of `grid` whose points `contains` accepts, all of which lie within the box of `corners_mm`.

    Each voxel is cut into parts no larger than `finest_mm` (4 to 8 along each axis); each part counts by its centre.
    """
    parts = [int(np.clip(np.ceil(side / finest_mm - 1e-6), _FEWEST_PARTS, _MOST_PARTS)) for side in grid.spacing_mm]
    offsets = np.stack(np.meshgrid(*[(np.arange(n) + 0.5) / n - 0.5 for n in parts], indexing="ij"), -1).reshape(-1, 3)
    corners = grid.index(corners_mm)
    first, last = (np.floor(edge + 0.5).astype(int) for edge in (corners.min(axis=0), corners.max(axis=0)))
    voxels = np.stack(np.meshgrid(*map(np.arange, first, last + 1), indexing="ij"), -1).reshape(-1, 3)
    count = np.zeros(len(voxels), dtype=np.int64)
    for some in np.array_split(np.arange(len(voxels)), 1 + len(voxels) * len(offsets) // _POINTS_AT_ONCE):
        points = grid.world((voxels[some, None].astype(np.float64) + offsets).reshape(-1, 3))
        count[some] = contains(points).reshape(len(some), -1).sum(axis=1)
    part_ml = grid.voxel_volume_ml / len(offsets)
    within = ((voxels >= 0) & (voxels < np.array(grid.shape))).all(axis=1)
    chosen = within & (count > 0)
    index = np.ravel_multi_index(tuple(voxels[chosen].T), grid.shape).astype(np.int64)
    return Region(index, count[chosen] * np.float64(part_ml), float(count[~within].sum() * part_ml))
