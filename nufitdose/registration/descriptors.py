"""Similarity of shapes rather than intensities, for images of different tracers: MIND-SSC and gradient directions.

Tensors are `[batch, 1, i, j, k]`; each measure is 1 for equal structure, differentiable, and weighted by `weight`.
"""

from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool3d, pad

from nufitdose.registration.tensors import FeatureTensor, ImageTensor

Scalar = Float[Tensor, ""]

_DISTANCE = 2  # voxels to the six neighbours
_NOISE = 0.02  # gradients far below this part of the intensity range, per voxel, count as noise


def mind_ssc(image: ImageTensor) -> FeatureTensor:
    """Twelve self-similarities of the six neighbourhood (Heinrich et al. 2013, doi:10.1007/978-3-642-40811-3_24).

    `exp(-(D - min D) / V)` with D the mean squared difference over 3³ voxels between the patches at two neighbours
    that are not opposite, and V the mean of D over the channels, within 0.001 ... 1000 of its image mean.
    """
    d = _DISTANCE
    padded = pad(image, [d] * 6, mode="replicate")
    steps = [(axis, sign) for axis in range(3) for sign in (-1, 1)]
    near = [_moved(padded, axis, sign * d, d, image.shape[2:]) for axis, sign in steps]
    pairs = [(p, q) for p, q in combinations(range(6), 2) if steps[p][0] != steps[q][0]]
    squared = torch.cat([(near[p] - near[q]).square() for p, q in pairs], dim=1)
    distance = avg_pool3d(pad(squared, [1] * 6, mode="replicate"), 3, stride=1)
    distance = distance - distance.amin(dim=1, keepdim=True)
    spread = distance.mean(dim=1, keepdim=True)
    mean = spread.mean().clamp_min(1e-12)
    spread = torch.minimum(torch.maximum(spread, 0.001 * mean), 1000.0 * mean)
    return torch.exp(-distance / spread)


def mind_similarity(a: ImageTensor, b: ImageTensor, weight: ImageTensor) -> Scalar:
    """`1 - mean squared difference` of the two images' MIND-SSC."""
    difference = (mind_ssc(a) - mind_ssc(b)).square().mean(dim=1, keepdim=True)
    return 1.0 - (weight * difference).sum() / weight.sum().clamp_min(1e-12)


def ngf_similarity(a: ImageTensor, b: ImageTensor, weight: ImageTensor) -> Scalar:
    """Mean of `(∇a·∇b)² / (|∇a|² + η²)(|∇b|² + η²)` (Haber and Modersitzki 2006, doi:10.1007/11866763_89).

    η is 0.02 of the intensity range of 1 per voxel; chosen here.
    """
    gradient_a, gradient_b = _gradient(a), _gradient(b)
    inner = (gradient_a * gradient_b).sum(dim=1, keepdim=True)
    sizes = [g.square().sum(dim=1, keepdim=True) + _NOISE**2 for g in (gradient_a, gradient_b)]
    return (weight * inner.square() / (sizes[0] * sizes[1])).sum() / weight.sum().clamp_min(1e-12)


def normalised_gradient(image: ImageTensor) -> FeatureTensor:
    """`∇I / sqrt(|∇I|² + η²)`, moved from -1 ... 1 to 0 ... 1: where edges are and how they run; η as above."""
    gradient = _gradient(image)
    return 0.5 + 0.5 * gradient / (gradient.square().sum(dim=1, keepdim=True) + _NOISE**2).sqrt()


def _moved(padded: Tensor, axis: int, step: int, margin: int, sizes: torch.Size) -> Tensor:
    for other, size in enumerate(sizes):
        padded = padded.narrow(other + 2, margin + (step if other == axis else 0), size)
    return padded


def _gradient(image: ImageTensor) -> FeatureTensor:
    padded = pad(image, [1] * 6, mode="replicate")
    sizes = image.shape[2:]
    return torch.cat([(_moved(padded, a, 1, 1, sizes) - _moved(padded, a, -1, 1, sizes)) / 2 for a in range(3)], dim=1)
