"""Smoothing of tensors."""

import torch
from torch.nn.functional import conv3d, pad

from nufitdose.registration.tensors import ImageTensor


def gaussian(images: ImageTensor, sigma: float) -> ImageTensor:
    """Every channel smoothed by a Gaussian of `sigma` voxels, cut at 3 σ; the border value goes on beyond."""
    half = max(1, round(3 * sigma))
    taps = torch.exp(-0.5 * (torch.arange(-half, half + 1.0) / sigma) ** 2).to(images)
    taps = taps / taps.sum()
    single = images.reshape(-1, 1, *images.shape[2:])
    for axis in range(3):
        shape, widths = [1] * 5, [0] * 6
        shape[2 + axis] = len(taps)
        widths[2 * (2 - axis)] = widths[2 * (2 - axis) + 1] = half
        single = conv3d(pad(single, widths, mode="replicate"), taps.reshape(shape))
    return single.reshape(images.shape)
