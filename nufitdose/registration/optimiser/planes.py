"""What local correlation does with a plane of voxels: products, sums over windows, slope and bend gathered at nodes.

Loops run over rows of numbers that are named one by one, and what is met on the way lies in arrays of the function's
own: then the compiler works on many numbers at once. No sum depends on how many those are.
"""

from typing import no_type_check

import numpy as np
from numpy import float32

from nufitdose.compiled import part_of_kernel

NUMBERS = 9  # of slope and bend


@part_of_kernel
@no_type_check
def box_plane(image, scratch, out):
    """Sums over windows of 5² of a plane with a margin of 2 zeros, without one in the result."""
    nj, nk = out.shape
    for j in range(nj + 4):
        source, target = image[j], scratch[j]
        for k in range(nk):
            target[k] = source[k] + source[k + 1] + source[k + 2] + source[k + 3] + source[k + 4]
    for j in range(nj):
        a, b, c, d, e = scratch[j], scratch[j + 1], scratch[j + 2], scratch[j + 3], scratch[j + 4]
        target = out[j]
        for k in range(nk):
            target[k] = a[k] + b[k] + c[k] + d[k] + e[k]


@part_of_kernel
@no_type_check
def products(fixed, warped, i, padded):
    """v, and of each channel v F, v W, v F², v W², v F W of a plane, inside a margin of zeros."""
    channels = fixed.shape[0] - 1
    _, _, nj, nk = fixed.shape
    half = float32(0.5)
    for j in range(nj):
        seen_f, seen_m = fixed[channels, i, j], warped[channels, i, j]
        here = padded[0, j + 2]
        for k in range(nk):
            here[k + 2] = seen_f[k] * seen_m[k]
        for n in range(channels):
            f, w = fixed[n, i, j], warped[n, i, j]
            rows = padded[1 + 5 * n : 6 + 5 * n, j + 2]
            for k in range(nk):
                v = seen_f[k] * seen_m[k]
                vf, vw = v * (f[k] - half), v * (w[k] - half)
                rows[0, k + 2] = vf
                rows[1, k + 2] = vw
                rows[2, k + 2] = vf * (f[k] - half)
                rows[3, k + 2] = vw * (w[k] - half)
                rows[4, k + 2] = vf * (w[k] - half)


@part_of_kernel
@no_type_check
def add_planes(ring, out):
    """The sum of the ring's planes, always in one order of the planes' numbers."""
    count, nj, nk = out.shape
    for m in range(count):
        for j in range(nj):
            a, b, c, d, e = ring[0, m, j], ring[1, m, j], ring[2, m, j], ring[3, m, j], ring[4, m, j]
            target = out[m, j]
            for k in range(nk):
                target[k] = a[k] + b[k] + c[k] + d[k] + e[k]


@part_of_kernel
@no_type_check
def gather(fixed, warped, sums, i, rows):
    """Add slope and bend of the voxels of plane i to `rows[j, n, k]`, of which two rows of voxels share one."""
    channels = fixed.shape[0] - 1
    _, ni, nj, nk = fixed.shape
    up, down = min(i + 1, ni - 1), max(i - 1, 0)
    across, half = float32(1.0 / max(up - down, 1)), float32(0.5)
    slope, bend = np.empty(nk, dtype=np.float32), np.empty(nk, dtype=np.float32)
    gradient = np.empty(nk, dtype=np.float32)
    for n in range(channels):
        for j in range(2 * (nj // 2)):
            above, below = min(j + 1, nj - 1), max(j - 1, 0)
            along = float32(1.0 / max(above - below, 1))
            f, w, w_above, w_below = fixed[n, i, j], warped[n, i, j], warped[n, i, above], warped[n, i, below]
            w_up, w_down = warped[n, up, j], warped[n, down, j]
            seen_f, seen_m = fixed[channels, i, j], warped[channels, i, j]
            p, q, r = sums[3 * n, j], sums[3 * n + 1, j], sums[3 * n + 2, j]
            for k in range(nk):
                v = seen_f[k] * seen_m[k]
                slope[k] = v * ((f[k] - half) * p[k] - (w[k] - half) * q[k] - r[k])
                bend[k] = v * q[k]
            for k in range(1, nk - 1):
                gradient[k] = half * (w[k + 1] - w[k - 1])
            gradient[0], gradient[nk - 1] = w[1] - w[0], w[nk - 1] - w[nk - 2]
            to = rows[j // 2]
            g_i, g_j, g_k = to[0], to[1], to[2]
            h_ii, h_jj, h_kk, h_ij, h_ik, h_jk = to[3], to[4], to[5], to[6], to[7], to[8]
            for k in range(nk):
                s, b = slope[k], bend[k]
                i_, j_, k_ = across * (w_up[k] - w_down[k]), along * (w_above[k] - w_below[k]), gradient[k]
                g_i[k] += s * i_
                g_j[k] += s * j_
                g_k[k] += s * k_
                h_ii[k] += b * i_ * i_
                h_jj[k] += b * j_ * j_
                h_kk[k] += b * k_ * k_
                h_ij[k] += b * i_ * j_
                h_ik[k] += b * i_ * k_
                h_jk[k] += b * j_ * k_


@part_of_kernel
@no_type_check
def to_nodes(rows, nodes):
    """Voxels of two planes, rows already added, to the nodes [j, k, 9] that hold them; `rows` are 0 again."""
    for j in range(nodes.shape[0]):
        for n in range(NUMBERS):
            row = rows[j, n]
            for k in range(nodes.shape[1]):
                nodes[j, k, n] = row[2 * k] + row[2 * k + 1]
    rows[:] = float32(0.0)
