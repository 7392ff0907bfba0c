"""How much a field may bend, and where: smoothness in physical units and its weight at every voxel.

Weights multiply: `w = w_CT · w_learned`. The CT-guided one stiffens bone (idea: arXiv 2604.22905, which states no
formula; the map is chosen here), the learned one relaxes where organs slide (arXiv 2412.17982).
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from scipy import ndimage
from torch import Tensor

from nufitdose.registration.tensors import ImageTensor
from nufitdose.types import Image32, Mask

#: CT number (HU) -> weight, linear between the knots: lung and gas, fat and soft tissue, bone.
KNOTS_HU = (-1000.0, -500.0, -100.0, 200.0, 500.0, 1000.0)
KNOTS_WEIGHT = (0.5, 0.5, 1.0, 1.0, 6.0, 6.0)
WEIGHT_RANGE = (0.3, 6.0)
_SMOOTH_MM = 4.0  # against partial volume
_SMALLEST_BONE_ML = 2.0  # smaller bright spots are contrast agent or calcification

Prior = Literal["beta", "gaussian"]
LEAST_WEIGHT = 1e-6
MOST_WEIGHT = {"beta": 1.0, "gaussian": 5.0}

FieldMm = Float[Tensor, "batch 3 i j k"]


def ct_weight(ct_hu: Image32, body: Mask, spacing_mm: float) -> Image32:
    """The CT-guided weight on a grid of cubic voxels of `spacing_mm`: mean 1 in `body`, 1 outside.

    Clip to ±1000 HU (metal saturates), drop what is above 200 HU and smaller than 2 mL, interpolate the knots,
    smooth with σ = 4 mm, clip to 0.3 ... 6, divide by the mean in the body, so that λ keeps its meaning.
    """
    hu = np.clip(ct_hu, -1000.0, 1000.0)
    bright, count = ndimage.label(hu > KNOTS_HU[3])
    if count:
        millilitre = np.bincount(bright.ravel()) * spacing_mm**3 / 1000.0
        small = millilitre < _SMALLEST_BONE_ML
        small[0] = False
        hu = np.where(small[bright], np.float32(KNOTS_HU[3]), hu)
    weight = np.interp(hu, KNOTS_HU, KNOTS_WEIGHT).astype(np.float32)
    weight = np.clip(ndimage.gaussian_filter(weight, _SMOOTH_MM / spacing_mm, truncate=3.0), *WEIGHT_RANGE)
    if not body.any():
        return np.ones_like(weight)
    return np.where(body, weight / weight[body].mean(), np.float32(1.0)).astype(np.float32)


def roughness(field_mm: FieldMm, spacing_mm: tuple[float, float, float]) -> ImageTensor:
    """`g = (1/9) Σ_c Σ_d (∂_d u_c)²` at every voxel, dimensionless; `∂_d u = [u(x + e_d) - u(x)] / s_d`, 0 at the rim.

    Rotating the components of u changes nothing, so mm along the voxel axes serve as well as world mm.
    """
    total = torch.zeros_like(field_mm[:, :1])
    for axis, spacing in enumerate(spacing_mm, start=2):
        step = (field_mm.diff(dim=axis) / spacing).square().sum(dim=1, keepdim=True)
        widths = [0] * 6
        widths[2 * (4 - axis) + 1] = 1
        total = total + torch.nn.functional.pad(step, widths)
    return total / 9.0


def dilatation(field_mm: FieldMm, spacing_mm: tuple[float, float, float]) -> ImageTensor:
    """`(div u)² = (Σ_d ∂_d u_d)²` at every voxel, dimensionless: 0 where volumes are kept; ∂ as in `roughness`."""
    total = torch.zeros_like(field_mm[:, :1])
    for axis, spacing in enumerate(spacing_mm, start=2):
        total = total + _slope(field_mm[:, axis - 2 : axis - 1], axis, spacing)
    return total.square()


def smoothness(
    field_mm: FieldMm, spacing_mm: tuple[float, float, float], weight: ImageTensor | None = None
) -> Float[Tensor, ""]:
    """`R = mean(w g)` with g of `roughness`; w = 1 where none is given."""
    g = roughness(field_mm, spacing_mm)
    return g.mean() if weight is None else (weight * g).mean()


def departure_from_rigidity(field_mm: FieldMm, spacing_mm: tuple[float, float, float]) -> ImageTensor:
    """`‖JᵀJ - I‖²` (Frobenius) at every voxel, J = I + ∇u: 0 where the field moves and turns but does not deform.

    The orthonormality condition of Staring et al. 2007 (Med Phys 34:4098); its linearity condition is left to
    `roughness` and its properness to the field, which does not fold. ∇u as in `roughness`.
    """
    rows = [_slope(field_mm, axis, spacing) for axis, spacing in enumerate(spacing_mm, start=2)]
    gradient = torch.stack(rows, dim=2)  # batch, component, axis, voxels
    strain = gradient + gradient.transpose(1, 2) + torch.einsum("ncdijk,nceijk->ndeijk", gradient, gradient)
    return strain.square().sum(dim=(1, 2))[:, None]


def _slope(image: Tensor, axis: int, spacing: float) -> Tensor:
    """Difference to the next voxel along a spatial axis (2, 3 or 4) per mm, 0 at the rim."""
    widths = [0] * 6
    widths[2 * (4 - axis) + 1] = 1
    return torch.nn.functional.pad(image.diff(dim=axis) / spacing, widths)


def clamped_weight(weight: ImageTensor, prior: Prior) -> ImageTensor:
    """A learned weight within what its prior allows: 1e-6 ... 1 (Beta) or 1e-6 ... 5 (Gaussian)."""
    return weight.clamp(LEAST_WEIGHT, MOST_WEIGHT[prior])


def weight_prior(
    weight: ImageTensor, prior: Prior, strength: float, weight_ct: ImageTensor | None = None
) -> Float[Tensor, ""]:
    """What a learned weight costs: `-β mean(w_CT log w)` for Beta(1 + β, 1), `mean(w_CT (w - 1)²) / σ²` for Gaussian.

    `strength` is β or σ. The factor w_CT is chosen here: without it the learned weight would give back the
    stiffness of bone.
    """
    w = clamped_weight(weight, prior)
    cost = -strength * w.log() if prior == "beta" else (w - 1.0).square() / strength**2
    return (cost if weight_ct is None else weight_ct * cost).mean()


def best_weight(g: ImageTensor, smoothness_weight: float, prior: Prior, strength: float) -> ImageTensor:
    """The weight that minimises `λ w g` plus its prior for a fixed field, needing no network.

    Beta: `w* = min(1, β / (λ g))`; Gaussian: `w* = 1 - λ g σ² / 2`, both clipped.
    """
    if prior == "beta":
        best = strength / (smoothness_weight * g).clamp_min(1e-12)
    else:
        best = 1.0 - smoothness_weight * g * strength**2 / 2.0
    return clamped_weight(best, prior)
