"""Local correlation of a warped scan with a fixed one, its slope and Gauss and Newton's bend, in one sweep over planes.

In every window y of 5³ voxels the fixed image F is explained by the warped one W, `F ≈ α W + β`; what remains is
`1 - ρ²`, `ρ² = c² / (a b)`, c, a and b the window's covariance and variances. A floor in a and b keeps noise from
counting: windows whose variance is that of noise have ρ² near 0. What remains costs `t log(1 + (1 - ρ²) / t)`, the
Lorentzian of robust estimation (Black and Anandan 1996, doi:10.1006/cviu.1996.0006): windows that are explained worse
than t, by noise or by what no motion explains, count ever less. With `s = t / (1 - ρ² + t)`, `P = 2 w s c / (a b)`,
`Q = 2 w s c² / (a b²)` per window and sums over the windows that hold x,

    slope(x) = v (F ΣP - W ΣQ - Σ(P F̄ - Q W̄)) ∇W,    bend(x) = ΣQ ∇W ∇Wᵀ

are what a displacement of x changes: the bend is that of the residuals with α and β held. Sums over windows are taken
axis by axis, plane after plane, so that no image is written between.
"""

from typing import no_type_check

import numpy as np
from jaxtyping import Float32
from numpy import float32

from nufitdose.compiled import compiled, over_blocks, part_of_kernel
from nufitdose.registration.optimiser.planes import NUMBERS, add_planes, box_plane, gather, products, to_nodes

Images = Float32[np.ndarray, "channel i j k"]
HalfField = Float32[np.ndarray, "3 half_i half_j half_k"]
HalfImage = Float32[np.ndarray, "half_i half_j half_k"]
NodeSystem = Float32[np.ndarray, "half_i half_j half_k 9"]


