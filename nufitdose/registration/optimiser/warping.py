"""The moving scan seen through a displacement, read by cubic B-splines.

Linear interpolation blurs what lies between voxels and leaves what lies on them: local correlation feels that as much
as the motion itself. Cubic splines that go through the voxels blur far less (Thevenaz, Blu and Unser 2000,
doi:10.1109/42.875199).
"""

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Float32
from numpy import float32

from nufitdose.compiled import compiled, over_slabs, part_of_kernel
from nufitdose.registration.optimiser.correlation import HalfField, Images
from nufitdose.registration.reading import spline_coefficients
from nufitdose.registration.sampling import cubic_weights


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
def _read_pair(image, p, q, r, across, along, deep):
    """Both channels of a pair: sums over 4³ coefficients."""
    a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = float32(0.0)
    k = 2 * r
    for e in range(4):
        for f in range(4):
            w, row = across[e] * along[f], image[p + e, q + f]
            a0 += w * row[k]
            b0 += w * row[k + 1]
            a1 += w * row[k + 2]
            b1 += w * row[k + 3]
            a2 += w * row[k + 4]
            b2 += w * row[k + 5]
            a3 += w * row[k + 6]
            b3 += w * row[k + 7]
    c0, c1, c2, c3 = deep
    return c0 * a0 + c1 * a1 + c2 * a2 + c3 * a3, c0 * b0 + c1 * b1 + c2 * b2 + c3 * b3


@part_of_kernel
@no_type_check
def _read_mask(mask, p, q, r, fx, fy, fz):
    """Linear in the cell that begins at voxel (p, q, r)."""
    ni, nj, nk = mask.shape
    one = float32(1.0)
    p1, q1, r1 = min(p + 1, ni - 1), min(q + 1, nj - 1), min(r + 1, nk - 1)
    low = (one - fy) * ((one - fz) * mask[p, q, r] + fz * mask[p, q, r1]) + fy * (
        (one - fz) * mask[p, q1, r] + fz * mask[p, q1, r1]
    )
    high = (one - fy) * ((one - fz) * mask[p1, q, r] + fz * mask[p1, q, r1]) + fy * (
        (one - fz) * mask[p1, q1, r] + fz * mask[p1, q1, r1]
    )
    return (one - fx) * low + fx * high


@compiled
@no_type_check
def _warp(first, last, coefficients, mask, u, where, out):
    channels, ni, nj, nk = out.shape
    _, mi, mj, mk = u.shape
    rows = np.empty((3, mk), dtype=np.float32)
    one = float32(1.0)
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
                    out[:, i, j, k] = float32(0.0)
                    continue
                k0, k1, sk = _node(k, mk)
                x = i + (one - sk) * rows[0, k0] + sk * rows[0, k1]
                y = j + (one - sk) * rows[1, k0] + sk * rows[1, k1]
                z = k + (one - sk) * rows[2, k0] + sk * rows[2, k1]
                x, y, z = min(max(x, 0.0), ni - 1.0), min(max(y, 0.0), nj - 1.0), min(max(z, 0.0), nk - 1.0)
                p, q, r = int(x), int(y), int(z)
                fx, fy, fz = float32(x - p), float32(y - q), float32(z - r)
                across, along, deep = cubic_weights(fx), cubic_weights(fy), cubic_weights(fz)
                for n in range(0, channels - 1, 2):
                    value, next_value = _read_pair(coefficients[n // 2], p, q, r, across, along, deep)
                    out[n, i, j, k] = value
                    if n + 1 < channels - 1:
                        out[n + 1, i, j, k] = next_value
                out[channels - 1, i, j, k] = _read_mask(mask, p, q, r, fx, fy, fz)
