"""Displacements on the half lattice: roughness, curvature, the step of Gauss and Newton's method, composition.

Displacements count in voxels of the images, whose half lattice this is: a node stands for 2³ of them. The roughness of
`regularization` is, summed over voxels, `8/9 Σ_edges w (Δu/2)²`: the voxel's size cancels, so that one weight means the
same at every resolution. Curvature is `ℓ²/9 |∇·(w ∇u)|²`, which motion that changes evenly does not pay; with nodes h
apart its factor beside the roughness is `(ℓ/h)²`.
"""

from typing import no_type_check

import numpy as np

from nufitdose.compiled import compiled, part_of_kernel
from nufitdose.registration.optimiser.correlation import HalfField, HalfImage, NodeSystem
from nufitdose.types import Field

_STEEPEST = 0.4  # change of a step between neighbouring nodes, in their distance: below 1/√3 no step folds
_PER_EDGE = 2.0 / 9.0
_MOST_ITERATIONS = 20
_ACCURACY = 0.1  # of a step: the next one corrects it


@compiled
@no_type_check
def roughness(u, out):
    """Fill `out` with g at the nodes, summed over the voxels that each stands for; an edge counts half at both ends."""
    _, ni, nj, nk = u.shape
    out[:] = np.float32(0.0)
    share = np.float32(0.5 * _PER_EDGE)
    for c in range(3):
        for i in range(ni):
            for j in range(nj):
                here, to = u[c, i, j], out[i, j]
                if i + 1 < ni:
                    there, to_there = u[c, i + 1, j], out[i + 1, j]
                    for k in range(nk):
                        square = share * (there[k] - here[k]) ** 2
                        to[k] += square
                        to_there[k] += square
                if j + 1 < nj:
                    there, to_there = u[c, i, j + 1], out[i, j + 1]
                    for k in range(nk):
                        square = share * (there[k] - here[k]) ** 2
                        to[k] += square
                        to_there[k] += square
                for k in range(nk - 1):
                    square = share * (here[k + 1] - here[k]) ** 2
                    to[k] += square
                    to[k + 1] += square


@compiled
@no_type_check
def curvature(u, weight):
    """`|h ∇·(w ∇u)|² / 9`, h the distance of the nodes, summed over the voxels."""
    bent = np.zeros_like(u)
    _add_smoothness(u, weight, np.float32(1.0), bent)
    return _inner(bent, bent) * _PER_EDGE


@part_of_kernel
@no_type_check
def _divergence(u, i, j, k):
    """At a node, by differences to the next one along each axis."""
    return u[0, i + 1, j, k] - u[0, i, j, k] + u[1, i, j + 1, k] - u[1, i, j, k] + u[2, i, j, k + 1] - u[2, i, j, k]


@compiled
@no_type_check
def dilatation(u, weight):
    """The squared divergence times its weight, summed over the voxels."""
    _, ni, nj, nk = u.shape
    total = 0.0
    for i in range(ni - 1):
        for j in range(nj - 1):
            for k in range(nk - 1):
                change = _divergence(u, i, j, k)
                total += weight[i, j, k] * change * change
    return 2.0 * total


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
    step = np.zeros_like(u)
    factor = np.float32(2.0 * _PER_EDGE * smoothness)
    penalty = (factor, factor * np.float32(bending), factor * np.float32(9.0 if volume.any() else 0.0))
    _solve(system, u, weight, volume, penalty, np.float32(damping), step)
    steepest = _steepest(step) / 2.0
    if steepest > _STEEPEST:
        step *= np.float32(_STEEPEST / steepest)
    return step


def doubled(u: Field, shape: tuple[int, ...]) -> HalfField:
    """A displacement of the next coarser level on the half lattice of `shape`, twice as fine; linear."""
    out = np.empty((3, *shape), dtype=np.float32)
    _double(u, out)
    return out


def compose(inner: HalfField, outer: HalfField) -> HalfField:
    """`inner + outer∘(x + inner)`."""
    out = np.empty_like(inner)
    _compose(inner, outer, out)
    return out


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


