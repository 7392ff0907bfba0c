"""Images read on another lattice through an affine map: linearly, by cubic splines."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32
from scipy import ndimage

from nufitdose.registration.sampling import read_cubic, read_linear
from nufitdose.types import Affine


def read_affine(
    images: Float32[np.ndarray, "c i j k"], to_index: Affine, shape: tuple[int, ...], outside: Sequence[float]
) -> Float32[np.ndarray, "c _i _j _k"]:
    """Channels at `to_index @ (i, j, k, 1)` on a lattice of `shape`: linear, `outside` (one per channel) beyond."""
    out = np.empty((len(images), *shape), dtype=np.float32)
    read_linear(np.ascontiguousarray(images), to_index, np.array(outside, dtype=np.float32), out)
    return out


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
