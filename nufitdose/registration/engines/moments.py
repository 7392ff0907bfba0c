"""Compiled loops of the linear registration: an image read at moved points, and the moments of what is read.

In double precision, and added in an order that depends neither on threads nor on the width of the processor's vectors:
points are summed one after another in parts of fixed size, the parts in order.
"""

from typing import no_type_check

import numpy as np
from jaxtyping import Float64, Integer

from nufitdose.compiled import compiled, inlined, over_slabs
from nufitdose.registration.lanes import four_of_rows
from nufitdose.types import Affine

MARGIN = 4  # voxels around the moving image that repeat its border, so that reading there is as smooth as elsewhere
_PART = 2048  # points summed in one go


def held(index: Float64[np.ndarray, "n 3"], shape: tuple[int, int, int]) -> Float64[np.ndarray, " n"]:
    """Whether an image of `shape` holds fractional indices: 1 inside, falling to 0 over its outer half voxels."""
    return np.clip(np.minimum(index + 0.5, np.array(shape) - 0.5 - index), 0.0, 1.0).prod(axis=1)


def second_moments(
    points_mm: Float64[np.ndarray, "n 3"],
    values: Float64[np.ndarray, " n"],
    block: Integer[np.ndarray, " n"],
    weight: Float64[np.ndarray, " n"],
    turned: Float64[np.ndarray, "3 3"],
    to_index: Affine,
    padded: Float64[np.ndarray, "i j k"],
    freedom: int,
) -> Float64[np.ndarray, "blocks rows rows"]:
    """`Σ w z zᵀ` of every block, where z = (1, fixed value, moving value m, slopes of m); the upper triangle.

    A point p lies at `x = turned p` about the pivot and at `to_index x` in the moving image, which is a sum of cubic
    B-splines of weights `padded`, with `MARGIN` voxels around: m has two continuous derivatives everywhere. Its slopes
    are those of a translation and of a rotation vector (`freedom` 6) or of all entries of a linear map (12) that
    follows `turned`, per unit.
    """
    parts = -(-len(points_mm) // _PART)
    sums = np.zeros((parts, int(block.max()) + 1, 3 + freedom, 3 + freedom))
    over_slabs(_sum_parts, parts, sums, points_mm, values, block, weight, turned, to_index, padded)
    return sums.sum(axis=0)


@compiled
@no_type_check
def _sum_parts(first, last, sums, points_mm, values, block, weight, turned, to_index, padded):
    rows = sums.shape[2]
    z = np.empty(rows)
    z[0] = 1.0
    for part in range(first, last):
        for n in range(part * _PART, min((part + 1) * _PART, len(values))):
            if weight[n] == 0.0:
                continue
            p = points_mm[n]
            x0 = turned[0, 0] * p[0] + turned[0, 1] * p[1] + turned[0, 2] * p[2]
            x1 = turned[1, 0] * p[0] + turned[1, 1] * p[1] + turned[1, 2] * p[2]
            x2 = turned[2, 0] * p[0] + turned[2, 1] * p[1] + turned[2, 2] * p[2]
            i = to_index[0, 0] * x0 + to_index[0, 1] * x1 + to_index[0, 2] * x2 + to_index[0, 3]
            j = to_index[1, 0] * x0 + to_index[1, 1] * x1 + to_index[1, 2] * x2 + to_index[1, 3]
            k = to_index[2, 0] * x0 + to_index[2, 1] * x1 + to_index[2, 2] * x2 + to_index[2, 3]
            m, di, dj, dk = _read(padded, i, j, k)
            g0 = to_index[0, 0] * di + to_index[1, 0] * dj + to_index[2, 0] * dk
            g1 = to_index[0, 1] * di + to_index[1, 1] * dj + to_index[2, 1] * dk
            g2 = to_index[0, 2] * di + to_index[1, 2] * dj + to_index[2, 2] * dk
            z[1], z[2], z[3], z[4], z[5] = values[n], m, g0, g1, g2
            if rows == 9:
                z[6], z[7], z[8] = x1 * g2 - x2 * g1, x2 * g0 - x0 * g2, x0 * g1 - x1 * g0
            else:
                z[6], z[7], z[8] = g0 * x0, g0 * x1, g0 * x2
                z[9], z[10], z[11] = g1 * x0, g1 * x1, g1 * x2
                z[12], z[13], z[14] = g2 * x0, g2 * x1, g2 * x2
            own = sums[part, block[n]]
            for a in range(rows):
                share = weight[n] * z[a]
                for b in range(a, rows):
                    own[a, b] += share * z[b]


@inlined
@no_type_check
def _cell(position, size):
    """Where the four splines around a position start in the padded image, and the fraction of a voxel."""
    inside = min(max(position, -2.0), size - 2.0 * MARGIN + 1.0)  # farther out all four read the border
    lower = int(np.floor(inside))
    return lower - 1 + MARGIN, inside - lower


@inlined
@no_type_check
def _splines(f):
    """The four cubic B-splines that reach a point at the fraction `f`."""
    g = 1.0 - f
    return g * g * g / 6, (4 - 6 * f * f + 3 * f * f * f) / 6, (4 - 6 * g * g + 3 * g * g * g) / 6, f * f * f / 6


@inlined
@no_type_check
def _slopes(f):
    g = 1.0 - f
    return -g * g / 2, (3 * f - 4) * f / 2, (4 - 3 * g) * g / 2, f * f / 2


@inlined
@no_type_check
def _read(padded, x, y, z):
    """Value and slopes along the index axes."""
    i, fi = _cell(x, padded.shape[0])
    j, fj = _cell(y, padded.shape[1])
    k, fk = _cell(z, padded.shape[2])
    wi, wj, wk, di, dj, dk = _splines(fi), _splines(fj), _splines(fk), _slopes(fi), _slopes(fj), _slopes(fk)
    per_j = np.uintp(padded.shape[2])
    per_i = np.uintp(padded.shape[1]) * per_j
    flat, at = padded.reshape(-1), np.uintp(i) * per_i + np.uintp(j) * per_j + np.uintp(k)
    plain = four_of_rows(flat, at, per_i, per_j, wi, wj)
    along_i = _product(wk, four_of_rows(flat, at, per_i, per_j, di, wj))
    along_j = _product(wk, four_of_rows(flat, at, per_i, per_j, wi, dj))
    return _product(wk, plain), along_i, along_j, _product(dk, plain)


@inlined
@no_type_check
def _product(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3]
