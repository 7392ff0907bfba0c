"""Structures on the dose grid: how much of each voxel belongs to a structure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nufitdose.grid import Grid
from nufitdose.types import Mask
from nufitdose.volume import Volume


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


def region_on(mask: Mask, mask_grid: Grid, grid: Grid) -> Region:
    """Bring a mask of `mask_grid` onto `grid`, keeping its volume.

    Each voxel of the mask is cut into equal parts no larger than half a voxel of `grid` and each part
    is given to the voxel of `grid` that holds its centre. On one and the same grid nothing changes.
    """
    where = np.argwhere(mask)
    if mask_grid.matches(grid):
        flat = np.ravel_multi_index(tuple(where.T), grid.shape).astype(np.int64)
        return Region(flat, np.full(len(flat), grid.voxel_volume_ml), 0.0)
    along = np.abs(mask_grid.directions.T @ grid.directions).T @ np.array(mask_grid.spacing_mm)
    coarser = float((along / np.array(grid.spacing_mm)).max())
    parts = max(1, int(np.ceil(2.0 * coarser - 1e-6)))
    centres = (np.arange(parts) + 0.5) / parts - 0.5
    weight = np.zeros(grid.size)
    part_ml, outside = mask_grid.voxel_volume_ml / parts**3, 0
    shape = np.array(grid.shape)
    for offset in np.stack(np.meshgrid(centres, centres, centres, indexing="ij"), -1).reshape(-1, 3):
        index = np.rint(grid.index(mask_grid.world(where + offset))).astype(np.int64)
        inside = ((index >= 0) & (index < shape)).all(axis=1)
        outside += int((~inside).sum())
        flat = np.ravel_multi_index(tuple(index[inside].T), grid.shape)
        weight += np.bincount(flat, minlength=grid.size) * part_ml
    chosen = np.flatnonzero(weight)
    return Region(chosen, weight[chosen], outside * part_ml)
