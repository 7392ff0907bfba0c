"""Local correlation of a warped scan with a fixed one, its slope and bend: equations and names of `..correlation`.

All windows of a channel are summed at once, axis by axis; channels come after one another, so that memory stays small.
"""

from dataclasses import dataclass
from itertools import chain

import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor
from torch.nn.functional import avg_pool3d, interpolate

from nufitdose.registration.optimiser.on_device.reading import Images, read_linear, read_splines

Field = Float32[Tensor, "3 half_i half_j half_k"]
System = Float32[Tensor, "9 half_i half_j half_k"]
Image = Float32[Tensor, "i j k"]
PerChannel = Float32[Tensor, "compared 2"]

_WINDOW = 5  # voxels, along each axis


@dataclass(frozen=True, eq=False)
class Moving:
    """Coefficients of splines through the channels, the mask, and the `voxels` where they are wanted."""

    coefficients: Float32[Tensor, "channel pi pj pk"]
    mask: Float32[Tensor, "1 i j k"]
    voxels: Int64[Tensor, "3 place"]


def warp_images(moving: Moving, u: Field) -> Images:
    """`moving(x + u(x))`, the mask in the last channel, 0 where it is not wanted; all sides are even.

    Node h of u lies at 2h + ½, as `interpolate` has it.
    """
    i, j, k = moving.voxels
    at_voxels = interpolate(u[None], scale_factor=2.0, mode="trilinear", align_corners=False)[0]
    places = moving.voxels + at_voxels[:, i, j, k].double()
    out = u.new_zeros(len(moving.coefficients) + 1, *moving.mask.shape[1:])
    out[:-1, i, j, k] = read_splines(moving.coefficients, places)
    out[-1:, i, j, k] = read_linear(moving.mask, places)
    return out


def compare(
    fixed: Images, warped: Images, weights: PerChannel, floors: PerChannel, misfit: float
) -> tuple[float, System]:
    """`Σ_y Σ_c w_c t log(1 + (1 - ρ_c²) / t)`, t the `misfit`; slope and bend of minus that at the nodes."""
    seen = fixed[-1] * warped[-1]
    size = _window_sums(seen[None])[0].clamp_min(1.0)
    each = [
        _compare_one(*of_channel, seen, size, fixed[-1], misfit)
        for of_channel in zip(fixed[:-1], warped[:-1], weights, floors, strict=True)
    ]
    values, systems = zip(*each, strict=True)
    return float(torch.stack(values).sum()), torch.stack(systems).sum(dim=0)


def _compare_one(
    fixed: Image,
    warped: Image,
    weight: Float32[Tensor, " 2"],
    floor: Float32[Tensor, " 2"],
    seen: Image,
    size: Image,
    compared: Image,
    misfit: float,
) -> tuple[Float64[Tensor, ""], System]:
    """Of one channel, with the voxels `seen` on both and their number in every window."""
    f, w = fixed - 0.5, warped - 0.5
    moments = (seen * x for x in (f, w, f * f, w * w, f * w))
    sum_f, sum_w, sum_ff, sum_ww, sum_fw = _window_sums(torch.stack(list(moments)))
    mean_f, mean_w = sum_f / size, sum_w / size
    a = (sum_ff - mean_f * sum_f).clamp_min(0.0) + floor[0] * size + 1e-12
    b = (sum_ww - mean_w * sum_w).clamp_min(0.0) + floor[1] * size + 1e-12
    c = sum_fw - mean_f * sum_w
    own = compared * (weight[0] + weight[1] * (mean_f + 0.5))
    unlike = (1.0 - c * c / (a * b)).clamp_min(0.0)
    value = (own * misfit * torch.log1p(unlike / misfit)).sum(dtype=torch.float64)
    p = 2.0 * own * c / (a * b) * (misfit / (unlike + misfit))
    q = p * c / b
    p, q, rest = _window_sums(torch.stack([p, q, p * mean_f - q * mean_w]))
    return value, _at_nodes(seen * (f * p - w * q - rest), seen * q, warped)


def _window_sums(images: Images) -> Images:
    """Over windows of 5³ voxels; nothing beyond the images."""
    for axis in range(3):
        window = [_WINDOW if n == axis else 1 for n in range(3)]
        images = avg_pool3d(images, window, stride=1, padding=[n // 2 for n in window], divisor_override=1)
    return images


def _at_nodes(slope: Image, bend: Image, warped: Image) -> System:
    """Slope times ∇W, bend times ∇W ∇Wᵀ as ii, jj, kk, ij, ik, jk: summed over the 2³ voxels of each node."""
    i, j, k = torch.gradient(warped)
    squares = ((i, i), (j, j), (k, k), (i, j), (i, k), (j, k))
    numbers = chain((slope * g for g in (i, j, k)), (bend * g * h for g, h in squares))
    return torch.stack([avg_pool3d(x[None], 2, divisor_override=1)[0] for x in numbers])
