"""The moving scan seen through a displacement, read by cubic B-splines.

Linear interpolation blurs what lies between voxels and leaves what lies on them: local correlation feels that as much
as the motion itself. Cubic splines that go through the voxels blur far less (Thevenaz, Blu and Unser 2000,
doi:10.1109/42.875199).
"""

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Float32
from numpy import float32, int32

from nufitdose.compiled import compiled, over_slabs, part_of_kernel
from nufitdose.registration.lanes import eight_of_rows
from nufitdose.registration.optimiser.correlation import HalfField, Images
from nufitdose.registration.reading import spline_coefficients
from nufitdose.registration.sampling import cubic_weights

_INDEX = np.uintp  # unsigned, for the compiler need not ask then whether it counts from the end


@dataclass(frozen=True, eq=False)
class Splines:
    """Channels of a scan as coefficients of splines, and its mask as it is.

    Channels stand in pairs, the two of a pair in turn along the last axis, so that one load serves both; a channel of
    zeros makes their number even. The border is repeated.
    """

    coefficients: Float32[np.ndarray, "pair padded_i padded_j twice_padded_k"]
    mask: Float32[np.ndarray, "i j k"]


def splines_of(images: Images) -> Splines:
    """Splines through the voxels of all channels but the last, which is the mask."""
    found = [spline_coefficients(image) for image in images[:-1]]
    if len(found) % 2:
        found.append(np.zeros_like(found[0]))
    padded = np.stack(found)
    pairs = np.stack([padded[0::2], padded[1::2]], axis=-1)
    return Splines(pairs.reshape(*pairs.shape[:3], -1), np.ascontiguousarray(images[-1]))


def warp_images(moving: Splines, u: HalfField, where: Bool[np.ndarray, "i j k"], out: Images) -> None:
    """Fill `out` with `moving(x + u(x))`, channels by splines, the mask in the last one linearly; 0 where not `where`.

    `u` lies on the half lattice, in voxels of the images; node h lies at 2h + ½. Beyond the image its border goes on.
    """
    over_slabs(_warp, out.shape[1], moving.coefficients, moving.mask, u, where, out)


@part_of_kernel
@no_type_check
def _node(x, nodes):
    """The half-lattice nodes around voxel x and the share of the second."""
    h = (x - 1) // 2
    share = float32(0.25) if x % 2 else float32(0.75)
    return max(h, 0), min(h + 1, nodes - 1), share


@part_of_kernel
@no_type_check
def _read_mask(mask, p, q, r, fx, fy, fz):
    """Linear in the cell that begins at voxel (p, q, r)."""
    ni, nj, nk = mask.shape
    one = float32(1.0)
    p1, q1, r1 = _INDEX(min(p + 1, ni - 1)), _INDEX(min(q + 1, nj - 1)), _INDEX(min(r + 1, nk - 1))
    p, q, r = _INDEX(p), _INDEX(q), _INDEX(r)
    low = (one - fy) * ((one - fz) * mask[p, q, r] + fz * mask[p, q, r1]) + fy * (
        (one - fz) * mask[p, q1, r] + fz * mask[p, q1, r1]
    )
    high = (one - fy) * ((one - fz) * mask[p1, q, r] + fz * mask[p1, q, r1]) + fy * (
        (one - fz) * mask[p1, q1, r] + fz * mask[p1, q1, r1]
    )
    return (one - fx) * low + fx * high


@part_of_kernel
@no_type_check
def _cell(x, voxels):
    """The voxel that a coordinate lies behind, and by how much; beyond the image (or nowhere, NaN) the border's."""
    x = max(float32(0.0), min(float32(voxels - 1), x))
    voxel = int32(x)
    return voxel, x - float32(voxel)


@compiled
@no_type_check
def _warp(first, last, coefficients, mask, u, where, out):
    channels, ni, nj, nk = out.shape
    _, mi, mj, mk = u.shape
    rows = np.empty((3, mk), dtype=np.float32)
    one = float32(1.0)
    flat, per_j = coefficients.reshape(-1), _INDEX(coefficients.shape[3])
    per_i = _INDEX(coefficients.shape[2]) * per_j
    per_pair = _INDEX(coefficients.shape[1]) * per_i
    for i in range(first, last):
        i0, i1, si = _node(i, mi)
        for j in range(nj):
            j0, j1, sj = _node(j, mj)
            a, b, c, d = (one - si) * (one - sj), (one - si) * sj, si * (one - sj), si * sj
            for n in range(3):
                for k in range(mk):
                    rows[n, k] = a * u[n, i0, j0, k] + b * u[n, i0, j1, k] + c * u[n, i1, j0, k] + d * u[n, i1, j1, k]
            for k in range(nk):
                if not where[i, j, k]:
                    for n in range(channels):
                        out[n, i, j, k] = float32(0.0)
                    continue
                k0, k1, sk = _node(k, mk)
                p, fx = _cell(float32(i) + (one - sk) * rows[0, k0] + sk * rows[0, k1], ni)
                q, fy = _cell(float32(j) + (one - sk) * rows[1, k0] + sk * rows[1, k1], nj)
                r, fz = _cell(float32(k) + (one - sk) * rows[2, k0] + sk * rows[2, k1], nk)
                across, along, (c0, c1, c2, c3) = cubic_weights(fx), cubic_weights(fy), cubic_weights(fz)
                at = _INDEX(p) * per_i + _INDEX(q) * per_j + _INDEX(2) * _INDEX(r)
                for n in range(0, channels - 1, 2):
                    a0, b0, a1, b1, a2, b2, a3, b3 = eight_of_rows(flat, at, per_i, per_j, across, along)
                    out[n, i, j, k] = c0 * a0 + c1 * a1 + c2 * a2 + c3 * a3
                    if n + 1 < channels - 1:
                        out[n + 1, i, j, k] = c0 * b0 + c1 * b1 + c2 * b2 + c3 * b3
                    at += per_pair
                out[channels - 1, i, j, k] = _read_mask(mask, p, q, r, fx, fy, fz)
