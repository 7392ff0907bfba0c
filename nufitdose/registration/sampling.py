"""Compiled loops over voxels: read images and fields between their voxels.

*Clamped* means that a position beyond the outer voxel centres takes the value at the border. Every loop
works on the slab `first <= i < last` of its output; `nufitdose.compiled.over_slabs` shares the slabs among threads.
"""

from typing import no_type_check

import numpy as np

from nufitdose.compiled import compiled, inlined, part_of_kernel
from nufitdose.registration.lanes import four_of_rows

_ONE = np.uintp(1)


@inlined
@no_type_check
def _cell(position, size):
    """The lower voxel of the pair around a clamped position, the step to the upper one, and the fraction."""
    if position <= 0.0 or size == 1:
        return 0, 0, 0.0
    if position >= size - 1:
        return size - 1, 0, 0.0
    lower = int(position)
    return lower, 1, position - lower


@inlined
@no_type_check
def _linear(data, i, di, fi, j, dj, fj, k, dk, fk):
    """Trilinear interpolation in a cell found by `_cell`."""
    low = (1 - fj) * ((1 - fk) * data[i, j, k] + fk * data[i, j, k + dk]) + fj * (
        (1 - fk) * data[i, j + dj, k] + fk * data[i, j + dj, k + dk]
    )
    i += di
    high = (1 - fj) * ((1 - fk) * data[i, j, k] + fk * data[i, j, k + dk]) + fj * (
        (1 - fk) * data[i, j + dj, k] + fk * data[i, j + dj, k + dk]
    )
    return (1 - fi) * low + fi * high


@inlined
@no_type_check
def _vector(field, x, y, z):
    """A vector field at a fractional index, clamped."""
    i, di, fi = _cell(x, field.shape[1])
    j, dj, fj = _cell(y, field.shape[2])
    k, dk, fk = _cell(z, field.shape[3])
    return (
        _linear(field[0], i, di, fi, j, dj, fj, k, dk, fk),
        _linear(field[1], i, di, fi, j, dj, fj, k, dk, fk),
        _linear(field[2], i, di, fi, j, dj, fj, k, dk, fk),
    )


@inlined
@no_type_check
def _apply(matrix, x, y, z):
    return (
        matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] * z + matrix[0, 3],
        matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] * z + matrix[1, 3],
        matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2] * z + matrix[2, 3],
    )


@inlined
@no_type_check
def _moving_index(field, same, to_field, to_moving, mm_to_moving, i, j, k):
    """Fractional index in the moving image of output voxel (i, j, k): `B (x + u(x))`."""
    if same:
        ux, uy, uz = field[0, i, j, k], field[1, i, j, k], field[2, i, j, k]
    else:
        a, b, c = _apply(to_field, i, j, k)
        ux, uy, uz = _vector(field, a, b, c)
    x, y, z = _apply(to_moving, i, j, k)
    return (
        x + mm_to_moving[0, 0] * ux + mm_to_moving[0, 1] * uy + mm_to_moving[0, 2] * uz,
        y + mm_to_moving[1, 0] * ux + mm_to_moving[1, 1] * uy + mm_to_moving[1, 2] * uz,
        z + mm_to_moving[2, 0] * ux + mm_to_moving[2, 1] * uy + mm_to_moving[2, 2] * uz,
    )


@inlined
@no_type_check
def _within(shape, x, y, z):
    """Whether an index lies inside the voxels: up to half a voxel beyond the outer centres."""
    return -0.5 <= x <= shape[0] - 0.5 and -0.5 <= y <= shape[1] - 0.5 and -0.5 <= z <= shape[2] - 0.5


@compiled
@no_type_check
def warp_linear(first, last, out, field, same, to_field, to_moving, mm_to_moving, moving, outside):
    """Fill `out` with the moving image at `x + u(x)`, `outside` beyond its voxels."""
    for i in range(first, last):
        for j in range(out.shape[1]):
            for k in range(out.shape[2]):
                x, y, z = _moving_index(field, same, to_field, to_moving, mm_to_moving, i, j, k)
                if not _within(moving.shape, x, y, z):
                    out[i, j, k] = outside
                    continue
                a, da, fa = _cell(x, moving.shape[0])
                b, db, fb = _cell(y, moving.shape[1])
                c, dc, fc = _cell(z, moving.shape[2])
                out[i, j, k] = _linear(moving, a, da, fa, b, db, fb, c, dc, fc)


@compiled
@no_type_check
def warp_labels(first, last, out, field, same, to_field, to_moving, mm_to_moving, moving):
    """Fill `out` with the label of greatest trilinear weight at `x + u(x)`: argmax of the warped one-hot images.

    Of equal weights the lowest label wins; 0 beyond the voxels.
    """
    labels = np.empty(8, moving.dtype)
    weights = np.empty(8, np.float64)
    for i in range(first, last):
        for j in range(out.shape[1]):
            for k in range(out.shape[2]):
                x, y, z = _moving_index(field, same, to_field, to_moving, mm_to_moving, i, j, k)
                if not _within(moving.shape, x, y, z):
                    out[i, j, k] = 0
                    continue
                a, da, fa = _cell(x, moving.shape[0])
                b, db, fb = _cell(y, moving.shape[1])
                c, dc, fc = _cell(z, moving.shape[2])
                found = 0
                for corner in range(8):
                    p, q, r = corner >> 2, (corner >> 1) & 1, corner & 1
                    label = moving[a + da * p, b + db * q, c + dc * r]
                    weight = (fa if p else 1 - fa) * (fb if q else 1 - fb) * (fc if r else 1 - fc)
                    seen = 0
                    while seen < found and labels[seen] != label:
                        seen += 1
                    if seen == found:
                        labels[found], weights[found] = label, 0.0
                        found += 1
                    weights[seen] += weight
                best = 0
                for n in range(1, found):
                    gain = weights[n] - weights[best]
                    if gain > 1e-9 or (gain > -1e-9 and labels[n] < labels[best]):
                        best = n
                out[i, j, k] = labels[best]


