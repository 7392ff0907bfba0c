"""Structures on the dose grid: how much of each voxel belongs to a structure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from nufitdose.grid import Grid
from nufitdose.types import Mask
from nufitdose.volume import Volume

_POINTS_AT_ONCE = 2_000_000
_SAME_EDGE = 1e-3  # of a voxel: edges nearer to each other are one


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

    Where the axes of both run side by side, each voxel of `grid` gets what it shares with those of the mask. Otherwise
    each voxel of the mask is cut into equal parts no larger than a quarter voxel of `grid`, and each part is given to
    the voxel of `grid` that holds its centre. On one and the same grid nothing changes.
    """
    if mask_grid.matches(grid):
        flat = np.flatnonzero(mask)
        return Region(flat, np.full(flat.size, grid.voxel_volume_ml), 0.0)
    where = np.argwhere(mask)
    along = _overlaps(mask_grid, grid)
    parts = math.prod(one.share.shape[1] for one in along) if along else len(_part_centres(mask_grid, grid))
    voxels, outside, shape = np.zeros(grid.size), 0.0, np.array(grid.shape)
    for some in np.array_split(where, 1 + len(where) * parts // _POINTS_AT_ONCE):
        index, share = _share(some, along) if along else _cut(some, mask_grid, grid)
        inside = ((index >= 0) & (index < shape)).all(axis=1)
        outside += float(share[~inside].sum())
        flat = np.ravel_multi_index(tuple(index[inside].T), grid.shape)
        voxels += np.bincount(flat, weights=share[inside], minlength=grid.size)
    chosen = np.flatnonzero(voxels)
    return Region(chosen, voxels[chosen] * mask_grid.voxel_volume_ml, outside * mask_grid.voxel_volume_ml)


@dataclass(frozen=True, eq=False)
class _Overlap:
    """Along one axis of a mask: the axis of the other grid beside it, and for each place the voxels met and shares."""

    axis: int
    voxel: NDArray[np.int64]
    share: NDArray[np.float64]


def _overlaps(mask_grid: Grid, grid: Grid) -> list[_Overlap] | None:
    """What the voxels of both grids share along each axis of the mask; None where the axes are not parallel."""
    to_index = grid.inverse_affine @ mask_grid.affine
    axes = np.abs(to_index[:3, :3]).argmax(axis=0)
    across = np.array(to_index[:3, :3])
    across[axes, range(3)] = 0.0
    if len(set(axes)) < 3 or np.abs(across * np.array(mask_grid.shape)).max() > _SAME_EDGE:
        return None
    found = []
    for own, (axis, size) in enumerate(zip(axes.tolist(), mask_grid.shape, strict=True)):
        edges = to_index[axis, 3] + to_index[axis, own] * (np.arange(size + 1) - 0.5) + 0.5  # voxel k spans k to k + 1
        whole = np.rint(edges)
        edges = np.where(np.abs(edges - whole) < _SAME_EDGE, whole, edges)
        low, high = np.minimum(edges[:-1], edges[1:])[:, None], np.maximum(edges[:-1], edges[1:])[:, None]
        first = np.floor(low).astype(np.int64)
        voxel = first + np.arange(int((np.ceil(high) - first).max()))
        share = np.clip(np.minimum(high, voxel + 1.0) - np.maximum(low, voxel), 0.0, None)
        found.append(_Overlap(axis, voxel, share / share.sum(axis=1, keepdims=True)))
    return found


def _share(where: NDArray[np.int64], along: list[_Overlap]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The voxels `[n, 3]` that those of the mask meet, and the share of a voxel of the mask in each."""
    indices, shares = [], []
    for met in product(*(range(one.share.shape[1]) for one in along)):
        index, share = np.empty_like(where), np.ones(len(where))
        for own, (one, number) in enumerate(zip(along, met, strict=True)):
            index[:, one.axis] = one.voxel[where[:, own], number]
            share *= one.share[where[:, own], number]
        indices.append(index[share > 0])
        shares.append(share[share > 0])
    return np.concatenate(indices), np.concatenate(shares)


def _cut(where: NDArray[np.int64], mask_grid: Grid, grid: Grid) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The voxels `[n, 3]` that hold the parts of those of the mask, and the share of a part in a voxel of the mask."""
    centres = _part_centres(mask_grid, grid)
    points = mask_grid.world((where[:, None] + centres).reshape(-1, 3))
    return np.floor(grid.index(points) + 0.5).astype(np.int64), np.full(len(points), 1.0 / len(centres))


def _part_centres(mask_grid: Grid, grid: Grid) -> NDArray[np.float64]:
    """Centres of the parts of one mask voxel, in its own index."""
    steps = grid.inverse_affine[:3, :3] @ mask_grid.affine[:3, :3]  # a mask voxel's edges in voxels of `grid`
    parts = np.maximum(1, np.ceil(4.0 * np.abs(steps).max(axis=0) - 1e-6)).astype(int)
    centres = [(np.arange(n) + 0.5) / n - 0.5 for n in parts]
    return np.stack(np.meshgrid(*centres, indexing="ij"), axis=-1).reshape(-1, 3)
