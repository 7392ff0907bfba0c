"""Structures on the dose grid: how much of each voxel belongs to a structure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nufitdose.grid import Grid
from nufitdose.types import Mask
from nufitdose.volume import Volume

_POINTS_AT_ONCE = 2_000_000


@dataclass(frozen=True, eq=False)
class Region:
    """The voxels of a structure on a grid: flat indices (C order) and the volume each contributes, mL.

    `outside_ml` is the volume of the structure that lies beyond the grid.
    """

    index: NDArray[np.int64]
    part_ml: NDArray[np.float64]
    outside_ml: float

    @property
    def volume_ml(self) -> float:
        """Volume within the grid."""
        return float(self.part_ml.sum())

    def values(self, volume: Volume) -> NDArray[np.float64]:
        """The volume's numbers in the voxels of this region."""
        return volume.data.reshape(-1)[self.index].astype(np.float64)

    def integral(self, volume: Volume) -> float:
        """Σ value · volume, for a concentration per mL."""
        return float(self.values(volume) @ self.part_ml)

    def mean(self, volume: Volume) -> float:
        """Volume-weighted mean."""
        return self.integral(volume) / self.volume_ml


def unite(regions: Sequence[Region], grid: Grid) -> Region:
    """The union of regions of one grid; where their parts of a voxel exceed it they overlap, and it counts once."""
    part_ml = np.zeros(grid.size)
    for region in regions:
        part_ml[region.index] += region.part_ml
    index = np.flatnonzero(part_ml)
    inside = np.minimum(part_ml[index], grid.voxel_volume_ml)
    return Region(index, inside, sum(region.outside_ml for region in regions))


def region_on(mask: Mask, mask_grid: Grid, grid: Grid) -> Region:
    """Bring a mask of `mask_grid` onto `grid`, keeping its volume.

    Each voxel of the mask is cut into equal parts no larger than a quarter voxel of `grid` and each part
    is given to the voxel of `grid` that holds its centre. On one and the same grid nothing changes.
    """
    if mask_grid.matches(grid):
        flat = np.flatnonzero(mask)
        return Region(flat, np.full(flat.size, grid.voxel_volume_ml), 0.0)
    where, offsets = np.argwhere(mask).astype(np.float64), _part_centres(mask_grid, grid)
    part_ml = mask_grid.voxel_volume_ml / len(offsets)
    count, outside, shape = np.zeros(grid.size, dtype=np.int64), 0, np.array(grid.shape)
    for some in np.array_split(where, 1 + len(where) * len(offsets) // _POINTS_AT_ONCE):
        points = mask_grid.world((some[:, None] + offsets).reshape(-1, 3))
        index = np.floor(grid.index(points) + 0.5).astype(np.int64)
        inside = ((index >= 0) & (index < shape)).all(axis=1)
        outside += int((~inside).sum())
        flat = np.ravel_multi_index(tuple(index[inside].T), grid.shape)
        count += np.bincount(flat, minlength=grid.size)
    chosen = np.flatnonzero(count)
    return Region(chosen, count[chosen] * np.float64(part_ml), outside * part_ml)


def _part_centres(mask_grid: Grid, grid: Grid) -> NDArray[np.float64]:
    """Centres of the parts of one mask voxel, in its own index."""
    steps = grid.inverse_affine[:3, :3] @ mask_grid.affine[:3, :3]  # a mask voxel's edges in voxels of `grid`
    parts = np.maximum(1, np.ceil(4.0 * np.abs(steps).max(axis=0) - 1e-6)).astype(int)
    centres = [(np.arange(n) + 0.5) / n - 0.5 for n in parts]
    return np.stack(np.meshgrid(*centres, indexing="ij"), axis=-1).reshape(-1, 3)
