"""How good a registration is: similarity of the activities, folding, landmarks, change of activity.

Similarity rewards what was optimised, and folding; only landmarks and structures judge independently.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from scipy import ndimage

from nufitdose.anatomy.activity_scale import ACTIVITY_PERCENTILE
from nufitdose.anatomy.body import body_mask
from nufitdose.anatomy.pooling import pool
from nufitdose.registration.field import DisplacementField
from nufitdose.registration.similarity import joint_distribution, lncc, normalised_information, shared_information, ssim
from nufitdose.study import TimePoint
from nufitdose.types import Image32, Mask, Points
from nufitdose.volume import Volume

_INVERSE_STEPS = 8  # each leaves the share |grad u| of the error before
_WINDOW_REACH = 6  # voxels, at least that of the Gaussian of SSIM and of the window of LNCC
_FINEST_MM = 4.0  # finer activity grids are averaged to about this before images are compared


@dataclass(frozen=True)
class RegistrationQuality:
    """One row of registration.csv; NaN where a number is unknown.

    Similarities are those of the activities on the fixed activity grid (averaged to about 4 mm where that is finer),
    each over its own 99.9th percentile, where the fixed body and the moving field of view meet: `ssim` (Gaussian
    window of 1.5 voxels), `wssim` the same weighted by the fixed activity (0 ... 1; chosen here), `lncc` (windows of 9³
    voxels), `mi` (nats, 32 bins, of the square roots) and `nmi` (1 ... 2, of the same histogram). `jacobian_*`,
    `folding_percent`, `ndv_percent` and `displacement_max_mm` are taken over the body on the field's own grid (see
    `JacobianStatistics`), `tre_mm` is the mean over landmarks, and `activity_change_percent` is how much the total
    differs because a concentration was transported: `100 (Σ A(x+u) / Σ A(x+u) det(I + grad u) - 1)`.
    `inverse_consistency_mm` is the mean of `|u(x) + v(x + u(x))|` over the body for the inverse v that a lattice can
    hold (see `undone_mm`), and `overlap_percent` the share of the fixed body that the moving field of view covers.
    """

    ssim: float
    wssim: float
    lncc: float
    mi: float
    tre_mm: float
    jacobian_min: float
    folding_percent: float
    ndv_percent: float
    displacement_max_mm: float
    activity_change_percent: float
    nmi: float = np.nan
    jacobian_max: float = np.nan
    jacobian_beyond_percent: float = np.nan
    sd_log_jacobian: float = np.nan
    inverse_consistency_mm: float = np.nan
    overlap_percent: float = np.nan


def registration_quality(
    fixed: TimePoint,
    moving: TimePoint,
    field: DisplacementField,
    *,
    landmarks_mm: tuple[Points, Points] | None = None,
    device: torch.device | None = None,
) -> RegistrationQuality:
    """Judge a field; `landmarks_mm` are points on the fixed and, in the same order, on the moving scan."""
    body = body_mask(fixed)
    on_field = body.resampled_to(field.grid).data > 0.5
    statistics = field.jacobian_statistics(on_field)
    squared = np.einsum("cijk,cijk->ijk", field.data, field.data)
    own = pool(fixed.activity, _FINEST_MM).grid
    local, inside = field.on(own), body.resampled_to(own).data > 0.5
    similarity = _similarity(fixed.activity, moving.activity, field, inside, device or torch.device("cpu"))
    return RegistrationQuality(
        **similarity,
        tre_mm=np.nan if landmarks_mm is None else float(target_registration_error_mm(field, *landmarks_mm).mean()),
        jacobian_min=statistics.minimum,
        folding_percent=statistics.folding_percent,
        ndv_percent=statistics.ndv_percent,
        displacement_max_mm=float(np.sqrt(squared.max(where=on_field, initial=0.0))),
        jacobian_max=statistics.maximum,
        jacobian_beyond_percent=statistics.beyond_percent,
        sd_log_jacobian=statistics.sd_log,
        inverse_consistency_mm=undone_mm(local, inside),
        overlap_percent=100.0 * float(local.inside(moving.activity.grid)[inside].mean()) if inside.any() else np.nan,
    )


def target_registration_error_mm(
    field: DisplacementField, fixed_mm: Points, moving_mm: Points
) -> Float64[np.ndarray, " points"]:
    """`|p_f + u(p_f) - p_m|` of every landmark."""
    return np.asarray(np.linalg.norm(fixed_mm + field.at(fixed_mm) - moving_mm, axis=-1))


def undone_mm(field: DisplacementField, where: Mask) -> float:
    """Mean of `|u(x) + v(x + u(x))|` over `where`, v from a few fixed-point steps `v <- -u(x + v(x))` on the same grid.

    Near 0 for a field that can be undone; a fold, or a bend finer than the grid holds, leaves a rest. This is the
    field against its own inverse: no registration of the scans in the other order is made.
    """
    back = DisplacementField(-field.data, field.grid)
    for _ in range(_INVERSE_STEPS):
        pulled = back.compose(field).data - back.data  # u(x + v(x))
        back = DisplacementField(-pulled, field.grid)
    left = field.compose(back).magnitude[where]
    return float(left.mean(dtype=np.float64)) if left.size else np.nan


def activity_change_percent(
    warped: Float[np.ndarray, "*voxels"], determinant: Float[np.ndarray, "*voxels"], where: Mask | None = None
) -> float:
    """How much a total changes because concentration is transported and not activity; NaN without activity.

    `100 (Σ A(x+u) / Σ A(x+u) det(I + grad u) - 1)` over `where`: the sum below is the activity that the moving scan
    holds in the same tissue.
    """
    here = slice(None) if where is None else where
    transported = float((warped * determinant)[here].sum(dtype=np.float64))
    return 100.0 * (float(warped[here].sum(dtype=np.float64)) / transported - 1.0) if transported > 0 else np.nan


def _similarity(
    fixed: Volume, moving: Volume, field: DisplacementField, body: Mask, device: torch.device
) -> dict[str, float]:
    own = pool(fixed, _FINEST_MM)
    warped = pool(field.warp(moving, fixed.grid), _FINEST_MM)
    local = field.on(own.grid)
    where = body & local.inside(moving.grid)
    if not (where & (own.data > 0)).any() or not (where & (warped.data > 0)).any():
        return dict.fromkeys(("ssim", "wssim", "lncc", "mi", "nmi", "activity_change_percent"), np.nan)
    box = _box_around(where)
    a, b = (_tensor(_normalised(image.data, where)[box], device) for image in (own, warped))
    counted = _tensor(where[box].astype(np.float32), device)
    with torch.no_grad():
        alike = ssim(a, b)
        weight = counted * a.clamp(0.0, 1.0)
        joint = joint_distribution(a.clamp_min(0.0).sqrt(), b.clamp_min(0.0).sqrt(), weight=counted)
        return {
            "ssim": float((alike * counted).sum() / counted.sum()),
            "wssim": float((alike * weight).sum() / weight.sum()),
            "lncc": float(lncc(a, b, weight=counted)),
            "mi": float(shared_information(joint)),
            "nmi": float(normalised_information(joint)),
            "activity_change_percent": activity_change_percent(warped.data, local.jacobian_determinant(), where),
        }


def _box_around(where: Mask) -> tuple[slice, ...]:
    """What is compared and the windows around it: air far from the body changes nothing and takes time."""
    (box,) = ndimage.find_objects(where.astype(np.uint8))
    return tuple(slice(max(side.start - _WINDOW_REACH, 0), side.stop + _WINDOW_REACH) for side in box)


def _normalised(image: Image32, where: Mask) -> Image32:
    values = image[where]
    top = np.percentile(values, ACTIVITY_PERCENTILE) or values.max()
    return image / np.float32(top)


def _tensor(image: Image32, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image))[None, None].to(device)
