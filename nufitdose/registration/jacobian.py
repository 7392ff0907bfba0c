"""Determinants of the deformation `x -> x + u(x)`: local volume change, folding, non-diffeomorphic volume.

With A the 3x3 part of the affine, differences of the deformation along the voxel axes are the columns
`A e_a + D_a u` in mm, and the determinant of those columns over det A is that of the physical Jacobian
`I + grad u`, on oblique and anisotropic grids alike.
"""

from dataclasses import dataclass
from typing import no_type_check

import numpy as np

from nufitdose.compiled import compiled, inlined, over_slabs
from nufitdose.types import Affine, Field, Image32, Mask

BOUNDS = (0.5, 2.0)  # volume changes beyond these are questioned (chosen here)
_LOWEST, _HIGHEST = BOUNDS


@dataclass(frozen=True)
class JacobianStatistics:
    """Of the voxels counted: least and greatest determinant, spread of its logarithm, and two measures of folding.

    `beyond_percent`: voxels whose determinant lies outside `BOUNDS`, tissue halved or doubled. `folding_percent`:
    voxels whose central-difference determinant is <= 0. `ndv_percent`: non-diffeomorphic volume,
    `NDV = -1/2 · 1/6 · Σ_k Σ_p min(J_k(p), 0)` over ten finite-difference determinants
    (doi:10.1007/s11263-024-02047-1), as percent of the voxels. `sd_log`: standard deviation of `log max(J, 1e-9)`.
    """

    minimum: float
    folding_percent: float
    ndv_percent: float
    sd_log: float
    maximum: float
    beyond_percent: float


def determinant(field: Field, affine: Affine) -> Image32:
    """The Jacobian determinant at every voxel: central differences, one-sided at the border."""
    out = np.empty_like(field[0])
    over_slabs(_determinant, out.shape[0], out, field, np.ascontiguousarray(affine[:3, :3]))
    return out


def statistics(field: Field, affine: Affine, mask: Mask | None = None) -> JacobianStatistics:
    """`JacobianStatistics` over the voxels of `mask` (or all), the outer layer of voxels dropped.

    NaN where no voxel is left.
    """
    where = np.ones_like(field[0], np.bool_) if mask is None else np.ascontiguousarray(mask)
    columns = np.ascontiguousarray(affine[:3, :3])
    parts = np.array(over_slabs(_statistics, field.shape[1], field, columns, where))
    minimum, maximum = parts[:, 0].min(), parts[:, 1].max()
    voxels, folded, beyond, negative, logs, squares = parts[:, 2:].sum(axis=0)
    if voxels == 0:
        return JacobianStatistics(np.nan, np.nan, np.nan, np.nan, np.nan, np.nan)
    variance = max(squares / voxels - (logs / voxels) ** 2, 0.0)
    return JacobianStatistics(
        minimum=float(minimum),
        folding_percent=float(100 * folded / voxels),
        ndv_percent=float(abs(100 * negative / 12 / voxels)),
        sd_log=float(np.sqrt(variance)),
        maximum=float(maximum),
        beyond_percent=float(100 * beyond / voxels),
    )


@inlined
@no_type_check
def _det(a, b, c):
    return a[0] * (b[1] * c[2] - b[2] * c[1]) - a[1] * (b[0] * c[2] - b[2] * c[0]) + a[2] * (b[0] * c[1] - b[1] * c[0])


@inlined
@no_type_check
def _edge(field, columns, i, j, k, di, dj, dk):
    """From the deformed voxel (i, j, k) to its deformed neighbour, in mm."""
    p, q, r = i + di, j + dj, k + dk
    return (
        columns[0, 0] * di + columns[0, 1] * dj + columns[0, 2] * dk + field[0, p, q, r] - field[0, i, j, k],
        columns[1, 0] * di + columns[1, 1] * dj + columns[1, 2] * dk + field[1, p, q, r] - field[1, i, j, k],
        columns[2, 0] * di + columns[2, 1] * dj + columns[2, 2] * dk + field[2, p, q, r] - field[2, i, j, k],
    )


