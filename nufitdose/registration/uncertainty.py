"""How well a registration can know its own displacement, voxel by voxel, in mm: for any engine's field.

What the images say of a small further displacement δ at a voxel is `exp(-½ δᵀ H δ)` with, summed over CT and activity,

    H = k Σ_images  G * (∇F ∇Fᵀ) / s²  +  1 / p²

∇F the gradient of the fixed image (1/mm; smoothed a little, so that noise does not pass for edges), G a Gaussian
window, s² the variance within it of what the warped moving image does not explain of the fixed one (noise, and
misalignment itself), as in local correlation: `s² = var F - cov² / var W`. An image without edges (a lung, the middle
of a liver), or with edges in one direction alone, leaves δ open: there the second term holds, the spread p that
displacements have where images say nothing,

    p² = p₀² + (q b)²,   b the distance (mm) of the field from its best rigid motion, smoothed by the same window:

tissue that moved far is less surely where the field puts it. `u = sqrt(trace(H⁻¹) / 3)` is the standard uncertainty of
one component of the displacement. k, p₀ and q were fitted on digital patients (docs/explanation/registration.md); the
form was chosen here, after the Cramér-Rao bound of registration (Robinson and Milanfar, doi:10.1109/TIP.2004.832923).
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from nufitdose.anatomy.activity_scale import activity_scale
from nufitdose.anatomy.body import body_mask
from nufitdose.anatomy.pooling import pool
from nufitdose.grid import Grid
from nufitdose.registration.field import DisplacementField
from nufitdose.registration.intensity import scaled_activity, scaled_ct
from nufitdose.study import TimePoint
from nufitdose.types import Image32, Mask
from nufitdose.volume import Quantity, Volume

_SPACING_MM = 4.0
_WINDOW_MM = 8.0  # standard deviation of G
_SMOOTHING_VOXELS = 0.6  # of the image whose gradient is taken
_NOISE_FLOOR = 0.01  # of the range of an image: nothing is known better than this


@dataclass(frozen=True)
class Calibration:
    """`information` k of a window's voxels, `spread_mm` p₀ and `bending` q of the equations above."""

    information: float
    spread_mm: float
    bending: float