@part_of_kernel
@no_type_check
def _add_smoothness(x, weight, factor, out):
    """`out += factor L x`."""
    _, ni, nj, nk = x.shape
    half = np.float32(0.5) * factor
    for c in range(3):
        for i in range(ni):
            for j in range(nj):
                here, to, w = x[c, i, j], out[c, i, j], weight[i, j]
                if i + 1 < ni:
                    there, to_there, w_there = x[c, i + 1, j], out[c, i + 1, j], weight[i + 1, j]
                    for k in range(nk):
                        flow = half * (w[k] + w_there[k]) * (here[k] - there[k])
                        to[k] += flow
                        to_there[k] -= flow
                if j + 1 < nj:
                    there, to_there, w_there = x[c, i, j + 1], out[c, i, j + 1], weight[i, j + 1]
                    for k in range(nk):
                        flow = half * (w[k] + w_there[k]) * (here[k] - there[k])
                        to[k] += flow
                        to_there[k] -= flow
                for k in range(nk - 1):
                    flow = half * (w[k] + w[k + 1]) * (here[k] - here[k + 1])
                    to[k] += flow
                    to[k + 1] -= flow


@part_of_kernel
@no_type_check
def _add_divergence(x, weight, factor, out):
    """`out += factor Dᵀ w D x`, D the divergence."""
    _, ni, nj, nk = x.shape
    for i in range(ni - 1):
        for j in range(nj - 1):
            for k in range(nk - 1):
                flow = factor * weight[i, j, k] * _divergence(x, i, j, k)
                out[0, i + 1, j, k] += flow
                out[0, i, j, k] -= flow
                out[1, i, j + 1, k] += flow
                out[1, i, j, k] -= flow
                out[2, i, j, k + 1] += flow
                out[2, i, j, k] -= flow


@part_of_kernel
@no_type_check
def _add_penalty(x, weight, volume, penalty, bent, out):
    """`out += λ L x` with the weights of roughness, curvature and divergence in `penalty`; `bent` is scratch."""
    roughness, bending, divergence = penalty
    bent[:] = np.float32(0.0)
    _add_smoothness(x, weight, np.float32(1.0), bent)
    _add(out, bent, roughness)
    if bending != 0:
        _add_smoothness(bent, weight, bending, out)
    if divergence != 0:
        _add_divergence(x, volume, divergence, out)


@part_of_kernel
@no_type_check
def _apply(system, x, weight, volume, penalty, damping, bent, out):
    """`out = (H + λ L + damping) x`."""
    _, ni, nj, nk = x.shape
    for i in range(ni):
        for j in range(nj):
            for k in range(nk):
                s = system[i, j, k]
                a, b, c = x[0, i, j, k], x[1, i, j, k], x[2, i, j, k]
                out[0, i, j, k] = (s[3] + damping) * a + s[6] * b + s[7] * c
                out[1, i, j, k] = s[6] * a + (s[4] + damping) * b + s[8] * c
                out[2, i, j, k] = s[7] * a + s[8] * b + (s[5] + damping) * c
    _add_penalty(x, weight, volume, penalty, bent, out)


@part_of_kernel
@no_type_check
def _precondition(system, weight, volume, penalty, damping, residual, out):
    """Blocks of 3 x 3 on the diagonal inverted."""
    _, ni, nj, nk = residual.shape
    six, square, two = np.float32(6.0), np.float32(42.0), np.float32(2.0)  # the diagonals of L, L² and DᵀD
    for i in range(ni):
        for j in range(nj):
            for k in range(nk):
                s, w = system[i, j, k], weight[i, j, k]
                own = penalty[0] * w * six + penalty[1] * w * w * square + penalty[2] * volume[i, j, k] * two
                own += damping + np.float32(1e-6)
                a, b, c = s[3] + own, s[4] + own, s[5] + own
                d, e, f = s[6], s[7], s[8]
                m00, m01, m02 = b * c - f * f, e * f - d * c, d * f - e * b
                m11, m12, m22 = a * c - e * e, d * e - a * f, a * b - d * d
                size = a * m00 + d * m01 + e * m02
                x, y, z = residual[0, i, j, k] / size, residual[1, i, j, k] / size, residual[2, i, j, k] / size
                out[0, i, j, k] = m00 * x + m01 * y + m02 * z
                out[1, i, j, k] = m01 * x + m11 * y + m12 * z
                out[2, i, j, k] = m02 * x + m12 * y + m22 * z


@part_of_kernel
@no_type_check
def _inner(a, b):
    total = 0.0
    for c in range(3):
        for i in range(a.shape[1]):
            for j in range(a.shape[2]):
                row = np.float32(0.0)
                for k in range(a.shape[3]):
                    row += a[c, i, j, k] * b[c, i, j, k]
                total += row
    return total


