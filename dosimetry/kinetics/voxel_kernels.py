"""The mono-exponential voxel fit by variable projection, compiled: blocks of voxels, no exponential in the search.

For one rate λ the best amplitude has a closed form, a(λ) = N/D with N = Σ w y e, D = Σ w e², e = e^(-λ τ),
τ = t - t_1, and the sum of squares falls as N²/D rises. The search takes N²/D on a grid of rates whose
exponentials are tabulated once, then solves d/dλ ln(N²/D) = 0 between the neighbours of the best one by Newton
steps, halving the bracket wherever a step would leave it.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, untyped-decorator"

from math import exp, inf, nan, sqrt
from typing import no_type_check

import numpy as np

from dosimetry.kinetics.compiled import compiled, decay
from dosimetry.kinetics.models import LN2, POINTS_HALF_LIVES, START_HALF_LIVES

BLOCK = 128  # voxels handled together; their scratch stays in the first-level cache
MAX_STEPS = 60
TOLERANCE = 1e-7  # relative step in λ at which the solution stands (Newton: its error is the square of it)

NOTHING, MONO, AT_PHYSICAL, AT_FASTEST, ONE_POINT, RISING, NOT_POSITIVE = range(7)  # the values of FitStatus


@compiled
@no_type_check
def fit_mono(y, weight, t, rate_p, grid, noise_known, tia, u_tia, teff, amplitude, rmse, extrapolated, status):
    """Fit y[times, voxels] (NaN: missing) with weights [times, 1 or voxels]; results are written into the last seven.

    `t` are the times in h, `rate_p` the physical decay constant, `grid` increasing rates from `rate_p` upwards.
    With `noise_known` the weights are 1/σ²; without it they are relative and σ² comes from the residuals.
    """
    n_times, n_voxels = y.shape
    table = np.empty((grid.size, n_times))
    for k in range(grid.size):
        for i in range(n_times):
            table[k, i] = exp(-grid[k] * (t[i] - t[0]))
    value = np.empty((n_times, BLOCK))
    w = np.empty((n_times, BLOCK))
    wy = np.empty((n_times, BLOCK))
    e = np.empty((n_times, BLOCK))
    sums = np.empty((6, BLOCK))
    rate = np.empty(BLOCK)
    fastest = np.empty(BLOCK)
    best = np.empty(BLOCK)
    for start in range(0, n_voxels, BLOCK):
        stop = min(start + BLOCK, n_voxels)
        _load(y, weight, start, stop, value, w, wy)
        _fastest_rate(w, t, rate_p, fastest)
        _search(w, wy, grid, table, fastest, sums, rate, best)
        _solve(w, wy, t, rate_p, grid, fastest, best, e, sums, rate)
        for b in range(stop - start):
            v = start + b
            tia[v], u_tia[v], teff[v], amplitude[v], rmse[v], extrapolated[v], status[v] = _conclude(
                value[:, b], w[:, b], e[:, b], sums[:, b], t, rate[b], fastest[b], best[b], rate_p, noise_known
            )


@compiled
@no_type_check
def _load(y, weight, start, stop, value, w, wy):
    """Copy one block; a missing value gets weight 0. The rest of the last block is empty."""
    shared = weight.shape[1] == 1
    for i in range(y.shape[0]):
        for b in range(stop - start):
            present = np.isfinite(y[i, start + b])
            value[i, b] = y[i, start + b] if present else 0.0
            w[i, b] = (weight[i, 0] if shared else weight[i, start + b]) if present else 0.0
            wy[i, b] = w[i, b] * value[i, b]
        for b in range(stop - start, BLOCK):
            value[i, b] = w[i, b] = wy[i, b] = 0.0


@compiled
@no_type_check
def _fastest_rate(w, t, rate_p, fastest):
    """The upper bound of λ for the points that each voxel has."""
    for b in range(BLOCK):
        first, last, gap = inf, -inf, inf
        for i in range(t.size):
            if w[i, b] > 0.0:
                gap = min(gap, t[i] - last)
                first = min(first, t[i])
                last = t[i]
        fastest[b] = rate_p + LN2 * min(START_HALF_LIVES / first, POINTS_HALF_LIVES / gap)


@compiled
@no_type_check
def _search(w, wy, grid, table, fastest, sums, rate, best):
    """The grid rate with the largest N²/D among N > 0; `best` stays 0 where no rate has a positive amplitude."""
    numerator, denominator = sums[0], sums[1]
    for b in range(BLOCK):
        best[b] = 0.0
        rate[b] = grid[0]
    for k in range(grid.size):
        for b in range(BLOCK):
            numerator[b] = 0.0
            denominator[b] = 1e-300
        for i in range(w.shape[0]):
            e = table[k, i]
            for b in range(BLOCK):
                numerator[b] += wy[i, b] * e
                denominator[b] += w[i, b] * (e * e)
        for b in range(BLOCK):
            positive = max(numerator[b], 0.0)
            score = positive * positive / denominator[b]
            better = (score > best[b]) & (grid[k] <= fastest[b])
            best[b] = score if better else best[b]
            rate[b] = grid[k] if better else rate[b]


@compiled
@no_type_check
def _solve(w, wy, t, rate_p, grid, fastest, best, e, sums, rate):
    """Newton steps on half the slope of ln(N²/D), inside a bracket; leaves e and the sums at the solution.

    With N_k = Σ w y τ^k e and D_k = Σ w τ^k e²:  slope = -N_1/N + D_1/D,
    curvature = N_2/N - (N_1/N)² - 2 (D_2/D - (D_1/D)²).
    """
    origin, low, high, following = np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK)
    ratio = grid[1] / grid[0]
    for b in range(BLOCK):
        origin[b] = rate[b]
        low[b] = max(rate[b] / ratio, rate_p)
        high[b] = min(rate[b] * ratio, fastest[b])
    n0, n1, n2, d0, d1, d2 = sums[0], sums[1], sums[2], sums[3], sums[4], sums[5]
    for _ in range(MAX_STEPS):
        for b in range(BLOCK):
            n0[b] = n1[b] = n2[b] = d1[b] = d2[b] = 0.0
            d0[b] = 1e-300
        for i in range(t.size):
            tau = t[i] - t[0]
            for b in range(BLOCK):
                f = decay(rate[b] * tau)
                e[i, b] = f
                nf = wy[i, b] * f
                df = w[i, b] * (f * f)
                n0[b] += nf
                d0[b] += df
                n1[b] += tau * nf
                d1[b] += tau * df
                n2[b] += tau * tau * nf
                d2[b] += tau * tau * df
        largest = 0.0
        for b in range(BLOCK):
            mean_n = n1[b] / n0[b]
            mean_d = d1[b] / d0[b]
            slope = mean_d - mean_n
            curvature = n2[b] / n0[b] - mean_n * mean_n - 2.0 * (d2[b] / d0[b] - mean_d * mean_d)
            positive = n0[b] > 0.0  # N < 0 is beyond a minimum of N²/D: back towards where the search began
            below = slope > 0.0 if positive else rate[b] < origin[b]
            low[b] = rate[b] if below else low[b]
            high[b] = high[b] if below else rate[b]
            newton = rate[b] - slope / curvature
            inside = positive & (curvature < 0.0) & (newton >= low[b]) & (newton <= high[b])
            target = newton if inside else 0.5 * (low[b] + high[b])
            step = abs(target - rate[b]) / rate[b] if best[b] > 0.0 else 0.0
            following[b] = target if step > TOLERANCE else rate[b]
            largest = max(largest, step)
        if largest <= TOLERANCE:
            return
        rate[:] = following


@compiled
@no_type_check
def _conclude(y, w, e, sums, t, rate, fastest, best, rate_p, noise_known):
    """TIA, its uncertainty, T_eff, amplitude, rmse, share after the last point and status of one voxel."""
    n, last, zero = 0, 0, True
    for i in range(t.size):
        if w[i] > 0.0:
            n += 1
            last = i
            zero = zero and y[i] == 0.0
    if n == 0 or zero:
        return 0.0, nan, nan, 0.0, nan, nan, NOTHING
    if best <= 0.0:
        return 0.0, nan, nan, 0.0, nan, nan, NOT_POSITIVE
    at_physical = rate <= rate_p * (1.0 + 1e-6)
    if at_physical:
        rate = rate_p
    free = 1 if at_physical or rate >= fastest * (1.0 - 1e-6) else 2
    n0, n1, d0, d1, d2 = sums[0], sums[1], sums[3], sums[4], sums[5]
    a = n0 / d0  # at t_1
    squares, chi2 = 0.0, 0.0
    for i in range(t.size):
        if w[i] > 0.0:
            residual = y[i] - a * e[i]
            squares += residual * residual
            chi2 += w[i] * residual * residual
    back = exp(rate * t[0])
    total = a * back / rate
    per_a = back / rate
    if free == 1:
        variance = per_a * per_a / d0
    else:
        per_rate = total * (t[0] - 1.0 / rate)
        information = d0 * d2 - d1 * d1
        variance = (per_a * per_a * a * a * d2 + 2.0 * per_a * per_rate * a * d1 + per_rate * per_rate * d0) / (
            a * a * information
        )
    if not noise_known:
        variance = variance * chi2 / (n - free) if n > free else nan
    u = sqrt(variance) if variance >= 0.0 else nan
    rms = sqrt(squares / n) if n > free else nan
    a *= back
    code = ONE_POINT if n == 1 else (MONO if free == 2 else (AT_PHYSICAL if at_physical else AT_FASTEST))
    if at_physical and n > 1 and y[last] > 0.0:
        share = rising_share(y, w, t, n1 - n0 / d0 * d1, n)
        if share > 0.0:
            risen, variance_risen = rising(y, w, e, t, rate_p, per_a / d0, share, last)
            if risen > 0.0:
                total = risen
                u = sqrt(variance_risen) if noise_known else nan
                a = (1.0 - share) * a + share * y[last] * exp(rate_p * t[last])
                code = RISING
    return total, u, LN2 / rate, a, rms, a * exp(-rate * t[last]) / rate / total, code


@compiled
@no_type_check
def rising_share(y, w, t, slope_physical, n):
    """Weight of the rule for rising activity, 0 to 1, at a fit held at λ_p.

    R(λ) = Σ w τ e (y - a e) changes sign where the best exponential lies; R(λ_p) >= 0 at the bound. Where
    R(0) >= 0 not even a constant lies above the late points: the activity rises, weight 1. In between the straight
    line through both gives the rate that the data ask for, λ^; the weight grows from 0 at λ_p/2 to 1 at 0. Two
    points are taken as they are: 1 where the second is higher, otherwise 0.
    """
    s, st, sy, sty = 0.0, 0.0, 0.0, 0.0
    for i in range(t.size):
        tau = t[i] - t[0]
        s += w[i]
        st += w[i] * tau
        sy += w[i] * y[i]
        sty += w[i] * tau * y[i]
    slope_constant = sty - st * sy / s
    if n == 2:
        return 1.0 if slope_constant > 1e-12 * abs(sty) else 0.0
    if slope_constant >= 0.0:
        return 1.0
    return max(2.0 * slope_physical / (slope_physical - slope_constant) - 1.0, 0.0)


@compiled
@no_type_check
def rising(y, w, e, t, rate_p, mono_weight, share, last):
    """Ã = (1 - share) Ã_mono + share (y_1 t_1/2 + Σ trapezoids + y_n/λ_p) and its variance; both are linear in y."""
    total, variance = 0.0, 0.0
    previous = 0.0
    for i in range(t.size):
        if w[i] > 0.0:
            following = t[i]
            for j in range(i + 1, t.size):
                if w[j] > 0.0:
                    following = t[j]
                    break
            phase = 0.5 * (following - previous) + (1.0 / rate_p if i == last else 0.0)
            coefficient = (1.0 - share) * mono_weight * w[i] * e[i] + share * phase
            total += coefficient * y[i]
            variance += coefficient * coefficient / w[i]
            previous = t[i]
    return total, variance
