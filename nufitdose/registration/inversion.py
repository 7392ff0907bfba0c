"""The inverse of a displacement field, found voxel by voxel."""

from typing import no_type_check

import numpy as np
from jaxtyping import Float32

from nufitdose.compiled import compiled, over_slabs
from nufitdose.registration.sampling import _apply, _cell, _linear, _vector
from nufitdose.types import Affine, Field

_FIXED_POINT_STEPS = 40
_NEWTON_STEPS = 20


class NotInvertibleError(ArithmeticError):
    """No inverse was found: the field folds, or tears at its border."""


def invert(
    field: Field, to_field: Affine, mm_to_field: np.ndarray, out: Float32[np.ndarray, "3 a b c"], tolerance_mm: float
) -> None:
    """Fill `out` with `v(y) = -u(y + v(y))`, every voxel until `|v + u(y + v)| <= tolerance_mm`.

    `field` [3, i, j, k] is u in mm, `to_field` maps an index of `out` to one of `field`, and `mm_to_field`
    [3, 3] a vector in mm to one in voxels of `field`. Fixed-point iteration, which converges where the
    gradient of u is below 1; then Newton's method where it did not. Raises `NotInvertibleError` with the
    number of voxels left and their worst residual.
    """
    left = over_slabs(_invert, out.shape[1], out, field, to_field, mm_to_field, tolerance_mm)
    voxels = sum(count for count, _ in left)
    if voxels:
        worst_mm = max(residual for _, residual in left)
        raise NotInvertibleError(
            f"the field has no inverse at {voxels} of {out[0].size} voxels "
            f"(residual up to {worst_mm:.3g} mm, wanted {tolerance_mm:g} mm)"
        )


@compiled
@no_type_check
def _invert(first, last, out, field, to_field, mm_to_field, tolerance_mm):
    left, worst = 0, 0.0
    limit = tolerance_mm**2
    v = np.zeros(3)
    for i in range(first, last):
        for j in range(out.shape[2]):
            v[:] = 0.0
            for k in range(out.shape[3]):  # each voxel starts from the result of the one before
                y = _apply(to_field, i, j, k)
                residual = _fixed_point(v, y, field, mm_to_field, limit)
                if residual > limit:
                    residual = _newton(v, y, field, mm_to_field, limit)
                if residual > limit:
                    left += 1
                    worst = max(worst, residual)
                for axis in range(3):
                    out[axis, i, j, k] = v[axis]
                if residual > limit:
                    v[:] = 0.0
    return left, np.sqrt(worst)


@compiled
@no_type_check
def _residual(v, y, field, mm_to_field):
    """`v + u(y + v)` in mm, and the index in the field of `y + v`."""
    x = y[0] + mm_to_field[0, 0] * v[0] + mm_to_field[0, 1] * v[1] + mm_to_field[0, 2] * v[2]
    z = y[1] + mm_to_field[1, 0] * v[0] + mm_to_field[1, 1] * v[1] + mm_to_field[1, 2] * v[2]
    w = y[2] + mm_to_field[2, 0] * v[0] + mm_to_field[2, 1] * v[1] + mm_to_field[2, 2] * v[2]
    u = _vector(field, x, z, w)
    return (v[0] + u[0], v[1] + u[1], v[2] + u[2]), (x, z, w)


@compiled
@no_type_check
def _fixed_point(v, y, field, mm_to_field, limit):
    """Iterate `v <- -u(y + v)` in place, the squared residual left."""
    squared = 0.0
    for _ in range(_FIXED_POINT_STEPS):
        r, _ = _residual(v, y, field, mm_to_field)
        squared = r[0] ** 2 + r[1] ** 2 + r[2] ** 2
        if squared <= limit:
            break
        for axis in range(3):
            v[axis] -= r[axis]
    return squared


@compiled
@no_type_check
def _newton(v, y, field, mm_to_field, limit):
    """Newton's method for `v + u(y + v) = 0`, in place; the squared residual left."""
    v[:] = 0.0
    squared = np.inf
    for _ in range(_NEWTON_STEPS):
        r, index = _residual(v, y, field, mm_to_field)
        squared = r[0] ** 2 + r[1] ** 2 + r[2] ** 2
        if squared <= limit:
            break
        slope = np.eye(3) + _gradient(field, index) @ mm_to_field
        if abs(np.linalg.det(slope)) < 1e-6:
            break
        v -= np.linalg.solve(slope, np.array(r))
    return squared


@compiled
@no_type_check
def _gradient(field, index):
    """Derivative of the interpolated field by index, `[component, axis]`; 0 beyond the border."""
    cells = (_cell(index[0], field.shape[1]), _cell(index[1], field.shape[2]), _cell(index[2], field.shape[3]))
    slope = np.zeros((3, 3))
    for c in range(3):
        for axis in range(3):
            ends = np.zeros(2)
            for end in range(2):
                (i, di, fi), (j, dj, fj), (k, dk, fk) = cells
                fi = float(end) if axis == 0 else fi
                fj = float(end) if axis == 1 else fj
                fk = float(end) if axis == 2 else fk
                ends[end] = _linear(field[c], i, di, fi, j, dj, fj, k, dk, fk)
            slope[c, axis] = ends[1] - ends[0]
    return slope
