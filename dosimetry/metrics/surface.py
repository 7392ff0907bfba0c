"""Where the surface of a drawn structure runs between its voxels, and how far each voxel is from it.

A mask tells a surface to half a voxel. The boxes of its voxels stand out of a round body, so that distances to them
make margins too wide; the surface taken here is the smooth one between the centres of voxels inside and outside,
unless the mask is a body of flat faces along the grid, which is what its boxes are.
"""

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

from nufitdose.types import F64, Image32, Mask, Points, Triple

_SIGMA = 1.0  # voxels: as far as a surface is smoothed over the steps of the voxels
_HELD = 0.1  # of the level at a voxel that smoothing would put on the wrong side
_ALONG = 0.98  # cosine from which a normal runs along an axis of the grid
_FLAT = 0.5  # share of a surface that runs so from which the mask is taken as the boxes it is
_FAR_MM = 1e6


def signed_distance_mm(mask: Mask, spacing_mm: Triple, reach_mm: float) -> Image32:
    """From the centre of each voxel to the surface of the mask, negative inside; beyond `reach_mm` just far away.

    The surface is the level that 2 G_σ - G_√2σ of the mask has in common with it (a kernel without second moment, which
    leaves spheres their size), moved along its normal until it encloses the volume of the voxels.
    """
    level = _smoothed(mask)
    points, normals = _surface(level, spacing_mm)
    if np.mean(np.abs(normals).max(axis=1) > _ALONG) > _FLAT:
        outside, inside = (_to_boxes_mm(~of, spacing_mm) for of in (mask, ~mask))
        return np.where(mask, -inside, outside).astype(np.float32)
    rough = np.where(mask, -1.0, 1.0) * (
        ndimage.distance_transform_edt(mask, spacing_mm) + ndimage.distance_transform_edt(~mask, spacing_mm)
    )
    band = np.abs(rough) <= reach_mm + 3.0 * max(spacing_mm)
    away = _to_discs_mm(np.argwhere(band) * np.array(spacing_mm), points, normals, 0.5 * min(spacing_mm))
    distance = np.where(mask, -_FAR_MM, _FAR_MM)
    distance[band] = np.where(level[band] > 0.0, -away, away)
    return (distance - _move_mm(distance, int(mask.sum()), spacing_mm)).astype(np.float32)


def _smoothed(mask: Mask) -> F64:
    """Positive inside, negative outside, zero at the surface; at each centre as the mask has it."""
    part = mask.astype(np.float64)
    near, far = (ndimage.gaussian_filter(part, sigma, truncate=3.0) for sigma in (_SIGMA, _SIGMA * np.sqrt(2.0)))
    level = 2.0 * near - far - 0.5
    return np.where((level > 0.0) == mask, level, np.where(mask, _HELD, -_HELD))


def _surface(level: F64, spacing_mm: Triple) -> tuple[Points, Points]:
    """Points, mm from the first voxel, where the level is zero between neighbouring centres, and unit normals there."""
    slope = np.stack([*np.gradient(level, *spacing_mm)], axis=-1)
    inside = level > 0.0
    points, normals = [], []
    for axis in range(3):
        here, there = (
            tuple(part if n == axis else slice(None) for n in range(3)) for part in (slice(-1), slice(1, None))
        )
        crossed = inside[here] != inside[there]
        share = level[here][crossed] / (level[here][crossed] - level[there][crossed])
        index = np.argwhere(crossed).astype(np.float64)
        index[:, axis] += share
        points.append(index * np.array(spacing_mm))
        normals.append(slope[here][crossed] * (1.0 - share[:, None]) + slope[there][crossed] * share[:, None])
    steep = np.concatenate(normals)
    return np.concatenate(points), steep / np.maximum(np.linalg.norm(steep, axis=1), 1e-30)[:, None]


def _to_discs_mm(centres_mm: Points, points_mm: F64, normals: F64, radius_mm: float) -> F64:
    """To the nearest point of the surface, taken as a disc: between points the surface goes on."""
    apart, nearest = KDTree(points_mm).query(centres_mm)
    across = np.abs(np.einsum("ij,ij->i", centres_mm - points_mm[nearest], normals[nearest]))
    along = np.sqrt(np.maximum(apart**2 - across**2, 0.0))
    return np.asarray(np.hypot(across, np.maximum(along - radius_mm, 0.0)))


def _move_mm(distance_mm: F64, voxels: int, spacing_mm: Triple) -> float:
    """How far the surface must move outwards to enclose this many voxels, half a voxel at most.

    Each voxel near it is cut into eight parts, whose distances are interpolated as those of all points will be.
    """
    side = float(np.prod(spacing_mm)) ** (1 / 3) / 2.0  # of a part
    close = np.abs(distance_mm) < 4.0 * side
    whole = float((distance_mm <= -4.0 * side).sum())
    corners = np.stack(np.meshgrid(*[(-0.25, 0.25)] * 3, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    parts = ndimage.map_coordinates(distance_mm, (np.argwhere(close) + corners).reshape(-1, 3).T, order=1)
    low, high = -side, side
    for _ in range(20):
        middle = (low + high) / 2.0
        enclosed = whole + float(np.clip(0.5 - (parts - middle) / side, 0.0, 1.0).sum()) / len(corners)
        low, high = (middle, high) if enclosed < voxels else (low, middle)
    return (low + high) / 2.0


def _to_boxes_mm(away: Mask, spacing_mm: Triple) -> F64:
    """From the centre of each voxel that is `away` to the nearest box that is not: |max(|Δ| - side/2, 0)|."""
    nearest = ndimage.distance_transform_edt(away, spacing_mm, return_distances=False, return_indices=True)
    squared = np.zeros(away.shape)
    own = np.ogrid[tuple(slice(0, n) for n in away.shape)]
    for found, side, here in zip(nearest, spacing_mm, own, strict=True):
        squared += np.maximum(side * np.abs(found - here) - side / 2.0, 0.0) ** 2
    return np.asarray(np.sqrt(squared))