@compiled
@no_type_check
def reached(first, last, out, field, same, to_field, to_moving, mm_to_moving, shape):
    """Fill `out` with whether `x + u(x)` lies inside the voxels of a grid of `shape`."""
    for i in range(first, last):
        for j in range(out.shape[1]):
            for k in range(out.shape[2]):
                x, y, z = _moving_index(field, same, to_field, to_moving, mm_to_moving, i, j, k)
                out[i, j, k] = _within(shape, x, y, z)


@compiled
@no_type_check
def compose(first, last, out, inner, same, to_inner, to_outer, mm_to_outer, outer):
    """Fill `out` with `u1(x) + u2(x + u1(x))`."""
    for i in range(first, last):
        for j in range(out.shape[2]):
            for k in range(out.shape[3]):
                x, y, z = _moving_index(inner, same, to_inner, to_outer, mm_to_outer, i, j, k)
                vector = _vector(outer, x, y, z)
                if same:
                    for axis in range(3):
                        out[axis, i, j, k] = inner[axis, i, j, k] + vector[axis]
                else:
                    a, b, c = _apply(to_inner, i, j, k)
                    own = _vector(inner, a, b, c)
                    for axis in range(3):
                        out[axis, i, j, k] = own[axis] + vector[axis]


@compiled
@no_type_check
def resample(first, last, out, field, to_field):
    """Fill `out` with a vector field read on another grid, clamped."""
    for i in range(first, last):
        for j in range(out.shape[2]):
            for k in range(out.shape[3]):
                x, y, z = _apply(to_field, i, j, k)
                vector = _vector(field, x, y, z)
                for axis in range(3):
                    out[axis, i, j, k] = vector[axis]


@part_of_kernel
@no_type_check
def cubic_weights(t):
    """The four cubic B-splines that reach a point the fraction t behind a voxel."""
    s = np.float32(1.0) - t
    sixth, two, three, four = np.float32(1.0 / 6.0), np.float32(2.0), np.float32(3.0), np.float32(4.0)
    return (
        sixth * s * s * s,
        sixth * (four + three * t * t * (t - two)),
        sixth * (four + three * s * s * (s - two)),
        sixth * t * t * t,
    )


@compiled
@no_type_check
def read_cubic(coefficients, to_index, outside, out):
    """Fill `out` with the splines at `to_index @ (i, j, k, 1)`, clamped, `outside` beyond the voxels.

    `coefficients`, contiguous, hold one voxel more before and two after along each axis.
    """
    ni, nj, nk = coefficients.shape[0] - 3, coefficients.shape[1] - 3, coefficients.shape[2] - 3
    flat, per_j = coefficients.reshape(-1), np.uintp(coefficients.shape[2])
    per_i = np.uintp(coefficients.shape[1]) * per_j
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            for k in range(out.shape[2]):
                x, y, z = _apply(to_index, i, j, k)
                if not _within((ni, nj, nk), x, y, z):
                    out[i, j, k] = outside
                    continue
                p, _, fx = _cell(x, ni)
                q, _, fy = _cell(y, nj)
                r, _, fz = _cell(z, nk)
                across, along = cubic_weights(np.float32(fx)), cubic_weights(np.float32(fy))
                at = np.uintp(p) * per_i + np.uintp(q) * per_j + np.uintp(r)
                a, b, c, d = four_of_rows(flat, at, per_i, per_j, across, along)
                c0, c1, c2, c3 = cubic_weights(np.float32(fz))
                out[i, j, k] = c0 * a + c1 * b + c2 * c + c3 * d


@compiled
@no_type_check
def read_linear(images, to_index, outside, out):
    """Fill `out` with channels at `to_index @ (i, j, k, 1)`, linear; beyond the voxels lie those of `outside`."""
    channels, ni, nj, nk = images.shape
    for i in range(out.shape[1]):
        for j in range(out.shape[2]):
            for k in range(out.shape[3]):
                x, y, z = _apply(to_index, i, j, k)
                if not (-1.0 < x < ni and -1.0 < y < nj and -1.0 < z < nk):
                    for c in range(channels):
                        out[c, i, j, k] = outside[c]
                    continue
                p, q, r = int(np.floor(x)), int(np.floor(y)), int(np.floor(z))
                fx, fy, fz = np.float32(x - p), np.float32(y - q), np.float32(z - r)
                inside = 0 <= p < ni - 1 and 0 <= q < nj - 1 and 0 <= r < nk - 1
                for c in range(channels):
                    if inside:
                        a, b, d = np.uintp(p), np.uintp(q), np.uintp(r)
                        out[c, i, j, k] = _linear(images[c], a, _ONE, fx, b, _ONE, fy, d, _ONE, fz)
                        continue
                    total = np.float32(0.0)
                    for corner in range(8):
                        a, b, d = p + (corner >> 2), q + ((corner >> 1) & 1), r + (corner & 1)
                        held = 0 <= a < ni and 0 <= b < nj and 0 <= d < nk
                        weight = (fx if corner & 4 else 1 - fx) * (fy if corner & 2 else 1 - fy)
                        weight *= fz if corner & 1 else 1 - fz
                        total += weight * (images[c, a, b, d] if held else outside[c])
                    out[c, i, j, k] = total
