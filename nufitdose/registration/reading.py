"""Images read on another lattice through an affine map: linearly on tensors, by cubic splines."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from nufitdose.registration.sampling import read_cubic
from nufitdose.types import Affine


def read_affine(
    images: Float[Tensor, "c i j k"], to_index: Affine, shape: tuple[int, ...], outside: Sequence[float]
) -> Float[Tensor, "c _i _j _k"]:
    """Channels at `to_index @ (i, j, k, 1)` on a lattice of `shape`: linear, `outside` (one per channel) beyond."""
    theta = _unit(tuple(images.shape[1:])) @ to_index @ np.linalg.inv(_unit(shape))
    theta = theta[[2, 1, 0]][:, [2, 1, 0, 3]]  # torch counts k, j, i
    place = affine_grid(torch.from_numpy(theta).float()[None], [1, 1, *shape], align_corners=False)
    beyond = torch.tensor(outside).reshape(-1, 1, 1, 1)
    return grid_sample((images - beyond)[None], place, align_corners=False)[0] + beyond


def read_affine_cubic(
    image: Float32[np.ndarray, "i j k"], to_index: Affine, shape: tuple[int, int, int], outside: float
) -> Float32[np.ndarray, "_i _j _k"]:
    """An image at `to_index @ (i, j, k, 1)` on a lattice of `shape`, by cubic splines through its voxels.

    `outside` stands beyond them. Beyond the outer voxel centres, up to half a voxel, what lies on them goes on.
    """
    out = np.empty(shape, dtype=np.float32)
    read_cubic(spline_coefficients(image), to_index, np.float32(outside), out)
    return out


def spline_coefficients(image: Float32[np.ndarray, "i j k"]) -> Float32[np.ndarray, "_i _j _k"]:
    """Those of cubic B-splines through the voxels, with one voxel more before and two after along each axis.

    So far a spline reaches beyond the voxel at or before a point; the border is repeated.
    """
    found = ndimage.spline_filter(image, 3, mode="nearest", output=np.float32)
    return np.pad(found, [(1, 2)] * 3, mode="edge")


def _unit(shape: Sequence[int]) -> Affine:
    """From voxel index to torch's coordinates, -1 and 1 at the outer faces of the outer voxels."""
    matrix = np.eye(4)
    for axis, size in enumerate(shape):
        matrix[axis, axis] = 2.0 / size
        matrix[axis, 3] = 1.0 / size - 1.0
    return matrix
