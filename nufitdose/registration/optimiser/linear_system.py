"""The step of Gauss and Newton's method on the half lattice: conjugate gradients, planes shared among threads.

`H + λ L + μ I` is never written down. H are blocks of 3 x 3 at the nodes, L is made of differences to neighbours: each
node gathers what its neighbours send it, so that threads write apart, and sums over nodes are taken plane by plane in
one order. A step is therefore the same to the last bit with any number of threads.
"""

from collections.abc import Callable
from typing import Any, no_type_check

import numpy as np

from nufitdose.compiled import blocks_of, compiled, part_of_kernel
from nufitdose.registration.optimiser.correlation import HalfField, HalfImage, NodeSystem
from nufitdose.registration.optimiser.lattice import PER_EDGE, divergence, flow_of_row

_STEEPEST = 0.4  # change of a step between neighbouring nodes, in their distance: below 1/√3 no step folds
_MOST_ITERATIONS = 20
_ACCURACY = 0.1  # of a step: the next one corrects it


def newton_step(
    system: NodeSystem,
    u: HalfField,
    weight: HalfImage,
    smoothness: float,
    bending: float,
    damping: float,
    volume: HalfImage,
) -> HalfField:
    """The displacement d that solves `(H + λ L + μ I) d = g - λ L u` by conjugate gradients, λ the `smoothness`.

    `system` holds slope g and bend H of the images' part (see `correlation.compare`); L is the bend of the roughness
    with its `weight` at the nodes, of `bending` times the curvature and of the squared divergence, whose weight at the
    nodes is `volume`. Steps that would bend the field too steeply are shortened.
    """
    factor = 2.0 * PER_EDGE * smoothness
    penalty = np.array([factor, factor * bending, factor * (9.0 if volume.any() else 0.0)], dtype=np.float32)
    with blocks_of(u.shape[1]) as run:
        step = _solve(run, system, u, (weight, volume, penalty), np.float32(damping))
    change = _steepest(step) / 2.0
    if change > _STEEPEST:
        step *= np.float32(_STEEPEST / change)
    return step


def _solve(
    run: Callable[..., list[Any]],
    system: NodeSystem,
    u: HalfField,
    terms: tuple[HalfImage, HalfImage, np.ndarray],
    damping: np.float32,
) -> HalfField:
    weight, volume, penalty = terms
    step, bent, applied, better = (np.zeros_like(u) for _ in range(4))
    flow = np.zeros_like(volume)
    blocks, inverse = (np.empty((6, *volume.shape), dtype=np.float32) for _ in range(2))
    planes = np.zeros(u.shape[1])

    def apply(x: HalfField, with_images: bool) -> float:
        """Fill `applied` with `(H + λ L + μ I) x`, or `λ L x`; its inner product with x."""
        run(_bend, x, weight, volume, bent, flow)
        run(_apply, x, blocks, bent, flow, weight, penalty, with_images, applied, planes)
        return float(planes.sum())

    run(_prepare, system, weight, volume, penalty, damping, blocks, inverse)
    apply(u, False)
    residual = np.ascontiguousarray(np.moveaxis(system[..., :3], -1, 0)) - applied
    search = np.zeros_like(u)
    run(_advance, step, residual, search, applied, np.float32(0.0), inverse, better, planes)  # only preconditions
    search[:] = better
    product = float(planes.sum())
    enough = _ACCURACY * _ACCURACY * product
    for _ in range(_MOST_ITERATIONS):
        if product <= max(enough, 0.0):
            break
        length = np.float32(product / max(apply(search, True), 1e-30))
        run(_advance, step, residual, search, applied, length, inverse, better, planes)
        before, product = product, float(planes.sum())
        run(_turn, search, better, np.float32(product / before))
    return step


@compiled
@no_type_check
def _bend(first, last, x, weight, volume, bent, flow):
    """`L x` of the roughness alone, and the divergence times its weight."""
    _, ni, nj, nk = x.shape
    for i in range(first, last):
        for j in range(nj):
            for c in range(3):
                flow_of_row(x, weight, c, i, j, bent[c, i, j])
            flow[i, j] = np.float32(0.0)
            if i + 1 < ni and j + 1 < nj:
                for k in range(nk - 1):
                    flow[i, j, k] = volume[i, j, k] * divergence(x, i, j, k)


