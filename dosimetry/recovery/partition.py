"""Who owns each voxel: structures, the tissue around each of them, the rest of the body; as shares in boxes."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dosimetry.recovery.point_spread import Box, PointSpread
from nufitdose.anatomy.regions import Region
from nufitdose.grid import Grid
from nufitdose.types import Image32, Mask

_LEAST_SHARE = 0.5  # of a structure that must be its own, not that of smaller ones within it

_LEAST_AROUND = 1.0  # volume of the tissue around a structure, in volumes of the structure, to be a part of its own


@dataclass(frozen=True, eq=False)
class Patch:
    """An image that is zero outside a box of the grid: `values` there."""

    box: Box
    values: Image32

    def add_to(self, image: Image32, factor: float) -> None:
        """Add it, multiplied, to an image of the whole grid."""
        image[self.box] += np.float32(factor) * self.values

    def dot(self, image: Image32) -> float:
        """Σ value · image over the box."""
        return float(np.vdot(self.values, image[self.box]))

    def overlap(self, other: "Patch") -> float:
        """Σ value · other value over what the boxes have in common."""
        low, high = self._common(other)
        if any(start >= stop for start, stop in zip(low, high, strict=True)):
            return 0.0
        return float(np.vdot(self._between(low, high), other._between(low, high)))

    def within(self, box: Box) -> Image32:
        """The values in another box, 0 where this one does not reach."""
        values = np.zeros([side.stop - side.start for side in box], dtype=np.float32)
        other = Patch(box, values)
        low, high = self._common(other)
        if all(start < stop for start, stop in zip(low, high, strict=True)):
            other._between(low, high)[...] = self._between(low, high)
        return values

    def _common(self, other: "Patch") -> tuple[list[int], list[int]]:
        low = [max(a.start, b.start) for a, b in zip(self.box, other.box, strict=True)]
        high = [min(a.stop, b.stop) for a, b in zip(self.box, other.box, strict=True)]
        return low, high

    def _between(self, low: list[int], high: list[int]) -> Image32:
        ends = zip(low, high, self.box, strict=True)
        return self.values[tuple(slice(start - side.start, stop - side.start) for start, stop, side in ends)]


@dataclass(frozen=True, eq=False)
class Partition:
    """Parts of the body that are taken as uniform, in order: structures, the tissue around each, what is left.

    `shares` [parts] are the shares of voxels; they add to that of the body. `names` [structures] have a part of their
    own; a structure most of which belongs to smaller ones within it has none.
    """

    grid: Grid
    names: tuple[str, ...]
    shares: tuple[Patch, ...]

    def blurred(self, spread: PointSpread) -> tuple[Patch, ...]:
        """The parts as a scanner of this resolution shows them."""
        spacing, reach = self.grid.spacing_mm, spread.reach_voxels(self.grid.spacing_mm)
        found = []
        for patch in self.shares:
            box, values = _widened(patch, reach, self.grid.shape)
            found.append(Patch(box, spread.blur(values, box, spacing)))
        return tuple(found)


def partition(regions: Mapping[str, Region], body: Image32, grid: Grid, around_mm: float) -> Partition:
    """The parts of a body (its share of each voxel) with the structures `regions`.

    Where structures overlap the smaller one owns the voxel. Tissue within `around_mm` of a structure belongs to the
    nearest one as its surroundings.
    """
    free = np.ones(grid.shape, dtype=np.float32)
    nearest = np.zeros(grid.shape, dtype=np.int16)
    owned: list[tuple[str, Patch]] = []
    for name, region in sorted(regions.items(), key=lambda item: item[1].volume_ml):
        share = (region.part_ml / grid.voxel_volume_ml).astype(np.float32)
        own = np.minimum(share, free.reshape(-1)[region.index])
        if own.sum() < _LEAST_SHARE * share.sum():
            continue
        free.reshape(-1)[region.index] -= own
        owned.append((name, _patch_of(region.index, own, grid)))
        taken = region.index[(own > 0) & (nearest.reshape(-1)[region.index] == 0)]
        nearest.reshape(-1)[taken] = len(owned)
    left = np.minimum(free, np.maximum(body - (1.0 - free), 0.0))
    around = _surroundings(nearest, around_mm, grid)
    for number, (_, patch) in enumerate(owned, start=1):
        if left[around == number].sum() < _LEAST_AROUND * patch.values.sum():
            around[around == number] = 0
    shells = [_patch_where(left, around == number, grid) for number in range(1, len(owned) + 1)]
    remainder = _patch_where(left, around == 0, grid)
    parts = [part for part in [*shells, remainder] if part is not None]
    return Partition(grid, tuple(name for name, _ in owned), (*(patch for _, patch in owned), *parts))


def _surroundings(nearest: NDArray[np.int16], around_mm: float, grid: Grid) -> NDArray[np.int16]:
    """Number of the nearest structure within `around_mm`, else 0."""
    if not nearest.any():
        return nearest
    distance_mm, where = ndimage.distance_transform_edt(nearest == 0, sampling=grid.spacing_mm, return_indices=True)
    return np.where(distance_mm <= around_mm, nearest[tuple(where)], 0).astype(np.int16)


def _patch_of(index: NDArray[np.int64], share: NDArray[np.float32], grid: Grid) -> Patch:
    where = np.unravel_index(index, grid.shape)
    low = [int(axis.min()) for axis in where]
    box = tuple(slice(start, int(axis.max()) + 1) for start, axis in zip(low, where, strict=True))
    values = np.zeros([side.stop - side.start for side in box], dtype=np.float32)
    values[tuple(axis - start for axis, start in zip(where, low, strict=True))] = share
    return Patch((box[0], box[1], box[2]), values)


def _patch_where(share: Image32, chosen: Mask, grid: Grid) -> Patch | None:
    index = np.flatnonzero(chosen & (share > 0))
    return _patch_of(index, share.reshape(-1)[index], grid) if index.size else None


def _widened(patch: Patch, reach: tuple[int, ...], shape: tuple[int, ...]) -> tuple[Box, Image32]:
    """The patch in a box wider by `reach`, cut at the rim of the grid."""
    low = [max(side.start - n, 0) for side, n in zip(patch.box, reach, strict=True)]
    high = [min(side.stop + n, size) for side, n, size in zip(patch.box, reach, shape, strict=True)]
    wide = np.zeros([b - a for a, b in zip(low, high, strict=True)], dtype=np.float32)
    wide[tuple(slice(side.start - a, side.stop - a) for side, a in zip(patch.box, low, strict=True))] = patch.values
    i, j, k = (slice(a, b) for a, b in zip(low, high, strict=True))
    return (i, j, k), wide
