"""An image that knows where it is and what its numbers mean."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.types import Affine, Image, Mask


class Quantity(StrEnum):
    """What the numbers of a volume are; the value is the unit as printed."""

    HU = "HU"
    ACTIVITY = "Bq/mL"  # at acquisition time, decay-corrected to nothing else
    TIA = "Bq·h/mL"
    DOSE = "Gy"
    DOSE_RATE = "Gy/h"
    DENSITY = "g/mL"
    TIME = "h"
    LABELS = "label"
    SCALAR = "1"


#: What lies outside the field of view, where it is known: air around a CT, no activity.
OUTSIDE = {Quantity.HU: -1000.0}

_PARALLEL_VOXELS = 0.02  # axes that drift apart by less than this over the whole grid are parallel


@dataclass(frozen=True, eq=False)
class Volume:
    """`data[i, j, k]` on `grid`; float32, or an integer type for labels.

    Raises `InputError` when the array and the grid differ in shape.
    """

    data: Image
    grid: Grid
    quantity: Quantity

    def __post_init__(self) -> None:
        object.__setattr__(self, "quantity", Quantity(self.quantity))
        wanted = self.data.dtype if self.quantity is Quantity.LABELS else np.float32
        object.__setattr__(self, "data", np.asarray(self.data, dtype=wanted))
        if self.data.shape != self.grid.shape:
            raise InputError(f"an array of shape {self.data.shape} was given for a grid of {self.grid.shape}")

    def with_data(self, data: Image, quantity: Quantity | None = None) -> "Volume":
        """Other numbers on the same grid."""
        return Volume(data, self.grid, quantity or self.quantity)

    def resampled_to(self, grid: Grid) -> "Volume":
        """This volume on another grid of the same world: linear, nearest for labels.

        Outside the field of view: air for HU, zero otherwise.
        """
        if self.grid.matches(grid):
            return self
        to_index = self.grid.inverse_affine @ grid.affine
        labels = self.quantity is Quantity.LABELS
        data = ndimage.affine_transform(
            self.data,
            to_index[:3, :3],
            to_index[:3, 3],
            output_shape=grid.shape,
            order=0 if labels else 1,
            mode="grid-constant",  # "constant" would cut off the outer half of the outer voxels
            cval=OUTSIDE.get(self.quantity, 0.0),
        )
        return Volume(data, grid, self.quantity)

    def averaged_onto(self, grid: Grid) -> "Volume":
        """This volume as means over the voxels of a coarser grid; linear where the grid is not coarser.

        Exact where the axes of both grids are parallel; otherwise a Gaussian of variance (s_new² - s_old²)/12 stands
        for the box of the new voxel. Beyond the field of view the value at its edge is kept (`Grid.covers` tells
        where that is).
        """
        if self.grid.matches(grid):
            return self
        to_index = self.grid.inverse_affine @ grid.affine
        axes = np.abs(to_index[:3, :3]).argmax(axis=0)  # the old axis along which each new axis runs
        across = np.array(to_index[:3, :3])
        across[axes, range(3)] = 0.0
        if len(set(axes)) < 3 or np.abs(across * np.array(grid.shape)).max() > _PARALLEL_VOXELS:
            return self._smoothed_onto(grid, to_index)
        data: Image = np.asarray(self.data, dtype=np.float32)
        for new, old in enumerate(axes):
            step, start = to_index[old, new], to_index[old, 3]
            weights = _box_weights(self.grid.shape[old], start + step * np.arange(grid.shape[new]), abs(step))
            data = np.moveaxis(np.tensordot(weights, data, axes=(1, old)), 0, old)
        return Volume(np.ascontiguousarray(np.transpose(data, axes)), grid, self.quantity)

    def _smoothed_onto(self, grid: Grid, to_index: Affine) -> "Volume":
        old, new = np.array(self.grid.spacing_mm), np.array(grid.spacing_mm)
        along = np.abs(self.grid.directions.T @ grid.directions) @ new  # new voxel seen along the old axes
        sigma = np.sqrt(np.maximum(along**2 - old**2, 0.0) / 12.0) / old
        smooth = ndimage.gaussian_filter(self.data, sigma, mode="nearest", truncate=3.0) if sigma.any() else self.data
        data = ndimage.affine_transform(
            smooth, to_index[:3, :3], to_index[:3, 3], output_shape=grid.shape, order=1, mode="nearest"
        )
        return Volume(data, grid, self.quantity)

    def total_mbq(self, where: Mask | None = None) -> float:
        """Sum of an activity volume in MBq: Σ c[Bq/mL] · voxel volume, over `where` or everywhere."""
        if self.quantity is not Quantity.ACTIVITY:
            raise ValueError(f"total activity asked of a volume of {self.quantity}")
        data = self.data if where is None else self.data[where]
        return float(data.sum(dtype=np.float64)) * self.grid.voxel_volume_ml * 1e-6


def _box_weights(size: int, centres: NDArray[np.float64], width: float) -> NDArray[np.float32]:
    """Rows that average `size` voxels over boxes of `width` about `centres` (both in voxels), or interpolate linearly.

    A box no wider than a voxel is a point between two voxels; what lies beyond the outer voxels counts as they do.
    """
    voxels = np.arange(size)
    if width <= 1.0:
        inside = np.clip(centres, 0.0, size - 1.0)
        weights = np.maximum(1.0 - np.abs(inside[:, None] - voxels), 0.0)
    else:
        low, high = (np.clip(centres + side * width / 2.0, -0.5, size - 0.5)[:, None] for side in (-1.0, 1.0))
        weights = np.clip(np.minimum(high, voxels + 0.5) - np.maximum(low, voxels - 0.5), 0.0, None)
        empty = weights.sum(axis=1) <= 0.0
        weights[empty, np.clip(np.rint(centres[empty]), 0, size - 1).astype(int)] = 1.0
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
