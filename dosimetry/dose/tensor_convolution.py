"""Convolution with an even kernel by torch, for a GPU: the whole padded volume at once, single precision."""

import numpy as np
import torch
from jaxtyping import Float, Float32
from numpy import ndarray


def convolved_by_tensors(
    volume: Float[ndarray, "nx ny nz"], values: Float32[ndarray, "fx fy fz"], lengths: tuple[int, ...], device: str
) -> Float32[ndarray, "nx ny nz"]:
    """Σ_j volume[j] kernel[i - j] as `convolution.convolved`, on a torch device.

    `values` is the kernel's real spectrum at the non-negative frequencies of each axis, `lengths` those of the padded
    axes. Memory: nearly three times 8 Lx Ly (Lz/2+1) bytes.
    """
    rows, columns = (_mirrored(length, device) for length in lengths[:2])
    transformed = torch.fft.rfftn(torch.from_numpy(np.asarray(volume, np.float32)).to(device), s=list(lengths))
    spectrum = torch.from_numpy(np.ascontiguousarray(values)).to(device)
    transformed *= spectrum.index_select(0, rows).index_select(1, columns)
    whole = torch.fft.irfftn(transformed, s=list(lengths))
    nx, ny, nz = volume.shape
    return np.asarray(whole[:nx, :ny, :nz].contiguous().cpu().numpy())


def _mirrored(length: int, device: str) -> torch.Tensor:
    """Of every frequency of an axis the non-negative one with the same value."""
    at = torch.arange(length, device=device)
    return torch.minimum(at, length - at)
