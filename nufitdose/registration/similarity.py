"""How alike two images are: correlation, local correlation, mutual information, structural similarity.

Tensors are `[batch, 1, i, j, k]`; every measure is differentiable, larger for more alike, finite on constant
images and (SSIM apart) independent of the scale of intensities. `weight` says how much a voxel counts in the
average, `valid` (0 or 1) which voxels may enter a local window: beyond the moving field of view there is nothing
to compare. Window sums are divided by the number of voxels they really hold, so borders are not favoured.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from nufitdose.registration.tensors import ImageTensor

Scalar = Float[Tensor, ""]
JointDistribution = Float[Tensor, "bins bins"]

_FLAT = 1e-3  # windows whose variance is far below this part of the image's variance count as flat
_BINS_AT_THE_EDGE = 2  # a cubic B-spline reaches two bins beyond the intensity range
_VOXELS_AT_ONCE = 2**18


def ncc(a: ImageTensor, b: ImageTensor, weight: ImageTensor | None = None) -> Scalar:
    """Pearson correlation over all voxels, `cov(a, b) / sqrt(var(a) var(b))`; 0 where an image is constant."""
    w = _normalised(weight, a)
    a, b = _standardised(a, w), _standardised(b, w)
    return (w * a * b).sum()


def lncc(
    a: ImageTensor,
    b: ImageTensor,
    *,
    window: int = 9,
    weight: ImageTensor | None = None,
    valid: ImageTensor | None = None,
    flat: float = _FLAT,
) -> Scalar:
    """Mean over windows of `cov² / ((var_a + ε_a) (var_b + ε_b))`, ε = `flat` times the image's own variance.

    Windows whose variance is not well above ε count for little: ε belongs above the variance of the noise. Windows
    are cubes of an odd number of voxels; 1 for images equal up to a factor, an offset and a sign.
    """
    w = _normalised(weight if valid is None else (valid if weight is None else weight * valid), a)
    count = _window_count(a, window) if valid is None else _window_sum(valid, window).clamp_min(1.0)
    a, b = _standardised(a, w), _standardised(b, w)
    if valid is not None:
        a, b = a * valid, b * valid
    mean_a, mean_b = _window_sum(a, window) / count, _window_sum(b, window) / count
    var_a = (_window_sum(a * a, window) / count - mean_a * mean_a).clamp_min(0.0)
    var_b = (_window_sum(b * b, window) / count - mean_b * mean_b).clamp_min(0.0)
    covariance = _window_sum(a * b, window) / count - mean_a * mean_b
    return (w * covariance * covariance / ((var_a + flat) * (var_b + flat))).sum()


def mutual_information(a: ImageTensor, b: ImageTensor, *, bins: int = 32, weight: ImageTensor | None = None) -> Scalar:
    """`Σ p(a, b) log[p(a, b) / (p(a) p(b))]` in nats, from a joint histogram with cubic B-spline Parzen windows.

    The range of each image over the voxels of positive weight is divided into `bins`, two of which at either end
    are left for the tails of the windows.
    """
    return shared_information(joint_distribution(a, b, bins=bins, weight=weight))


def shared_information(joint: JointDistribution) -> Scalar:
    """`Σ p(a, b) log[p(a, b) / (p(a) p(b))]` in nats of a joint distribution."""
    tiny = torch.finfo(joint.dtype).tiny
    independent = joint.sum(dim=1, keepdim=True) * joint.sum(dim=0, keepdim=True)
    return (joint * (joint.clamp_min(tiny) / independent.clamp_min(tiny)).log()).sum()


def normalised_information(joint: JointDistribution) -> Scalar:
    """`(H(a) + H(b)) / H(a, b)`, 1 ... 2, of a joint distribution (Studholme, doi:10.1016/S0031-3203(98)00091-0)."""
    h_a, h_b, h_ab = (_entropy(p) for p in (joint.sum(dim=1), joint.sum(dim=0), joint))
    return (h_a + h_b) / h_ab.clamp_min(torch.finfo(joint.dtype).tiny)


def joint_distribution(
    a: ImageTensor, b: ImageTensor, *, bins: int = 32, weight: ImageTensor | None = None
) -> JointDistribution:
    """`p(a, b)` with cubic B-spline Parzen windows, as `mutual_information` says."""
    w = _normalised(weight, a).flatten()
    chosen = w > 0
    w, values_a, values_b = w[chosen], a.flatten()[chosen], b.flatten()[chosen]
    position_a, position_b = _bin_position(values_a, bins), _bin_position(values_b, bins)
    joint = torch.zeros(bins * bins, dtype=a.dtype, device=a.device)
    for first in range(0, w.numel(), _VOXELS_AT_ONCE):  # partial sums, else single precision loses the small ones
        part = slice(first, first + _VOXELS_AT_ONCE)
        joint = joint + _joint_histogram(position_a[part], position_b[part], w[part], bins)
    return joint.reshape(bins, bins)


def ssim(a: ImageTensor, b: ImageTensor, *, sigma: float = 1.5, valid: ImageTensor | None = None) -> ImageTensor:
    """Structural similarity at every voxel, for images of range 0 ... 1: Gaussian window, K1 = 0.01, K2 = 0.03.

    `SSIM = (2 μ_a μ_b + K1²)(2 cov + K2²) / ((μ_a² + μ_b² + K1²)(var_a + var_b + K2²))`, `sigma` in voxels
    (Wang et al., doi:10.1109/TIP.2003.819861).
    """
    c1, c2 = 0.01**2, 0.03**2
    held = _blur(torch.ones_like(a) if valid is None else valid, sigma).clamp_min(1e-6)
    if valid is not None:
        a, b = a * valid, b * valid
    mean_a, mean_b = _blur(a, sigma) / held, _blur(b, sigma) / held
    spread = (_blur(a * a + b * b, sigma) / held - mean_a * mean_a - mean_b * mean_b).clamp_min(0.0)
    covariance = _blur(a * b, sigma) / held - mean_a * mean_b
    means = (2 * mean_a * mean_b + c1) / (mean_a * mean_a + mean_b * mean_b + c1)
    return means * (2 * covariance + c2) / (spread + c2)


def _normalised(weight: ImageTensor | None, like: ImageTensor) -> ImageTensor:
    """Weights of sum 1; all 0 where nothing counts."""
    if weight is None:
        return torch.full_like(like, 1.0 / like.numel())
    return weight / weight.sum().clamp_min(torch.finfo(like.dtype).tiny)


def _standardised(image: ImageTensor, w: ImageTensor) -> ImageTensor:
    """Mean 0 and variance 1 under the weights; a constant image becomes 0."""
    image = image - (w * image).sum()
    image = image - (w * image).sum()  # the first mean is rounded at the size of the intensities
    deviation = (w * image * image).sum().clamp_min(torch.finfo(image.dtype).tiny).sqrt()
    floor = torch.finfo(image.dtype).eps * image.detach().abs().amax()
    return image / torch.maximum(deviation, floor.clamp_min(1e-18))


class _WindowSum(torch.autograd.Function):
    """The sum over a window; it is its own transpose, so nothing needs to be kept for the way back."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, window: int) -> Tensor:
        ctx.window = window
        return _summed(image, window)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _window_sum(gradients[0], ctx.window), None


