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
from nufitdose.registration.optimiser.lattice import divergence, flow_of_row
from nufitdose.registration.optimiser.stepping import conjugate_gradients, penalty_factors, shortening


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
    penalty = np.array(penalty_factors(smoothness, bending, keeps_volume=bool(volume.any())), dtype=np.float32)
    with blocks_of(u.shape[1]) as run:
        equations = _CompiledEquations(run, system, u, (weight, volume, penalty), np.float32(damping))
        conjugate_gradients(equations)
    step = equations.step
    step *= np.float32(shortening(_steepest(step)))
    return step


class _CompiledEquations:
    """The system of a step; `run` shares planes among threads."""

    def __init__(
        self,
        run: Callable[..., list[Any]],
        system: NodeSystem,
        u: HalfField,
        terms: tuple[HalfImage, HalfImage, np.ndarray],
        damping: np.float32,
    ) -> None:
        self._run, self._terms = run, terms
        weight, volume, penalty = terms
        self.step, self._search, self._bent, self._applied, self._better = (np.zeros_like(u) for _ in range(5))
        self._flow, self._planes = np.zeros_like(volume), np.zeros(u.shape[1])
        self._blocks, self._inverse = (np.empty((6, *volume.shape), dtype=np.float32) for _ in range(2))
        run(_prepare, system, weight, volume, penalty, damping, self._blocks, self._inverse)
        self._apply(u, with_images=False)
        self._residual = np.ascontiguousarray(np.moveaxis(system[..., :3], -1, 0)) - self._applied

    def applied(self) -> float:
        """`(H + λ L + μ I)` applied to the search; their inner product."""
        return self._apply(self._search, with_images=True)

    def advance(self, length: float) -> float:
        """Go `length` along the search; the product of what is left with itself, preconditioned."""
        step, residual, search = self.step, self._residual, self._search
        arrays = step, residual, search, self._applied, np.float32(length), self._inverse, self._better, self._planes
        self._run(_advance, *arrays)
        return float(self._planes.sum())

    def turn(self, ratio: float) -> None:
        """Search along what is left, preconditioned, and `ratio` of the direction before."""
        self._run(_turn, self._search, self._better, np.float32(ratio))

    def _apply(self, x: HalfField, *, with_images: bool) -> float:
        """Fill `_applied` with `(H + λ L + μ I) x`, or `λ L x`; its inner product with x."""
        weight, volume, penalty = self._terms
        bent, flow, planes = self._bent, self._flow, self._planes
        self._run(_bend, x, weight, volume, bent, flow)
        self._run(_apply, x, self._blocks, bent, flow, weight, penalty, with_images, self._applied, planes)
        return float(planes.sum())


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