@inlined
@no_type_check
def _minus(a, b):
    return (a[0] - b[0], a[1] - b[1], a[2] - b[2])


@compiled
@no_type_check
def _determinant(first, last, out, field, columns):
    scale = np.linalg.det(columns)
    ni, nj, nk = out.shape
    for i in range(first, last):
        up_i, down_i = min(i + 1, ni - 1) - i, max(i - 1, 0) - i
        for j in range(nj):
            up_j, down_j = min(j + 1, nj - 1) - j, max(j - 1, 0) - j
            for k in range(nk):
                up_k, down_k = min(k + 1, nk - 1) - k, max(k - 1, 0) - k
                steps = (max(up_i - down_i, 1), max(up_j - down_j, 1), max(up_k - down_k, 1))
                a = _minus(_edge(field, columns, i, j, k, up_i, 0, 0), _edge(field, columns, i, j, k, down_i, 0, 0))
                b = _minus(_edge(field, columns, i, j, k, 0, up_j, 0), _edge(field, columns, i, j, k, 0, down_j, 0))
                c = _minus(_edge(field, columns, i, j, k, 0, 0, up_k), _edge(field, columns, i, j, k, 0, 0, down_k))
                if up_i == down_i:
                    a = (columns[0, 0], columns[1, 0], columns[2, 0])
                if up_j == down_j:
                    b = (columns[0, 1], columns[1, 1], columns[2, 1])
                if up_k == down_k:
                    c = (columns[0, 2], columns[1, 2], columns[2, 2])
                out[i, j, k] = _det(a, b, c) / (scale * steps[0] * steps[1] * steps[2])


@compiled
@no_type_check
def _statistics(first, last, field, columns, mask):
    """Over one slab: least and greatest J, voxels, those with J <= 0 and beyond bounds, Σ_k Σ_p min(J_k, 0), Σ log J,
    Σ (log J)²."""
    scale = np.linalg.det(columns)
    minimum, maximum = np.inf, -np.inf
    voxels, folded, beyond, negative, logs, squares = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(max(first, 1), min(last, mask.shape[0] - 1)):
        for j in range(1, mask.shape[1] - 1):
            for k in range(1, mask.shape[2] - 1):
                if not mask[i, j, k]:
                    continue
                east = _edge(field, columns, i, j, k, 1, 0, 0)
                west = _edge(field, columns, i, j, k, -1, 0, 0)
                north = _edge(field, columns, i, j, k, 0, 1, 0)
                south = _edge(field, columns, i, j, k, 0, -1, 0)
                up = _edge(field, columns, i, j, k, 0, 0, 1)
                down = _edge(field, columns, i, j, k, 0, 0, -1)
                central = _det(_minus(east, west), _minus(north, south), _minus(up, down)) / (8 * scale)
                voxels += 1
                minimum, maximum = min(minimum, central), max(maximum, central)
                folded += central <= 0
                beyond += central < _LOWEST or central > _HIGHEST
                log = np.log(max(central, 1e-9))
                logs += log
                squares += log * log
                for a, sign_a in ((east, 1.0), (west, -1.0)):
                    for b, sign_b in ((north, 1.0), (south, -1.0)):
                        for c, sign_c in ((up, 1.0), (down, -1.0)):
                            negative += min(sign_a * sign_b * sign_c * _det(a, b, c) / scale, 0.0)
                tetrahedron = _det(
                    _edge(field, columns, i, j, k, -1, -1, 0),
                    _edge(field, columns, i, j, k, -1, 0, -1),
                    _edge(field, columns, i, j, k, 0, -1, -1),
                )
                negative += min(tetrahedron / scale, 0.0)
                tetrahedron = _det(
                    _edge(field, columns, i, j, k, 1, 1, 0),
                    _edge(field, columns, i, j, k, 0, 1, 1),
                    _edge(field, columns, i, j, k, 1, 0, 1),
                )
                negative += min(tetrahedron / scale, 0.0)
    return minimum, maximum, voxels, folded, beyond, negative, logs, squares