def compare(
    fixed: Images,
    warped: Images,
    weights: Float32[np.ndarray, "compared 2"],
    floors: Float32[np.ndarray, "compared 2"],
    misfit: float,
) -> tuple[float, NodeSystem]:
    """`Σ_y Σ_c w_c t log(1 + (1 - ρ_c²) / t)` over the voxels, t the `misfit`; slope and bend of minus that.

    They are given at the nodes of the half lattice, each with the sum over its 2³ voxels; the bend has its sign turned
    and is given by its six numbers ii, jj, kk, ij, ik, jk. `fixed` and `warped` hold a last channel more, 0 ... 1:
    where there is something to compare.
    A window weighs the fixed mask times `weights[c, 0] + weights[c, 1] F̄`, a voxel in it the product of both masks.
    `floors` are the variances of noise, fixed and moving. The result does not depend on the number of threads.
    """
    _, ni, nj, nk = fixed.shape
    planes = np.zeros(ni)
    system = np.zeros((ni // 2, nj // 2, nk // 2, NUMBERS), dtype=np.float32)
    over_blocks(_compare, ni // 2, fixed, warped, weights, floors, np.float32(misfit), planes, system)
    return float(planes.sum()), system


@part_of_kernel
@no_type_check
def _windows(sums, here, weights, floors, misfit, padded, costs):
    """P, Q and R = P F̄ - Q W̄ of every window of a plane, inside a margin of zeros; add what is unlike to `costs[k]`."""
    channels = len(weights)
    _, nj, nk = sums.shape
    half, one, tiny, two, zero = float32(0.5), float32(1.0), float32(1e-12), float32(2.0), float32(0.0)
    weight, apart = np.empty(nk, dtype=np.float32), np.empty(nk, dtype=np.float32)
    for n in range(channels):
        floor_f, floor_m, always, by_mean = floors[n, 0], floors[n, 1], weights[n, 0], weights[n, 1]
        m = 1 + 5 * n
        for j in range(nj):
            count, own = sums[0, j], here[j]
            s_f, s_w, s_ff, s_ww, s_fw = sums[m, j], sums[m + 1, j], sums[m + 2, j], sums[m + 3, j], sums[m + 4, j]
            to_p, to_q, to_r = padded[3 * n, j + 2], padded[3 * n + 1, j + 2], padded[3 * n + 2, j + 2]
            for k in range(nk):
                size = max(count[k], one)
                mean_f, mean_w = s_f[k] / size, s_w[k] / size
                a = max(s_ff[k] - mean_f * s_f[k], zero) + floor_f * size + tiny
                b = max(s_ww[k] - mean_w * s_w[k], zero) + floor_m * size + tiny
                c = s_fw[k] - mean_f * s_w[k]
                w = own[k] * (always + by_mean * (mean_f + half))
                unlike = max(one - c * c / (a * b), zero) / misfit
                p = two * w * c / (a * b) / (one + unlike)
                q = p * c / b
                to_p[k + 2] = p
                to_q[k + 2] = q
                to_r[k + 2] = p * mean_f - q * mean_w
                weight[k] = w * misfit
                apart[k] = unlike
            _add_logarithms(weight, apart, costs)


@part_of_kernel
@no_type_check
def _add_logarithms(weight, x, to):
    """Add `weight log(1 + x)`, x of 0 and more, by the series of artanh: a call for every number stops all else.

    `1 + x = 2^e m` with m between √½ and √2, `log m = 2 artanh((m - 1) / (m + 1))`; 1e-7 of it is lost.
    """
    one, two, half, root, log_2 = float32(1.0), float32(2.0), float32(0.5), float32(2.0**0.5), float32(np.log(2.0))
    third, fifth, seventh, ninth = float32(1 / 3), float32(1 / 5), float32(1 / 7), float32(1 / 9)
    mantissa = np.empty(len(x), dtype=np.float32)
    for k in range(len(x)):
        mantissa[k] = one + x[k]
    bits = mantissa.view(np.int32)
    for k in range(len(x)):
        exponent = (bits[k] >> 23) - 127
        bits[k] = (bits[k] & 0x7FFFFF) | 0x3F800000
        m = mantissa[k]
        exponent, m = (exponent + 1, half * m) if m > root else (exponent, m)
        beyond = x[k] if exponent == 0 else m - one  # x itself has more digits than 1 + x
        z = beyond / (beyond + two)
        y = z * z
        series = one + y * (third + y * (fifth + y * (seventh + y * ninth)))
        to[k] += weight[k] * (float32(exponent) * log_2 + two * z * series)


@compiled
@no_type_check
def _compare(first, last, fixed, warped, weights, floors, misfit, planes, system):
    channels = fixed.shape[0] - 1
    _, ni, nj, nk = fixed.shape
    low, high = 2 * first, 2 * last
    moments, forces = 1 + 5 * channels, 3 * channels
    padded = np.zeros((moments, nj + 4, nk + 4), dtype=np.float32)
    padded_force = np.zeros((forces, nj + 4, nk + 4), dtype=np.float32)
    scratch = np.zeros((nj + 4, nk), dtype=np.float32)
    ring = np.zeros((5, moments, nj, nk), dtype=np.float32)
    ring_force = np.zeros((5, forces, nj, nk), dtype=np.float32)
    sums = np.zeros((moments, nj, nk), dtype=np.float32)
    sums_force = np.zeros((forces, nj, nk), dtype=np.float32)
    costs, rows = np.empty(nk, dtype=np.float32), np.zeros((nj // 2, NUMBERS, nk), dtype=np.float32)
    for i in range(low - 4, high + 4):
        at = (i + 10) % 5
        if 0 <= i < ni:
            products(fixed, warped, i, padded)
            for m in range(moments):
                box_plane(padded[m], scratch, ring[at, m])
        else:
            ring[at] = float32(0.0)
        window = i - 2
        if window < low - 2:
            continue
        at = (window + 10) % 5
        if 0 <= window < ni:
            add_planes(ring, sums)
            costs[:] = float32(0.0)
            _windows(sums, fixed[channels, window], weights, floors, misfit, padded_force, costs)
            if low <= window < high:
                for k in range(nk):
                    planes[window] += costs[k]
            for m in range(forces):
                box_plane(padded_force[m], scratch, ring_force[at, m])
        else:
            ring_force[at] = float32(0.0)
        voxel = i - 4
        if low <= voxel < high:
            add_planes(ring_force, sums_force)
            gather(fixed, warped, sums_force, voxel, rows)
            if voxel % 2:
                to_nodes(rows, system[voxel // 2])
