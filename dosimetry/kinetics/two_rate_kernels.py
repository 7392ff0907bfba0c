"""Voxel fits of curves with two rates by variable projection, compiled: f = Σ_k A_k Σ_j M_kj e^(-λ_j t).

At given rates the amplitudes have a closed form and c = MᵀA, so that only ln λ_1 and ln λ_2 are searched: the best pair
of a grid whose exponentials are tabulated once (with the rate of the mono-exponential fit among its rates, so that a
second phase is found wherever it lowers the sum of squares at all), then damped Newton steps with the exact
Hessian of the reduced sum of squares,

  S = ½ Σ w r²,  ∂S/∂λ_j = c_j g_j,  ∂²S/∂λ_i∂λ_j = c'_j g_j + c_j (c_i q_ij - Σ_l c'_l p_lj) - δ_ij c_j h_j,

with d_jl = Σ w e_j e_l, p_jl = Σ w τ e_j e_l, q_jl = Σ w τ² e_j e_l, g_j = Σ w r τ e_j, h_j = Σ w r τ² e_j, and
c' = ∂c/∂λ_i = Mᵀ(M d Mᵀ)⁻¹M (c_i p_·i - g_i δ_·i). Voxels that one exponential describes as well keep their mono fit.
Where the rates have a prior, ½ Σ_j ((ln(λ_j - λ_p) - m_j)/s_j)² is added to S.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, untyped-decorator"

from math import exp, inf, log, nan, sqrt
from typing import no_type_check

import numpy as np

from dosimetry.kinetics.models import LN2, POINTS_HALF_LIVES, START_HALF_LIVES, UPTAKE_HALF_LIVES
from dosimetry.kinetics.status import FitStatus
from dosimetry.kinetics.two_rate_algebra import (
    HESSIAN,
    NORMAL,
    UPTAKE_CLEARANCE,
    curvature,
    distance,
    moments,
    project,
    variance_of_tia,
)
from dosimetry.kinetics.voxel_kernels import (
    AMPLITUDE,
    AT_FASTEST,
    BEFORE,
    EXTRAPOLATED,
    MONO,
    RISING,
    RMSE,
    SLOW,
    TEFF,
    TIA,
    U_TIA,
)
from nufitdose.compiled import compiled, part_of_kernel

BI, CLEARANCE_RETENTION = int(FitStatus.BI), int(FitStatus.CLEARANCE_RETENTION)
MAX_STEPS = 60
LAST_STEP = 1e-7  # of ln λ: Newton's error is its square
APART = 1e-3  # of λ: uptake is at least this much faster than clearance
FARTHEST = 6.0  # deviations of a prior below its mean that a rate may go
BETTER = 1e-10  # share by which a second phase must lower the sum of squares
NEGLIGIBLE = 1e-13  # sum of squares, as a share of Σ w y², that the single precision of the mono rate leaves


@compiled
@no_type_check
def fit_two_rates(y, weight, t, rate_p, grid, code, noise_known, prior, worth, out, status, chi2):
    """Replace the mono fit of y[times, voxels] by that of the model `code` wherever it is better.

    Arguments as in `fit_mono`; `code` is BI, UPTAKE_CLEARANCE or CLEARANCE_RETENTION of `FitStatus`, and `grid` reaches
    to the fastest rate of that model. `prior` [2, 2] holds m_j and 1/s_j², 0 for none; with one, the model replaces
    mono wherever its amplitudes are positive. Voxels whose mono fit leaves no more than `worth` of Σ w r² keep it.
    `out` and `status` hold the mono fit; `chi2` receives Σ w r² of the fit that stands, NaN with too few points.
    """
    n_times = t.size
    table = np.empty((grid.size + 1, n_times))  # the last row is for the rate of the voxel's mono fit
    for k in range(grid.size):
        for i in range(n_times):
            table[k, i] = exp(-grid[k] * t[i])
    rates = np.empty(grid.size + 1)
    for k in range(grid.size):
        rates[k] = grid[k]
    norm, number = np.empty(grid.size + 1), np.empty(grid.size + 1)
    penalty = np.empty((2, grid.size + 1))
    guided = prior[0, 1] + prior[1, 1] > 0.0
    for j in range(2):
        for k in range(grid.size):
            penalty[j, k] = distance(prior, j, grid[k], rate_p)
    value, w = np.empty(n_times), np.empty(n_times)
    limit, rate, trial, c = np.empty((2, 2)), np.empty(2), np.empty(2), np.empty(2)
    e = np.empty((2, n_times))
    sums, matrix = np.empty(19), np.empty((5, 4))
    needed = 4 if code == BI else 3
    for v in range(y.shape[1]):
        points, first, last, gap = _load(y, weight, v, t, value, w)
        mono = status[v]
        chi2[v] = nan
        if points < needed or not (MONO <= mono <= AT_FASTEST or mono in (RISING, SLOW)):
            continue
        clearance = _bound(code, prior, rate_p, first, gap, limit)
        rates[grid.size] = min(max(LN2 / out[TEFF, v], rate_p), clearance)
        for i in range(n_times):
            table[grid.size, i] = exp(-rates[grid.size] * t[i])
        for j in range(2):
            penalty[j, grid.size] = distance(prior, j, rates[grid.size], rate_p)
        _projections(value, w, table, norm, number)
        squares_mono = _misfit(value, w, table[grid.size], number[grid.size] / norm[grid.size])
        chi2[v] = 2.0 * squares_mono
        if chi2[v] <= worth or not _best_pair(w, table, rates, limit, code, penalty, norm, number, rate):
            continue
        whole = _misfit(value, w, table[grid.size], 0.0)
        squares = _descend(value, w, t, limit, code, prior, rate_p, rate, trial, c, e, sums)
        if not (guided or squares < squares_mono * (1.0 - BETTER) - NEGLIGIBLE * whole):
            continue
        if code == UPTAKE_CLEARANCE and rate[1] >= limit[1, 1]:
            continue
        free, variance = variance_of_tia(rate, limit, code, prior, rate_p, c, sums, matrix)
        left = points - (1 if code == UPTAKE_CLEARANCE else 2) - free
        if not (variance > 0.0 and c[0] / rate[0] + c[1] / rate[1] > 0.0):
            continue
        if not noise_known:
            variance *= 2.0 * squares / left if left > 0 else nan
        _conclude(value, w, e, c, rate, variance, points, left, first, last, out, v)
        status[v] = code
        chi2[v] = 2.0 * squares


@part_of_kernel
@no_type_check
def _load(y, weight, v, t, value, w):
    """Copy a voxel, a missing value with weight 0; its number of points, first and last time, and shortest gap."""
    shared = weight.shape[1] == 1
    points, first, last, gap = 0, inf, -inf, inf
    for i in range(t.size):
        present = abs(y[i, v]) < inf
        value[i] = y[i, v] if present else 0.0
        w[i] = (weight[i, 0] if shared else weight[i, v]) if present else 0.0
        if present:
            points += 1
            first = min(first, t[i])
            gap = min(gap, t[i] - last)
            last = t[i]
    return points, first, last, gap


@part_of_kernel
@no_type_check
def _bound(code, prior, rate_p, first, gap, limit):
    """Bounds of both rates for the points of a voxel, into `limit`; the fastest clearance."""
    clearance = rate_p + LN2 * min(START_HALF_LIVES / first, POINTS_HALF_LIVES / gap)
    for j in range(2):
        limit[j, 0], limit[j, 1] = rate_p, clearance
        if prior[j, 1] > 0.0:
            lowest = max(exp(prior[j, 0] - FARTHEST / sqrt(prior[j, 1])), 1e-6 * rate_p)
            limit[j, 0] = min(rate_p + lowest, 0.5 * (rate_p + clearance))
    if code == UPTAKE_CLEARANCE:
        limit[1, 1] = max(rate_p + LN2 * UPTAKE_HALF_LIVES / first if first > 0.0 else 0.0, clearance)
    elif code == CLEARANCE_RETENTION:
        limit[1, 1] = rate_p
    return clearance


@part_of_kernel
@no_type_check
def _conclude(value, w, e, c, rate, variance, points, left, first, last, out, v):
    """Results of a voxel, into its column; `left` degrees of freedom."""
    total = c[0] / rate[0] + c[1] / rate[1]
    plain = 0.0
    for i in range(value.size):
        r = value[i] - c[0] * e[0, i] - c[1] * e[1, i]
        plain += r * r if w[i] > 0.0 else 0.0
    slow = 0 if rate[0] <= rate[1] else 1
    out[TIA, v], out[U_TIA, v], out[TEFF, v] = total, sqrt(variance), LN2 / rate[slow]
    out[AMPLITUDE, v] = c[slow]
    out[RMSE, v] = sqrt(plain / points) if left > 0 else nan
    late = c[0] * exp(-rate[0] * last) / rate[0] + c[1] * exp(-rate[1] * last) / rate[1]
    early = c[0] * exp(-rate[0] * first) / rate[0] + c[1] * exp(-rate[1] * first) / rate[1]
    out[BEFORE, v], out[EXTRAPOLATED, v] = 1.0 - early / total, late / total


@part_of_kernel
@no_type_check
def _misfit(value, w, e, a):
    """½ Σ w (y - a e)²."""
    squares = 0.0
    for i in range(value.size):
        r = value[i] - a * e[i]
        squares += w[i] * r * r
    return 0.5 * squares


@part_of_kernel
@no_type_check
def _projections(value, w, table, norm, number):
    """Σ w e² and Σ w y e of every rate of the table."""
    for k in range(norm.size):
        a, b = 0.0, 1e-300
        for i in range(value.size):
            we = w[i] * table[k, i]
            a += we * value[i]
            b += we * table[k, i]
        number[k], norm[k] = a, b


@part_of_kernel
@no_type_check
def _best_pair(w, table, rates, limit, code, penalty, norm, number, rate):
    """The pair of rates with the largest NᵀA less penalties among amplitudes that are all positive; False without."""
    n, n_times = rates.size, w.size
    best, first = -inf, 0 if code != CLEARANCE_RETENTION else 1  # which penalty belongs to the lower rate
    for j in range(n):
        for k in range(1 if code == CLEARANCE_RETENTION else j):  # the first rate of the grid is that of physical decay
            lower, upper = min(rates[j], rates[k]), max(rates[j], rates[k])
            slowest_limit = limit[0, 1] if code != CLEARANCE_RETENTION else limit[1, 1]
            fastest_limit = limit[1, 1] if code != CLEARANCE_RETENTION else limit[0, 1]
            if lower > slowest_limit or upper > fastest_limit or lower * (1.0 + APART) > upper:
                continue
            cross = 0.0
            for i in range(n_times):
                cross += w[i] * table[j, i] * table[k, i]
            if code == UPTAKE_CLEARANCE:
                plus = number[j] - number[k] if rates[j] == lower else number[k] - number[j]
                size = norm[j] + norm[k] - 2.0 * cross
                score = plus * plus / size if plus > 0.0 and size > 0.0 else 0.0
            else:
                determinant = norm[j] * norm[k] - cross * cross
                a = number[j] * norm[k] - number[k] * cross
                b = number[k] * norm[j] - number[j] * cross
                good = a > 0.0 and b > 0.0 and determinant > 1e-14 * norm[j] * norm[k]
                score = (a * number[j] + b * number[k]) / determinant if good else 0.0
            slow, fast = (j, k) if rates[j] == lower else (k, j)
            far = penalty[first, slow] + penalty[1 - first, fast]
            if score > 0.0 and score - far > best:
                best = score - far
                rate[0], rate[1] = (upper, lower) if code == CLEARANCE_RETENTION else (lower, upper)
    return best > -inf


@part_of_kernel
@no_type_check
def _descend(value, w, t, limit, code, prior, rate_p, rate, trial, c, e, sums):
    """Newton steps in ln λ, damped until S falls; leaves rates, c, e and the sums at the minimum; returns ½ Σ w r²."""
    for j in range(2):
        rate[j] = min(max(rate[j], limit[j, 0]), limit[j, 1])
    squares = project(value, w, t, code, rate, c, e, sums)
    squares += 0.5 * (distance(prior, 0, rate[0], rate_p) + distance(prior, 1, rate[1], rate_p))
    damping = 0.0
    for _ in range(MAX_STEPS):
        moments(value, w, t, c, e, sums)
        gradient0, gradient1 = curvature(code, prior, rate_p, rate, c, sums)
        move0 = _free(rate[0], limit[0, 0], limit[0, 1], gradient0)
        move1 = _free(rate[1], limit[1, 0], limit[1, 1], gradient1) and code != CLEARANCE_RETENTION
        if not (move0 or move1):
            break
        accepted, step = False, 0.0
        start0, start1 = rate[0], rate[1]
        for _attempt in range(30):
            step0, step1 = _step(sums, gradient0, gradient1, move0, move1, damping)
            trial[0] = min(max(start0 * exp(step0), limit[0, 0]), limit[0, 1])
            trial[1] = min(max(start1 * exp(step1), limit[1, 0]), limit[1, 1])
            if code == UPTAKE_CLEARANCE:
                trial[1] = max(trial[1], trial[0] * (1.0 + APART))
            step = max(abs(log(trial[0] / start0)), abs(log(trial[1] / start1)))
            found = project(value, w, t, code, trial, c, e, sums)
            found += 0.5 * (distance(prior, 0, trial[0], rate_p) + distance(prior, 1, trial[1], rate_p))
            if found < squares or (step < LAST_STEP and found < inf):
                accepted = True
                squares = found
                rate[0], rate[1] = trial[0], trial[1]
                damping = 0.1 * damping if damping > 1e-3 else 0.0
                break
            if step < 0.01 * LAST_STEP:
                break
            damping = max(10.0 * damping, 1e-3)
        if not accepted or step < LAST_STEP:
            break
    squares = project(value, w, t, code, rate, c, e, sums)
    moments(value, w, t, c, e, sums)
    return squares


@part_of_kernel
@no_type_check
def _free(rate, low, high, gradient):
    """A rate on a bound from which S does not fall inwards stays there."""
    return not ((rate <= low and gradient >= 0.0) or (rate >= high and gradient <= 0.0))


@part_of_kernel
@no_type_check
def _step(sums, gradient0, gradient1, move0, move1, damping):
    """-(H + damping diag)⁻¹ gradient over the rates that move, at most 1.5 each; Gauss-Newton where H curves down."""
    scale0, scale1 = max(sums[NORMAL], 1e-300), max(sums[NORMAL + 2], 1e-300)
    a, cross, b = sums[HESSIAN], sums[HESSIAN + 1], sums[HESSIAN + 2]
    newton = (a > 0.0 or not move0) and (b > 0.0 or not move1)
    if move0 and move1:
        newton = newton and a * b - cross * cross > 1e-9 * a * b
    if not newton:
        a, cross, b = sums[NORMAL], sums[NORMAL + 1], sums[NORMAL + 2]
        damping = max(damping, 1e-6)
    a += damping * scale0
    b += damping * scale1
    if not move1:
        step0, step1 = -gradient0 / a, 0.0
    elif not move0:
        step0, step1 = 0.0, -gradient1 / b
    else:
        determinant = max(a * b - cross * cross, 1e-14 * a * b)
        step0 = -(b * gradient0 - cross * gradient1) / determinant
        step1 = -(a * gradient1 - cross * gradient0) / determinant
    longest = max(abs(step0), abs(step1))
    shorten = 1.5 / longest if longest > 1.5 else 1.0
    return step0 * shorten, step1 * shorten
