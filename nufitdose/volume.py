"""An image that knows where it is and what its numbers mean."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy import ndimage

from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.types import Image, Mask


class Quantity(StrEnum):
    """What the numbers of a volume are; the value is the unit as printed."""

    HU = "HU"
    ACTIVITY = "Bq/mL"  # at acquisition time, decay-corrected to nothing else
    TIA = "Bq·h/mL"
    DOSE = "Gy"
    DENSITY = "g/mL"
    TIME = "h"
    LABELS = "label"
    SCALAR = "1"


#: What lies outside the field of view, where it is known: air around a CT, no activity.
OUTSIDE = {Quantity.HU: -1000.0}


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

    def averaged_onto(self, grid: Grid, *, outside: float = 0.0) -> "Volume":
        """This volume as means over the voxels of a coarser grid; linear where the grid is not coarser.

        A Gaussian of variance (s_new² - s_old²)/12 along each axis stands for the box of the new voxel;
        beyond the field of view the value is `outside`.
        """
        if self.grid.matches(grid):
            return self
        old, new = np.array(self.grid.spacing_mm), np.array(grid.spacing_mm)
        along = np.abs(self.grid.directions.T @ grid.directions) @ new  # new voxel seen along the old axes
        sigma = np.sqrt(np.maximum(along**2 - old**2, 0.0) / 12.0) / old
        smooth = ndimage.gaussian_filter(self.data, sigma, mode="nearest", truncate=3.0) if sigma.any() else self.data
        to_index = self.grid.inverse_affine @ grid.affine
        data = ndimage.affine_transform(
            smooth, to_index[:3, :3], to_index[:3, 3], output_shape=grid.shape, order=1, cval=outside
        )
        return Volume(data, grid, self.quantity)

    def total_mbq(self, where: Mask | None = None) -> float:
        """Sum of an activity volume in MBq: Σ c[Bq/mL] · voxel volume, over `where` or everywhere."""
        if self.quantity is not Quantity.ACTIVITY:
            raise ValueError(f"total activity asked of a volume of {self.quantity}")
        data = self.data if where is None else self.data[where]
        return float(data.sum(dtype=np.float64)) * self.grid.voxel_volume_ml * 1e-6