def _window_sum(image: ImageTensor, window: int) -> ImageTensor:
    """Sum over a cube of `window` voxels around each voxel, nothing beyond the border."""
    return _WindowSum.apply(image, window)


def _summed(image: Tensor, window: int) -> Tensor:
    for axis in (2, 3, 4):
        size, half = image.shape[axis], window // 2
        part = pad(image, _both_ends(axis, half))
        total, start, length = None, 0, 1
        while length <= window:  # sums over 1, 2, 4, ... voxels, each from the one before
            if window & length:
                piece = part.narrow(axis, start, size)
                total = piece if total is None else total + piece
                start += length
            if 2 * length <= window:
                rest = part.shape[axis] - length
                part = part.narrow(axis, 0, rest) + part.narrow(axis, length, rest)
            length *= 2
        assert total is not None
        image = total
    return image


def _window_count(like: ImageTensor, window: int) -> ImageTensor:
    """Number of voxels within each window."""
    count = torch.ones(1, 1, 1, 1, 1, dtype=like.dtype, device=like.device)
    for axis in (2, 3, 4):
        place = torch.arange(like.shape[axis], device=like.device)
        reach = (place + window // 2).clamp_max(like.shape[axis] - 1) - (place - window // 2).clamp_min(0) + 1
        count = count * reach.to(like.dtype).reshape([-1 if axis == a else 1 for a in range(5)])
    return count


def _blur(image: ImageTensor, sigma: float) -> ImageTensor:
    """Gaussian-weighted sum around each voxel, cut at 3.5 σ, nothing beyond the border."""
    half = int(3.5 * sigma + 0.5)
    taps = torch.exp(-0.5 * (torch.arange(-half, half + 1, dtype=torch.float64) / sigma) ** 2)
    weights = (taps / taps.sum()).tolist()
    for axis in (2, 3, 4):
        size = image.shape[axis]
        padded = pad(image, _both_ends(axis, half))
        image = weights[0] * padded.narrow(axis, 0, size)
        for step, weight in enumerate(weights[1:], start=1):
            image = torch.add(image, padded.narrow(axis, step, size), alpha=weight)
    return image


def _both_ends(axis: int, width: int) -> list[int]:
    """Padding of one axis of five, in the order that torch wants: last axis first."""
    widths = [0] * 6
    widths[2 * (4 - axis)] = widths[2 * (4 - axis) + 1] = width
    return widths


def _entropy(p: Tensor) -> Scalar:
    return -(p * p.clamp_min(torch.finfo(p.dtype).tiny).log()).sum()


def _bin_position(values: Float[Tensor, " n"], bins: int) -> Float[Tensor, " n"]:
    if values.numel() == 0:
        return values
    low, high = values.detach().amin(), values.detach().amax()
    width = (high - low).clamp_min(torch.finfo(values.dtype).tiny)
    return _BINS_AT_THE_EDGE + (values - low) / width * (bins - 1 - 2 * _BINS_AT_THE_EDGE)


def _joint_histogram(
    a: Float[Tensor, " n"], b: Float[Tensor, " n"], weight: Float[Tensor, " n"], bins: int
) -> Float[Tensor, " cells"]:
    """Weighted count of pairs of positions, each spread over four bins by a cubic B-spline."""
    cell = (a.floor().long() - 1) * bins + b.floor().long() - 1
    spread_b = _spline(b - b.floor())
    joint = torch.zeros(bins * bins, dtype=a.dtype, device=a.device)
    for p, share_a in enumerate(_spline(a - a.floor())):
        for q, share_b in enumerate(spread_b):
            joint = joint.index_add(0, cell + (p * bins + q), weight * share_a * share_b)
    return joint


def _spline(t: Float[Tensor, " n"]) -> tuple[Float[Tensor, " n"], ...]:
    """Cubic B-spline weights of the bins at -1, 0, 1 and 2 from the one below a value; they sum to 1."""
    t = t.clamp(1e-4, 1 - 1e-4)  # smaller weights multiply to denormal numbers, which are slow
    s = 1 - t
    t2, s2 = t * t, s * s
    return s2 * s / 6, (4 - 6 * t2 + 3 * t2 * t) / 6, (4 - 6 * s2 + 3 * s2 * s) / 6, t2 * t / 6
