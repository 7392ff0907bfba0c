"""How good a registration is: similarity of the activities, folding, landmarks, change of activity.

Similarity rewards what was optimised, and folding; only landmarks and structures judge independently.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64

from nufitdose.anatomy.activity_scale import ACTIVITY_PERCENTILE
from nufitdose.anatomy.body import body_mask
from nufitdose.anatomy.pooling import pool
from nufitdose.grid import Grid
from nufitdose.registration.field import DisplacementField
from nufitdose.registration.similarity import lncc, mutual_information, ssim
from nufitdose.study import Structures, TimePoint
from nufitdose.types import Image32, Mask, Points
from nufitdose.volume import Volume

_FINEST_MM = 4.0  # finer activity grids are averaged to about this before images are compared


@dataclass(frozen=True)
class RegistrationQuality:
    """One row of registration.csv; NaN where a number is unknown.

    Similarities are those of the activities on the fixed activity grid (averaged to about 4 mm where that is finer),
    each over its own 99.9th percentile, where the fixed body and the moving field of view meet: `ssim` (Gaussian
    window of 1.5 voxels), `wssim` the same weighted by the fixed activity (0 ... 1; chosen here), `lncc` (windows of 9³
    voxels), `mi` (nats, 32 bins, of the square roots). `jacobian_min`, `folding_percent`, `ndv_percent` and
    `displacement_max_mm` are taken over the body on the field's own grid (see `JacobianStatistics`), `tre_mm` is the
    mean over landmarks, and `activity_change_percent` is how much the total differs because a concentration was
    transported: `100 (Σ A(x+u) / Σ A(x+u) det(I + grad u) - 1)`.
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
    similarity = _similarity(fixed.activity, moving.activity, field, body, device or torch.device("cpu"))
    return RegistrationQuality(
        **similarity,
        tre_mm=np.nan if landmarks_mm is None else float(target_registration_error_mm(field, *landmarks_mm).mean()),
        jacobian_min=statistics.minimum,
        folding_percent=statistics.folding_percent,
        ndv_percent=statistics.ndv_percent,
        displacement_max_mm=float(np.sqrt(squared.max(where=on_field, initial=0.0))),
    )


def target_registration_error_mm(
    field: DisplacementField, fixed_mm: Points, moving_mm: Points
) -> Float64[np.ndarray, " points"]:
    """`|p_f + u(p_f) - p_m|` of every landmark."""
    return np.asarray(np.linalg.norm(fixed_mm + field.at(fixed_mm) - moving_mm, axis=-1))


def activity_change_percent(warped: Image32, determinant: Image32, where: Mask | None = None) -> float:
    """How much a total changes because concentration is transported and not activity; NaN without activity.

    `100 (Σ A(x+u) / Σ A(x+u) det(I + grad u) - 1)` over `where`: the sum below is the activity that the moving scan
    holds in the same tissue.
    """
    here = slice(None) if where is None else where
    transported = float((warped * determinant)[here].sum(dtype=np.float64))
    return 100.0 * (float(warped[here].sum(dtype=np.float64)) / transported - 1.0) if transported > 0 else np.nan


def _similarity(
    fixed: Volume, moving: Volume, field: DisplacementField, body: Volume, device: torch.device
) -> dict[str, float]:
    own = pool(fixed, _FINEST_MM)
    warped = pool(field.warp(moving, fixed.grid), _FINEST_MM)
    local = field.on(own.grid)
    where = (body.resampled_to(own.grid).data > 0.5) & local.inside(moving.grid)
    if not (where & (own.data > 0)).any() or not (where & (warped.data > 0)).any():
        return dict.fromkeys(("ssim", "wssim", "lncc", "mi", "activity_change_percent"), np.nan)
    a, b = (_tensor(_normalised(image.data, where), device) for image in (own, warped))
    counted = _tensor(where.astype(np.float32), device)
    with torch.no_grad():
        alike = ssim(a, b)
        weight = counted * a.clamp(0.0, 1.0)
        return {
            "ssim": float((alike * counted).sum() / counted.sum()),
            "wssim": float((alike * weight).sum() / weight.sum()),
            "lncc": float(lncc(a, b, weight=counted)),
            "mi": float(mutual_information(a.clamp_min(0.0).sqrt(), b.clamp_min(0.0).sqrt(), weight=counted)),
            "activity_change_percent": activity_change_percent(warped.data, local.jacobian_determinant(), where),
        }


def _normalised(image: Image32, where: Mask) -> Image32:
    values = image[where]
    top = np.percentile(values, ACTIVITY_PERCENTILE) or values.max()
    return image / np.float32(top)


def _tensor(image: Image32, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image))[None, None].to(device)


@dataclass(frozen=True)
class StructureAgreement:
    """How a structure known on both scans meets itself: distance of centroids (mm) and Dice, before and after."""

    structure: str
    centroid_before_mm: float
    centroid_after_mm: float
    dice_before: float
    dice_after: float


def structure_agreement(
    fixed: Structures, moving: Structures, field: DisplacementField
) -> tuple[StructureAgreement, ...]:
    """Every structure that both scans name, in the order of the fixed one.

    Centroids: of `x + u(x)` over the fixed structure against that of the moving structure. Dice: on the fixed grid,
    moving labels by the argmax of their linearly warped one-hot images.
    """
    unmoved = DisplacementField.identity(Grid((1, 1, 1), field.grid.affine))
    numbers = {name: label for label, name in moving.names.items()}
    warped: dict[tuple[int, int], tuple[Volume, Volume]] = {}  # (fixed layer, moving layer) -> before, after
    rows = []
    for name in fixed.present():
        if name not in moving.present():
            continue
        (mask_f, layer_f), (mask_m, layer_m) = fixed.mask(name), moving.mask(name)
        pair = (id(layer_f), id(layer_m))
        if pair not in warped:
            warped[pair] = (unmoved.warp(layer_m, layer_f.grid), field.warp(layer_m, layer_f.grid))
        before, after = (layer.data == numbers[name] for layer in warped[pair])
        points_f, points_m = _positions_mm(mask_f, layer_f), _positions_mm(mask_m, layer_m)
        target = points_m.mean(axis=0)
        rows.append(
            StructureAgreement(
                structure=name,
                centroid_before_mm=float(np.linalg.norm(points_f.mean(axis=0) - target)),
                centroid_after_mm=float(np.linalg.norm((points_f + field.at(points_f)).mean(axis=0) - target)),
                dice_before=dice(mask_f, before),
                dice_after=dice(mask_f, after),
            )
        )
    return tuple(rows)


def dice(a: Mask, b: Mask) -> float:
    """`2 |a ∩ b| / (|a| + |b|)`; NaN where both are empty."""
    size = int(a.sum()) + int(b.sum())
    return 2.0 * int((a & b).sum()) / size if size else np.nan


def _positions_mm(mask: Mask, layer: Volume) -> Points:
    return layer.grid.world(np.argwhere(mask).astype(np.float64))