@compiled
@no_type_check
def _apply(first, last, x, blocks, bent, flow, weight, penalty, with_images, out, planes):
    _, _, nj, nk = x.shape
    roughness, bending, dilation = penalty[0], penalty[1], penalty[2]
    row = np.empty(nk, dtype=np.float32)
    for i in range(first, last):
        for j in range(nj):
            for c in range(3):
                flow_of_row(bent, weight, c, i, j, row)
                for k in range(nk):
                    out[c, i, j, k] = roughness * bent[c, i, j, k] + bending * row[k] - dilation * flow[i, j, k]
            for k in range(nk if i > 0 else 0):
                out[0, i, j, k] += dilation * flow[i - 1, j, k]
            for k in range(nk if j > 0 else 0):
                out[1, i, j, k] += dilation * flow[i, j - 1, k]
            for k in range(1, nk):
                out[2, i, j, k] += dilation * flow[i, j, k - 1]
            if with_images:
                _add_blocks(blocks, x, i, j, out)
        planes[i] = _product_of_plane(x, out, i, row)


@part_of_kernel
@no_type_check
def _add_blocks(blocks, x, i, j, out):
    """Symmetric blocks of 3 x 3, six numbers each (ii, jj, kk, ij, ik, jk), times the vectors of a row."""
    for k in range(x.shape[3]):
        p, q, r = x[0, i, j, k], x[1, i, j, k], x[2, i, j, k]
        d, e, f = blocks[3, i, j, k], blocks[4, i, j, k], blocks[5, i, j, k]
        out[0, i, j, k] += blocks[0, i, j, k] * p + d * q + e * r
        out[1, i, j, k] += d * p + blocks[1, i, j, k] * q + f * r
        out[2, i, j, k] += e * p + f * q + blocks[2, i, j, k] * r


@part_of_kernel
@no_type_check
def _product_of_plane(a, b, i, row):
    """The inner product over plane i; `row` is scratch."""
    row[:] = np.float32(0.0)
    for c in range(3):
        for j in range(a.shape[2]):
            for k in range(a.shape[3]):
                row[k] += a[c, i, j, k] * b[c, i, j, k]
    total = 0.0
    for k in range(a.shape[3]):
        total += row[k]
    return total


@compiled
@no_type_check
def _prepare(first, last, system, weight, volume, penalty, damping, blocks, inverse):
    """The images' blocks of 3 x 3 with the damping, and the inverse of all that is on the diagonal."""
    _, _, nj, nk = inverse.shape
    six, square, two = np.float32(6.0), np.float32(42.0), np.float32(2.0)  # the diagonals of L, L² and DᵀD
    for i in range(first, last):
        for j in range(nj):
            for k in range(nk):
                s, w = system[i, j, k], weight[i, j, k]
                own = penalty[0] * w * six + penalty[1] * w * w * square + penalty[2] * volume[i, j, k] * two
                own += damping + np.float32(1e-6)
                a, b, c = s[3] + own, s[4] + own, s[5] + own
                d, e, f = s[6], s[7], s[8]
                m00, m01, m02 = b * c - f * f, e * f - d * c, d * f - e * b
                size = np.float32(1.0) / (a * m00 + d * m01 + e * m02)
                inverse[0, i, j, k] = m00 * size
                inverse[1, i, j, k] = (a * c - e * e) * size
                inverse[2, i, j, k] = (a * b - d * d) * size
                inverse[3, i, j, k] = m01 * size
                inverse[4, i, j, k] = m02 * size
                inverse[5, i, j, k] = (d * e - a * f) * size
                for n in range(6):
                    blocks[n, i, j, k] = s[3 + n] + (damping if n < 3 else np.float32(0.0))


@compiled
@no_type_check
def _advance(first, last, step, residual, search, applied, length, inverse, better, planes):
    """Go `length` along `search`; fill `better` with what is left, preconditioned, and `planes` with their product."""
    _, _, nj, nk = step.shape
    row = np.empty(nk, dtype=np.float32)
    for i in range(first, last):
        for j in range(nj):
            for c in range(3):
                for k in range(nk):
                    step[c, i, j, k] += length * search[c, i, j, k]
                    residual[c, i, j, k] -= length * applied[c, i, j, k]
                    better[c, i, j, k] = np.float32(0.0)
            _add_blocks(inverse, residual, i, j, better)
        planes[i] = _product_of_plane(residual, better, i, row)


@compiled
@no_type_check
def _turn(first, last, search, better, ratio):
    _, _, nj, nk = search.shape
    for c in range(3):
        for i in range(first, last):
            for j in range(nj):
                for k in range(nk):
                    search[c, i, j, k] = better[c, i, j, k] + ratio * search[c, i, j, k]


@compiled
@no_type_check
def _steepest(u):
    """Greatest difference between neighbouring nodes."""
    _, ni, nj, nk = u.shape
    worst = 0.0
    for i in range(ni):
        for j in range(nj):
            for k in range(nk):
                for axis in range(3):
                    p, q, r = i + (axis == 0), j + (axis == 1), k + (axis == 2)
                    if p < ni and q < nj and r < nk:
                        square = 0.0
                        for c in range(3):
                            square += (u[c, p, q, r] - u[c, i, j, k]) ** 2
                        worst = max(worst, square)
    return np.sqrt(worst)