CALIBRATION = Calibration(information=31.0, spread_mm=12.0, bending=2.2)


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the uncertainty is made of, on `grid`: `precision` [6, i, j, k], the upper triangle of H before k and p in
    1/mm² (00, 01, 02, 11, 12, 22), and `bending_mm`."""

    precision: np.ndarray
    bending_mm: Image32
    inside: Mask
    grid: Grid


def registration_uncertainty(
    fixed: TimePoint, moving: TimePoint, field: DisplacementField, calibration: Calibration = CALIBRATION
) -> Volume:
    """The standard uncertainty (mm) of one component of the displacement, on a grid of about 4 mm; 0 outside the body.

    The grid is that of the fixed activity, averaged to about 4 mm where it is finer.
    """
    found = gather_evidence(fixed, moving, field)
    u_mm = uncertainty_of(found.precision, found.bending_mm, calibration)
    return Volume(np.where(found.inside, u_mm, np.float32(0.0)), found.grid, Quantity.SCALAR)


def mean_inside(u_mm: Volume | None) -> float:
    """The mean over the voxels of the body, where an uncertainty is known; NaN without one."""
    inside = () if u_mm is None else u_mm.data[u_mm.data > 0]
    return float(np.mean(inside, dtype=np.float64)) if len(inside) else float("nan")


def uncertainty_of(precision: np.ndarray, bending_mm: np.ndarray, calibration: Calibration) -> np.ndarray:
    """`sqrt(trace(H⁻¹) / 3)` in mm of what `Evidence` holds, for voxels in any shape."""
    prior = 1.0 / (calibration.spread_mm**2 + (calibration.bending * bending_mm) ** 2)
    a, b, c, d, e, f = calibration.information * precision
    a, d, f = a + prior, d + prior, f + prior
    minors = (d * f - e * e, a * f - c * c, a * d - b * b)
    determinant = a * minors[0] - b * (b * f - c * e) + c * (b * e - c * d)
    return np.sqrt((minors[0] + minors[1] + minors[2]) / (3.0 * determinant)).astype(np.float32)


def gather_evidence(fixed: TimePoint, moving: TimePoint, field: DisplacementField) -> Evidence:
    """Gradients, residual variances and bending of a pair under a field."""
    grid = pool(fixed.activity, _SPACING_MM).grid
    local = field.on(grid)
    inside = body_mask(fixed).resampled_to(grid).data > 0.5
    sigma = _WINDOW_MM / np.array(grid.spacing_mm)
    seen = local.inside(moving.activity.grid).astype(np.float32)
    precision = np.zeros((6, *grid.shape), np.float32)
    for own, warped in _images(fixed, moving, local, inside):
        precision += _precision(own, warped, seen, sigma, grid)
    bending = ndimage.gaussian_filter(_bending_mm(local, inside), sigma, truncate=3.0)
    return Evidence(precision, bending, inside, grid)


def _images(
    fixed: TimePoint, moving: TimePoint, field: DisplacementField, inside: Mask
) -> list[tuple[Image32, Image32]]:
    """The fixed and the warped moving image, of range 0 ... 1, of activity and, where both have one, CT."""
    grid = field.grid
    activities = fixed.activity.averaged_onto(grid), field.warp(pool(moving.activity, _SPACING_MM), grid)
    pairs = []
    if all((one.data > 0).any() for one in activities):  # a scan that shows none of the body tells nothing
        scales = (activity_scale(one, inside if one.data[inside].any() else None) for one in activities)
        pairs.append(tuple(scaled_activity(one, scale) for one, scale in zip(activities, scales, strict=True)))
    if fixed.ct is not None and moving.ct is not None:
        cts = fixed.ct.averaged_onto(grid), field.warp(pool(moving.ct, _SPACING_MM), grid)
        pairs.append(tuple(scaled_ct(one) for one in cts))
    return [(own, warped) for own, warped in pairs]


def _precision(own: Image32, warped: Image32, seen: Image32, sigma: np.ndarray, grid: Grid) -> np.ndarray:
    """`G * (∇F ∇Fᵀ) / s²`, upper triangle, 1/mm²; gradients along the axes of the grid."""

    def window(image: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(image, sigma, truncate=3.0)

    mean_f, mean_w = window(own), window(warped)
    var_f = np.maximum(window(own * own) - mean_f**2, 0.0)
    var_w = np.maximum(window(warped * warped) - mean_w**2, 0.0)
    covariance = window(own * warped) - mean_f * mean_w
    unexplained = np.maximum(var_f - covariance**2 / np.maximum(var_w, _NOISE_FLOOR**2), 0.0) + _NOISE_FLOOR**2
    smooth = ndimage.gaussian_filter(own, _SMOOTHING_VOXELS, truncate=3.0)
    slopes = np.gradient(smooth, *grid.spacing_mm)
    weight = seen / unexplained
    pairs = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
    return np.stack([window(slopes[p] * slopes[q]) * weight for p, q in pairs])


def _bending_mm(field: DisplacementField, inside: Mask) -> Image32:
    """|u - the rigid motion nearest to it over the body| (Kabsch), mm."""
    points = field.grid.world(np.moveaxis(np.indices(field.grid.shape, dtype=np.float64), 0, -1))
    there = points + np.moveaxis(field.data, 0, -1)
    if not inside.any():
        return np.zeros(field.grid.shape, np.float32)
    centre, goal = points[inside].mean(axis=0), there[inside].mean(axis=0)
    left, _, right = np.linalg.svd((points[inside] - centre).T @ (there[inside] - goal))
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = left @ flip @ right
    return np.linalg.norm(there - ((points - centre) @ rotation + goal), axis=-1).astype(np.float32)
