"""Displacement fields: `moving position = x + u(x)`, in world mm."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from nufitdose.compiled import over_slabs
from nufitdose.grid import Grid
from nufitdose.registration import inversion, jacobian, sampling
from nufitdose.types import Affine, Field, Image32, Mask, Points
from nufitdose.volume import OUTSIDE, Quantity, Volume

_INVERSION_TOLERANCE_MM = 0.01


@dataclass(frozen=True, eq=False)
class DisplacementField:
    """`data[:, i, j, k]` is u at a voxel of `grid`: float32, mm, RAS+; it pulls, `moving position = x + u(x)`.

    Between voxels u is linear; beyond the outer voxel centres it keeps its value at the border. The grid may be
    coarser than, or differ from, those of the images that are warped.
    """

    data: Field
    grid: Grid

    def __post_init__(self) -> None:
        data = np.ascontiguousarray(self.data, dtype=np.float32)
        object.__setattr__(self, "data", data)
        if data.shape != (3, *self.grid.shape):
            raise ValueError(f"a field of shape {data.shape} was given for a grid of {self.grid.shape}")

    @classmethod
    def identity(cls, grid: Grid) -> "DisplacementField":
        """u = 0."""
        return cls(np.zeros((3, *grid.shape), np.float32), grid)

    @classmethod
    def from_affine(cls, matrix: Affine, grid: Grid) -> "DisplacementField":
        """`u(x) = M x - x` for a 4x4 `matrix` from fixed world to moving world (mm)."""
        per_index = (np.asarray(matrix, dtype=np.float64) - np.eye(4)) @ grid.affine
        i, j, k = (np.arange(n, dtype=np.float64) for n in grid.shape)
        data = np.empty((3, *grid.shape), np.float32)
        for axis, (a, b, c, d) in enumerate(per_index[:3]):
            plane = (a * i)[:, None] + (b * j)[None, :] + d
            np.add(plane[:, :, None], c * k, out=data[axis], casting="same_kind")
        return cls(data, grid)

    def at(self, points_mm: Points) -> Points:
        """u (mm) at world positions `[..., 3]`: linear, clamped at the border."""
        index = np.moveaxis(self.grid.index(points_mm), -1, 0)
        values = [ndimage.map_coordinates(u, index, np.float64, order=1, mode="nearest") for u in self.data]
        return np.stack(values, axis=-1)

    def on(self, grid: Grid) -> "DisplacementField":
        """The same field read on another grid."""
        if self.grid.matches(grid):
            return self
        out = np.empty((3, *grid.shape), np.float32)
        over_slabs(sampling.resample, grid.shape[0], out, self.data, self.grid.inverse_affine @ grid.affine)
        return DisplacementField(out, grid)

    def parts_on(self, grid: Grid, planes: int = 32) -> Iterator[Field]:
        """The same field read on another grid, so many planes of its first axis at a time."""
        for first in range(0, grid.shape[0], planes):
            affine = np.array(grid.affine)
            affine[:3, 3] = grid.world(np.array([first, 0.0, 0.0]))
            count = min(planes, grid.shape[0] - first)
            yield self.on(Grid((count, *grid.shape[1:]), affine)).data

    def compose(self, outer: "DisplacementField") -> "DisplacementField":
        """`u12(x) = u1(x) + u2(x + u1(x))` on this field's grid: this field is u1, `outer` is u2."""
        out = np.empty_like(self.data)
        inner = self._loop_arguments(self.grid, outer.grid)
        over_slabs(sampling.compose, self.grid.shape[0], out, *inner, outer.data)
        return DisplacementField(out, self.grid)

    def inverse(self, onto: Grid | None = None, tolerance_mm: float = _INVERSION_TOLERANCE_MM) -> "DisplacementField":
        """`v` with `v(y) + u(y + v(y)) = 0` within `tolerance_mm` at every voxel of `onto` (default: its own grid).

        Raises `NotInvertibleError` where that cannot be reached.
        """
        grid = onto or self.grid
        out = np.empty((3, *grid.shape), np.float32)
        mm_to_field = np.ascontiguousarray(self.grid.inverse_affine[:3, :3])
        inversion.invert(self.data, self.grid.inverse_affine @ grid.affine, mm_to_field, out, tolerance_mm)
        return DisplacementField(out, grid)

    def warp(self, volume: Volume, onto: Grid | None = None) -> Volume:
        """The moving `volume` at `x + u(x)` on the grid `onto` (default: the field's own), interpolated once.

        Linear; labels by the greatest trilinear weight (argmax of the linearly warped one-hot images). Beyond the
        moving voxels: air for HU, 0 otherwise.
        """
        grid = onto or self.grid
        arguments = self._loop_arguments(grid, volume.grid)
        if volume.quantity is Quantity.LABELS:
            labels = np.empty(grid.shape, np.int32)
            moving = np.ascontiguousarray(volume.data, dtype=np.int32)
            over_slabs(sampling.warp_labels, grid.shape[0], labels, *arguments, moving)
            return Volume(labels.astype(volume.data.dtype), grid, volume.quantity)
        out = np.empty(grid.shape, np.float32)
        moving = np.ascontiguousarray(volume.data, dtype=np.float32)
        outside = OUTSIDE.get(volume.quantity, 0.0)
        over_slabs(sampling.warp_linear, grid.shape[0], out, *arguments, moving, outside)
        return Volume(out, grid, volume.quantity)

    def inside(self, moving_grid: Grid, onto: Grid | None = None) -> Mask:
        """Which voxels of `onto` (default: the field's own grid) come from within `moving_grid`."""
        grid = onto or self.grid
        out = np.empty(grid.shape, np.bool_)
        arguments = self._loop_arguments(grid, moving_grid)
        over_slabs(sampling.reached, grid.shape[0], out, *arguments, moving_grid.shape)
        return out

    def jacobian_determinant(self) -> Image32:
        """det(I + grad u) at every voxel, in physical coordinates: local volume in moving space over that in fixed."""
        return jacobian.determinant(self.data, self.grid.affine)

    def jacobian_statistics(self, mask: Mask | None = None) -> jacobian.JacobianStatistics:
        """Least determinant and folding over the voxels of `mask`, or all."""
        return jacobian.statistics(self.data, self.grid.affine, mask)

    @property
    def magnitude(self) -> Image32:
        """|u| in mm."""
        return np.sqrt(np.einsum("cijk,cijk->ijk", self.data, self.data))

    def _loop_arguments(self, onto: Grid, moving: Grid) -> tuple[Field, bool, np.ndarray, np.ndarray, np.ndarray]:
        """What every loop over `onto` needs to find the moving index of a voxel."""
        to_field = self.grid.inverse_affine @ onto.affine
        to_moving = moving.inverse_affine @ onto.affine
        mm_to_moving = np.ascontiguousarray(moving.inverse_affine[:3, :3])
        return self.data, self.grid.matches(onto), to_field, to_moving, mm_to_moving