@compiled
@no_type_check
def _solve(system, u, weight, volume, penalty, damping, x):
    residual, applied, search, better = np.zeros_like(u), np.zeros_like(u), np.zeros_like(u), np.zeros_like(u)
    bent = np.zeros_like(u)
    _add_penalty(u, weight, volume, (-penalty[0], -penalty[1], -penalty[2]), bent, residual)
    for c in range(3):
        residual[c] += system[:, :, :, c]
    _precondition(system, weight, volume, penalty, damping, residual, better)
    search[:] = better
    product = _inner(residual, better)
    enough = _ACCURACY * _ACCURACY * product
    for _ in range(_MOST_ITERATIONS):
        if product <= enough or product <= 0.0:
            break
        _apply(system, search, weight, volume, penalty, damping, bent, applied)
        length = np.float32(product / max(_inner(search, applied), 1e-30))
        _add(x, search, length)
        _add(residual, applied, -length)
        _precondition(system, weight, volume, penalty, damping, residual, better)
        new = _inner(residual, better)
        ratio = np.float32(new / product)
        product = new
        _turn(search, better, ratio)


@part_of_kernel
@no_type_check
def _add(x, y, length):
    for c in range(3):
        for i in range(x.shape[1]):
            for j in range(x.shape[2]):
                for k in range(x.shape[3]):
                    x[c, i, j, k] += length * y[c, i, j, k]


@part_of_kernel
@no_type_check
def _turn(search, better, ratio):
    for c in range(3):
        for i in range(search.shape[1]):
            for j in range(search.shape[2]):
                for k in range(search.shape[3]):
                    search[c, i, j, k] = better[c, i, j, k] + ratio * search[c, i, j, k]


@compiled
@no_type_check
def _compose(inner, outer, out):
    _, ni, nj, nk = inner.shape
    for i in range(ni):
        for j in range(nj):
            for k in range(nk):
                x = min(max(i + 0.5 * inner[0, i, j, k], 0.0), ni - 1.0)
                y = min(max(j + 0.5 * inner[1, i, j, k], 0.0), nj - 1.0)
                z = min(max(k + 0.5 * inner[2, i, j, k], 0.0), nk - 1.0)
                p, q, r = max(min(int(x), ni - 2), 0), max(min(int(y), nj - 2), 0), max(min(int(z), nk - 2), 0)
                p1, q1, r1 = min(p + 1, ni - 1), min(q + 1, nj - 1), min(r + 1, nk - 1)
                fx, fy, fz = x - p, y - q, z - r
                for c in range(3):
                    o = outer[c]
                    low = (1 - fy) * ((1 - fz) * o[p, q, r] + fz * o[p, q, r1]) + fy * (
                        (1 - fz) * o[p, q1, r] + fz * o[p, q1, r1]
                    )
                    high = (1 - fy) * ((1 - fz) * o[p1, q, r] + fz * o[p1, q, r1]) + fy * (
                        (1 - fz) * o[p1, q1, r] + fz * o[p1, q1, r1]
                    )
                    out[c, i, j, k] = inner[c, i, j, k] + (1 - fx) * low + fx * high


@compiled
@no_type_check
def _double(u, out):
    """Node h of the finer lattice lies at (h - ½) / 2 of the coarser; values count in voxels half as large."""
    _, ni, nj, nk = u.shape
    for i in range(out.shape[1]):
        x = min(max(0.5 * i - 0.25, 0.0), ni - 1.0)
        p = int(x)
        p1, fx = min(p + 1, ni - 1), x - p
        for j in range(out.shape[2]):
            y = min(max(0.5 * j - 0.25, 0.0), nj - 1.0)
            q = int(y)
            q1, fy = min(q + 1, nj - 1), y - q
            for k in range(out.shape[3]):
                z = min(max(0.5 * k - 0.25, 0.0), nk - 1.0)
                r = int(z)
                r1, fz = min(r + 1, nk - 1), z - r
                for c in range(3):
                    o = u[c]
                    low = (1 - fy) * ((1 - fz) * o[p, q, r] + fz * o[p, q, r1]) + fy * (
                        (1 - fz) * o[p, q1, r] + fz * o[p, q1, r1]
                    )
                    high = (1 - fy) * ((1 - fz) * o[p1, q, r] + fz * o[p1, q, r1]) + fy * (
                        (1 - fz) * o[p1, q1, r] + fz * o[p1, q1, r1]
                    )
                    out[c, i, j, k] = 2.0 * ((1 - fx) * low + fx * high)
