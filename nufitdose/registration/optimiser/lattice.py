"""Displacements on the half lattice: roughness, curvature, change of volume, composition.

Displacements count in voxels of the images, whose half lattice this is: a node stands for 2³ of them. The roughness of
`regularization` is, summed over voxels, `8/9 Σ_edges w (Δu/2)²`: the voxel's size cancels, so that one weight means the
same at every resolution. Curvature is `ℓ²/9 |∇·(w ∇u)|²`, which motion that changes evenly does not pay; with nodes h
apart its factor beside the roughness is `(ℓ/h)²`.
"""

from typing import no_type_check

import numpy as np

from nufitdose.compiled import compiled, over_slabs, part_of_kernel
from nufitdose.registration.optimiser.correlation import HalfField
from nufitdose.types import Field

PER_EDGE = 2.0 / 9.0


@compiled
@no_type_check
def roughness(u, out):
    """Fill `out` with g at the nodes, summed over the voxels that each stands for; an edge counts half at both ends."""
    _, ni, nj, nk = u.shape
    out[:] = np.float32(0.0)
    share = np.float32(0.5 * PER_EDGE)
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
    _, ni, nj, nk = u.shape
    bent = np.empty(nk, dtype=np.float32)
    total = 0.0
    for c in range(3):
        for i in range(ni):
            for j in range(nj):
                flow_of_row(u, weight, c, i, j, bent)
                row = np.float32(0.0)
                for k in range(nk):
                    row += bent[k] * bent[k]
                total += row
    return total * PER_EDGE


@part_of_kernel
@no_type_check
def flow_of_row(x, weight, c, i, j, out):
    """Fill a row with `∇·(-w ∇x)` by differences between nodes, w the mean of both; nothing passes the border."""
    _, ni, nj, nk = x.shape
    half = np.float32(0.5)
    up, down, above, below = min(i + 1, ni - 1), max(i - 1, 0), min(j + 1, nj - 1), max(j - 1, 0)
    for k in range(nk):
        w, here = weight[i, j, k], x[c, i, j, k]
        flow = (w + weight[up, j, k]) * (here - x[c, up, j, k]) + (w + weight[down, j, k]) * (here - x[c, down, j, k])
        flow += (w + weight[i, above, k]) * (here - x[c, i, above, k])
        flow += (w + weight[i, below, k]) * (here - x[c, i, below, k])
        out[k] = half * flow
    for k in range(nk - 1):
        out[k] += half * (weight[i, j, k] + weight[i, j, k + 1]) * (x[c, i, j, k] - x[c, i, j, k + 1])
    for k in range(1, nk):
        out[k] += half * (weight[i, j, k] + weight[i, j, k - 1]) * (x[c, i, j, k] - x[c, i, j, k - 1])


@part_of_kernel
@no_type_check
def divergence(u, i, j, k):
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
                change = divergence(u, i, j, k)
                total += weight[i, j, k] * change * change
    return 2.0 * total


def doubled(u: Field, shape: tuple[int, ...]) -> HalfField:
    """A displacement of the next coarser level on the half lattice of `shape`, twice as fine; linear."""
    out = np.empty((3, *shape), dtype=np.float32)
    _double(u, out)
    return out


def compose(inner: HalfField, outer: HalfField) -> HalfField:
    """`inner + outer∘(x + inner)`."""
    out = np.empty_like(inner)
    over_slabs(_compose, inner.shape[1], inner, outer, out)
    return out


@compiled
@no_type_check
def _compose(first, last, inner, outer, out):
    _, ni, nj, nk = inner.shape
    for i in range(first, last):
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
