"""Closed planar contours to voxels, and the volume the contours enclose.

A structure is a stack of slabs: every contour plane, extruded along the slice axis of the grid (its third
axis) half-way to its neighbours, and by half the contour spacing where it has none. Planes more than one
and a half contour spacings apart are no neighbours: what lies between them stays empty. A voxel belongs
to the structure when its centre lies inside; polygons of one plane are combined by even-odd, so that holes
and keyholes work. A voxel centre exactly on an edge belongs to the side of higher index, and a slice
exactly between two planes to the upper one, so that regions which share an edge never share a voxel.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.io.polygons import area, cover, fill, outline
from nufitdose.types import Mask

_SNAP_DECIMALS = 6  # of a voxel: the last digits of a file's numbers must not decide a tie
_SLICE_TOLERANCE = 0.01  # of a slice: how exactly a plane is placed
_TIE = 1e-5  # of a voxel: shares closer than this are equal
_TILT = 0.5  # of a slice: a contour that spans more is not parallel to the slices
_VOLUME_TOLERANCE = 0.01  # of the volume: what the rule of centres may miss
_MOST_CROSSINGS = 10_000
_NEIGHBOURS = 1.5  # contour spacings up to which two planes belong together


Slab = tuple[float, float]  # from and to along the slice axis, in slices
Box = tuple[slice, slice, slice]  # a part of a grid


@dataclass(frozen=True, eq=False)
class Rasterised:
    """Voxels of a structure beside what its contours say.

    `mask` covers the part `box` of the grid. `voxels_ml` is the volume of the voxels, `contours_ml` that of
    the slabs, `inside_ml` the part of the slabs in the field of view. `spacing_mm` is the contour spacing,
    `empty_slices` counts the slices between the first plane and the last that no plane reaches.
    """

    mask: Mask
    box: Box
    voxels_ml: float
    contours_ml: float
    inside_ml: float
    spacing_mm: float
    empty_slices: int


def rasterise(contours_mm: Sequence[np.ndarray], grid: Grid) -> Rasterised:
    """The voxels of `grid` whose centres lie inside closed contours, each `[points, 3]` in mm, RAS+.

    Raises `InputError` when a contour is not parallel to the slices of the grid.
    """
    contours = [np.round(grid.index(points), _SNAP_DECIMALS) for points in contours_mm]
    _check_parallel(contours, grid)
    positions, members = _planes(contours, grid)
    slabs, spacing = _slabs(positions)
    planes = [outline([contours[n] for n in chosen]) for chosen in members]
    _check_simple(planes)
    whole_ml, inside_ml = _volumes_ml(planes, slabs, grid)
    box = _box(contours, slabs, grid)
    slices = [_slices(low, high, grid.shape[2]) for low, high in slabs]
    mask = _by_centres(planes, slices, box)
    if abs(int(mask.sum()) * grid.voxel_volume_ml - inside_ml) > _VOLUME_TOLERANCE * inside_ml:
        mask = _by_shares(planes, slabs, box, mask, round(inside_ml / grid.voxel_volume_ml))
    return Rasterised(
        mask=mask,
        box=box,
        voxels_ml=int(mask.sum()) * grid.voxel_volume_ml,
        contours_ml=whole_ml,
        inside_ml=inside_ml,
        spacing_mm=spacing * grid.spacing_mm[2],
        empty_slices=sum(after[0] - before[1] for before, after in pairwise(slices)),
    )


def _check_parallel(contours: Sequence[np.ndarray], grid: Grid) -> None:
    span = max(float(np.ptp(points[:, 2])) for points in contours)
    if span > _TILT:
        raise InputError(
            f"a contour spans {span * grid.spacing_mm[2]:.2f} mm across slices {grid.spacing_mm[2]:.2f} mm apart, "
            "contours parallel to the slices of the image are wanted",
            remedy="Export the structures contoured on the slices of this image, or as a segmentation (SEG)",
        )


def _check_simple(planes: Sequence[np.ndarray]) -> None:
    """Refuse what runs to and fro so often that it is no outline, and would take hours."""
    for edges in planes:
        if len(edges) > _MOST_CROSSINGS:
            lengths = edges[:, 2] - edges[:, 0]
            crossed = float(lengths.sum() / (edges[:, 2].max() - edges[:, 0].min()))
            if crossed > _MOST_CROSSINGS:
                raise InputError(
                    f"a line across a slice crosses the contours {crossed:.3g} times, at most {_MOST_CROSSINGS} is "
                    "wanted",
                    remedy="Export the structures again",
                )


def _planes(contours: Sequence[np.ndarray], grid: Grid) -> tuple[np.ndarray, list[list[int]]]:
    """Ascending positions of the contour planes in slices, and which contours lie on each."""
    tolerance = min(0.1 / grid.spacing_mm[2], 0.1)  # 0.1 mm, or a tenth of a slice
    heights = np.array([points[:, 2].mean() for points in contours])
    order = np.argsort(heights, kind="stable")
    members = [[int(order[0])]]
    for before, after in pairwise(order):
        if heights[after] - heights[before] > tolerance:
            members.append([])
        members[-1].append(int(after))
    return np.array([heights[chosen].mean() for chosen in members]), members


def _slabs(positions: np.ndarray) -> tuple[list[Slab], float]:
    """From where to where each plane reaches, and the contour spacing, all in slices.

    The contour spacing is the lower quartile of the distances between planes, so that neither a gap in
    the structure nor a plane drawn in between decides it; one or two planes count for at most a slice each.
    """
    distances = np.diff(positions)
    if len(distances) < 2:
        spacing = float(min(1.0, *distances)) if len(distances) else 1.0
    else:
        spacing = float(np.sort(distances)[(len(distances) - 1) // 4])
    joined = distances <= _NEIGHBOURS * spacing
    middle = (positions[:-1] + positions[1:]) / 2
    low = positions - spacing / 2
    high = positions + spacing / 2
    low[1:] = np.where(joined, middle, low[1:])
    high[:-1] = np.where(joined, middle, high[:-1])
    return list(zip(low.tolist(), high.tolist(), strict=True)), spacing


def _slices(low: float, high: float, count: int) -> tuple[int, int]:
    """The half-open range of slices within a slab: low <= k < high, cut to the image."""
    first, last = (int(np.ceil(edge - _SLICE_TOLERANCE)) for edge in (low, high))
    return min(max(first, 0), count), min(max(last, 0), count)


def _box(contours: Sequence[np.ndarray], slabs: Sequence[Slab], grid: Grid) -> Box:
    """The part of the grid whose voxels the slabs touch."""
    low = [*np.min([points[:, :2].min(axis=0) for points in contours], axis=0), slabs[0][0]]
    high = [*np.max([points[:, :2].max(axis=0) for points in contours], axis=0), slabs[-1][1]]
    first = np.clip(np.floor(np.array(low) + 0.5), 0, grid.shape).astype(int).tolist()
    last = np.clip(np.ceil(np.array(high) + 0.5), first, grid.shape).astype(int).tolist()
    i, j, k = (slice(a, b) for a, b in zip(first, last, strict=True))
    return i, j, k


def _volumes_ml(planes: Sequence[np.ndarray], slabs: Sequence[Slab], grid: Grid) -> tuple[float, float]:
    """Volume of the slabs, and of the part of them inside the field of view: Σ area · thickness."""
    far, (i_end, j_end, k_end) = np.inf, np.array(grid.shape) - 0.5
    whole = inside = 0.0
    for edges, (low, high) in zip(planes, slabs, strict=True):
        whole += area(edges, -far, far, -far, far) * (high - low)
        inside += area(edges, -0.5, i_end, -0.5, j_end) * max(0.0, min(high, k_end) - max(low, -0.5))
    return whole * grid.voxel_volume_ml, inside * grid.voxel_volume_ml


def _by_centres(planes: Sequence[np.ndarray], slices: Sequence[tuple[int, int]], box: Box) -> Mask:
    mask = np.zeros([part.stop - part.start for part in box], dtype=bool)
    for edges, (first, last) in zip(planes, slices, strict=True):
        if first < last and mask.size:
            plane = np.zeros(mask.shape[:2], dtype=bool)
            fill(edges, plane, box[0].start, box[1].start)
            mask[:, :, first - box[2].start : last - box[2].start] = plane[:, :, None]
    return mask


def _by_shares(planes: Sequence[np.ndarray], slabs: Sequence[Slab], box: Box, by_centres: Mask, count: int) -> Mask:
    """The `count` voxels with the largest share of their volume inside; of equal shares the centre decides."""
    shares = np.zeros([part.stop - part.start for part in box], dtype=np.float32)
    centres = np.arange(box[2].start, box[2].stop)
    for edges, (low, high) in zip(planes, slabs, strict=True):
        overlap = np.minimum(high, centres + 0.5) - np.maximum(low, centres - 0.5)
        touched = np.flatnonzero(overlap > 0)
        if touched.size:
            plane = np.zeros(shares.shape[:2])
            cover(edges, plane, box[0].start, box[1].start)
            shares[:, :, touched] += plane[:, :, None] * overlap[touched]
    shares[by_centres] += _TIE
    order = np.argsort(-shares, axis=None, kind="stable")[: min(count, int((shares > 0).sum()))]
    mask = np.zeros(shares.shape, dtype=bool)
    mask.reshape(-1)[order] = True
    return mask
