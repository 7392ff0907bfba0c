"""Diffeomorphisms as the flow of a stationary velocity, on tensors in voxel units.

`φ = exp(v)` by scaling and squaring (Arsigny et al. 2006, doi:10.1007/11866565_113): `u = v / 2^n`, then n times
`u ← u + u∘(x + u)`; its inverse is `exp(-v)`. Beyond the outer voxel centres every image and field keeps its value
at the border: zeros would put a kink at the rim.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from nufitdose.grid import Grid
from nufitdose.registration.tensors import FieldTensor, ImageTensor, VelocityTensor
from nufitdose.types import Field

SQUARINGS = 7


def warp(image: ImageTensor, displacement: FieldTensor) -> ImageTensor:
    """`image(x + u(x))`, linear, for a displacement in voxels of the image's own grid."""
    sizes = displacement.shape[2:]
    place = [
        (torch.arange(n, dtype=displacement.dtype, device=displacement.device).reshape(_along(axis)) + u)
        * (2.0 / max(n - 1, 1))
        - 1.0
        for axis, (n, u) in enumerate(zip(sizes, displacement.unbind(1), strict=True))
    ]
    grid = torch.stack(place[::-1], dim=-1)  # torch counts k, j, i
    return grid_sample(image, grid.to(image.dtype), padding_mode="border", align_corners=True)


def compose(inner: FieldTensor, outer: FieldTensor) -> FieldTensor:
    """`u12 = u1 + u2∘(x + u1)` with u1 = `inner`, u2 = `outer`, voxels."""
    return inner + warp(outer, inner)


def exponential(velocity: FieldTensor, squarings: int = SQUARINGS) -> FieldTensor:
    """The displacement of `exp(v)`, for a velocity in voxels of its own grid."""
    displacement = velocity / 2.0**squarings
    for _ in range(squarings):
        displacement = compose(displacement, displacement)
    return displacement


def integrated(velocity: VelocityTensor, squarings: int = SQUARINGS) -> VelocityTensor:
    """The displacement of `exp(v)` on the half lattice, velocity and result in voxels of the whole grid."""
    return exponential(velocity / 2.0, squarings) * 2.0


def upsampled(half: VelocityTensor) -> FieldTensor:
    """A field of the half-resolution lattice on the whole grid; values count in voxels of the whole grid in both.

    Linear, half voxel h at 2h + ½ as under average pooling, constant beyond the outer ones.
    """
    return interpolate(half, scale_factor=2, mode="trilinear", align_corners=False)


def to_world(displacement: FieldTensor, grid: Grid) -> Field:
    """The one field of a batch in mm, RAS+: `A u` with the 3x3 part A of the affine."""
    voxels = displacement.detach().double().cpu().numpy()[0]
    return np.einsum("cd,dijk->cijk", grid.affine[:3, :3], voxels).astype(np.float32)


def to_voxels(field_mm: Field, grid: Grid) -> Tensor:
    """A field in mm (RAS+) on `grid` as one `[1, 3, i, j, k]` tensor in voxels."""
    voxels = np.einsum("cd,dijk->cijk", grid.inverse_affine[:3, :3], field_mm.astype(np.float64))
    return torch.from_numpy(voxels.astype(np.float32))[None]


def _along(axis: int) -> list[int]:
    return [-1 if axis == a else 1 for a in range(3)]
