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

from dosimetry.kinetics.exponential import decay
from dosimetry.kinetics.models import LN2, POINTS_HALF_LIVES, START_HALF_LIVES
from dosimetry.kinetics.status import FitStatus
from dosimetry.kinetics.voxel_results import ROWS
from nufitdose.compiled import compiled, part_of_kernel

BLOCK = 128  # voxels handled together; their scratch stays in the first-level cache
MAX_STEPS = 60
TOLERANCE = 1e-4  # relative step in λ that is the last one: its error is the square, and the sums follow it by Taylor

# Compiled code reads plain numbers: the codes of the enum, and the rows of the results.
NOTHING, NOT_POSITIVE, MONO = int(FitStatus.NOTHING), int(FitStatus.NOT_POSITIVE), int(FitStatus.MONO)
AT_PHYSICAL, AT_FASTEST = int(FitStatus.MONO_AT_PHYSICAL), int(FitStatus.MONO_AT_FASTEST)
ONE_POINT, RISING, SLOW = int(FitStatus.ONE_POINT), int(FitStatus.RISING), int(FitStatus.SLOW)
TIA, U_TIA, TEFF, AMPLITUDE, RMSE, BEFORE, EXTRAPOLATED = range(len(ROWS))
N_RESULTS = len(ROWS)
# Scratch is one-dimensional, a row of BLOCK voxels behind the other; these are where the rows begin.
N0, N1, N2, D0, D1, D2, D3 = range(0, 7 * BLOCK, BLOCK)  # sums N_k = Σ w y τ^k e and D_k = Σ w τ^k e²
COUNT, FIRST, LAST, GAP, FASTEST, RATE, BEST, BEST_D = range(0, 8 * BLOCK, BLOCK)  # points, times, bound, λ, N² and D
ORIGIN, LOW, HIGH, STEP = range(0, 4 * BLOCK, BLOCK)  # the search for λ


@compiled
@no_type_check
def fit_mono(y, weight, t, rate_p, grid, noise_known, out, status):
    """Fit y[times, voxels] (NaN: missing) with weights [times, 1 or voxels]; results go to out[7, voxels] and status.

    `out` has the rows of `VoxelFit`: Ã, u(Ã), T_eff, amplitude, root mean square, shares before and after.

    `t` are the times in h, `rate_p` the physical decay constant, `grid` increasing rates from `rate_p` upwards.
    With `noise_known` the weights are 1/σ²; without it they are relative and σ² comes from the residuals.
    """
    n_voxels = y.shape[1]
    tau = np.empty(t.size)
    for i in range(t.size):
        tau[i] = t[i] - t[0]
    table = np.empty((grid.size, t.size))
    for k in range(grid.size):
        for i in range(t.size):
            table[k, i] = exp(-grid[k] * tau[i])
    rows = t.size * BLOCK
    value, w, wy, e = np.empty(rows), np.empty(rows), np.empty(rows), np.empty(rows)
    sums, voxel, search = np.empty(7 * BLOCK), np.empty(8 * BLOCK), np.empty(4 * BLOCK)
    result = np.empty(N_RESULTS * BLOCK)
    own_y, own_w, own_e = np.empty(t.size), np.empty(t.size), np.empty(t.size)
    for start in range(0, n_voxels, BLOCK):
        size = min(BLOCK, n_voxels - start)
        load(y, weight, start, size, t, rate_p, value, w, wy, voxel)
        _search(wy, w, grid, table, sums, voxel)
        _solve(wy, w, tau, rate_p, grid[1] / grid[0], sums, voxel, search, e)
        _inside(value, w, e, sums, voxel, t[0], noise_known, result)
        for b in range(size):
            status[start + b] = MONO
            if voxel[COUNT + b] < 2.0 or not rate_p < voxel[RATE + b] < voxel[FASTEST + b]:
                status[start + b] = _elsewhere(
                    value, w, e, sums, voxel, b, t, rate_p, noise_known, own_y, own_w, own_e, result
                )
        for k in range(N_RESULTS):
            for b in range(size):
                out[k, start + b] = result[k * BLOCK + b]


@part_of_kernel
@no_type_check
def load(y, weight, start, size, t, rate_p, value, w, wy, voxel):
    """Copy one block, a missing value with weight 0; count points and bound λ for those that each voxel has."""
    shared = weight.shape[1] == 1
    for b in range(BLOCK):
        voxel[COUNT + b] = 0.0
        voxel[FIRST + b] = inf
        voxel[LAST + b] = -inf
        voxel[GAP + b] = inf
    for i in range(t.size):
        for b in range(size):
            present = abs(y[i, start + b]) < inf
            value[i * BLOCK + b] = y[i, start + b] if present else 0.0
            w[i * BLOCK + b] = (weight[i, 0] if shared else weight[i, start + b]) if present else 0.0
            voxel[GAP + b] = min(voxel[GAP + b], t[i] - voxel[LAST + b]) if present else voxel[GAP + b]
            voxel[FIRST + b] = min(voxel[FIRST + b], t[i]) if present else voxel[FIRST + b]
            voxel[LAST + b] = t[i] if present else voxel[LAST + b]
            voxel[COUNT + b] += 1.0 if present else 0.0
        for b in range(size, BLOCK):
            value[i * BLOCK + b] = 0.0
            w[i * BLOCK + b] = 0.0
        for b in range(i * BLOCK, (i + 1) * BLOCK):
            wy[b] = w[b] * value[b]
    for b in range(BLOCK):
        limit = min(START_HALF_LIVES / voxel[FIRST + b], POINTS_HALF_LIVES / voxel[GAP + b])
        voxel[FASTEST + b] = rate_p + LN2 * limit


@part_of_kernel
@no_type_check
def _search(wy, w, grid, table, sums, voxel):
    """The grid rate with the largest N²/D among N > 0; BEST stays 0 where no rate has a positive amplitude."""
    for b in range(BLOCK):
        voxel[BEST + b] = 0.0
        voxel[BEST_D + b] = 1.0
        voxel[RATE + b] = grid[0]
    for k in range(grid.size):
        rate = grid[k]
        for b in range(BLOCK):
            sums[N0 + b] = 0.0
            sums[D0 + b] = 1e-300
        for i in range(table.shape[1]):
            e, row = table[k, i], i * BLOCK
            for b in range(BLOCK):
                sums[N0 + b] += wy[row + b] * e
                sums[D0 + b] += w[row + b] * (e * e)
        for b in range(BLOCK):
            positive = max(sums[N0 + b], 0.0)
            better = positive * positive * voxel[BEST_D + b] > voxel[BEST + b] * sums[D0 + b]  # N²/D without dividing
            better &= rate <= voxel[FASTEST + b]
            voxel[BEST + b] = positive * positive if better else voxel[BEST + b]
            voxel[BEST_D + b] = sums[D0 + b] if better else voxel[BEST_D + b]
            voxel[RATE + b] = rate if better else voxel[RATE + b]


@part_of_kernel
@no_type_check
def _solve(wy, w, tau, rate_p, ratio, sums, voxel, search, e):
    """Newton steps on half the slope of ln(N²/D), inside a bracket; leaves e and the sums at the solution.

    slope = -N_1/N_0 + D_1/D_0,  curvature = N_2/N_0 - (N_1/N_0)² - 2 (D_2/D_0 - (D_1/D_0)²).
    """
    for b in range(BLOCK):
        search[ORIGIN + b] = voxel[RATE + b]
        search[LOW + b] = max(voxel[RATE + b] / ratio, rate_p)
        search[HIGH + b] = min(voxel[RATE + b] * ratio, voxel[FASTEST + b])
    for _ in range(MAX_STEPS):
        _sum(wy, w, tau, sums, voxel, e)
        moving = 0
        for b in range(BLOCK):
            rate = voxel[RATE + b]
            mean_n, mean_d = sums[N1 + b] / sums[N0 + b], sums[D1 + b] / sums[D0 + b]
            slope = mean_d - mean_n
            curvature = (
                sums[N2 + b] / sums[N0 + b] - mean_n * mean_n - 2.0 * (sums[D2 + b] / sums[D0 + b] - mean_d * mean_d)
            )
            positive = sums[N0 + b] > 0.0  # N < 0 is beyond a minimum of N²/D: back towards where the search began
            below = (positive & (slope > 0.0)) | (~positive & (rate < search[ORIGIN + b]))
            low = rate if below else search[LOW + b]
            high = search[HIGH + b] if below else rate
            newton = rate - slope / curvature
            inside = positive & (curvature < 0.0) & (newton >= low) & (newton <= high)
            target = newton if inside else 0.5 * (low + high)
            step = target - rate if voxel[BEST + b] > 0.0 else 0.0
            search[LOW + b] = low
            search[HIGH + b] = high
            search[STEP + b] = step
            voxel[RATE + b] = rate + step
            moving += 1 if abs(step) > TOLERANCE * rate else 0
        if moving == 0:
            break
    for b in range(BLOCK):
        h = search[STEP + b]
        sums[N0 + b] += h * (-sums[N1 + b] + 0.5 * h * sums[N2 + b])
        sums[N1 + b] -= h * sums[N2 + b]
        sums[D0 + b] += h * (-2.0 * sums[D1 + b] + 2.0 * h * sums[D2 + b])
        sums[D1 + b] += h * (-2.0 * sums[D2 + b] + 2.0 * h * sums[D3 + b])
        sums[D2 + b] -= 2.0 * h * sums[D3 + b]
    for i in range(tau.size):
        for b in range(BLOCK):
            x = search[STEP + b] * tau[i]
            e[i * BLOCK + b] *= 1.0 - x + 0.5 * x * x


@part_of_kernel
@no_type_check
def _sum(wy, w, tau, sums, voxel, e):
    """e = e^(-λ τ) and the sums N_k, D_k at one rate for each voxel."""
    for b in range(7 * BLOCK):
        sums[b] = 0.0
    for i in range(tau.size):
        x = tau[i]
        row = i * BLOCK
        for b in range(BLOCK):
            f = decay(voxel[RATE + b] * x)
            e[row + b] = f
            n = wy[row + b] * f
            d = w[row + b] * (f * f)
            sums[N0 + b] += n
            sums[D0 + b] += d
            n *= x
            d *= x
            sums[N1 + b] += n
            sums[D1 + b] += d
            d *= x
            sums[N2 + b] += x * n
            sums[D2 + b] += d
            sums[D3 + b] += x * d
    for b in range(BLOCK):
        sums[D0 + b] = max(sums[D0 + b], 1e-300)


@part_of_kernel
@no_type_check
def _inside(value, w, e, sums, voxel, first, noise_known, result):
    """Results of the voxels of a block whose rate lies within its bounds (what it gives for others is replaced).

    V = σ² (JᵀWJ)⁻¹ with J = (e, -a τ e); u² = gᵀVg with g = (1, a (t_1 - 1/λ)) e^(λ t_1)/λ.
    """
    for b in range(BLOCK):
        sums[N1 + b] = 0.0  # from here on the rows of N_1 and N_2 hold Σ r² and Σ w r²
        sums[N2 + b] = 0.0
    for row in range(0, w.size, BLOCK):
        for b in range(BLOCK):
            r = value[row + b] - sums[N0 + b] / sums[D0 + b] * e[row + b]
            r = r if w[row + b] > 0.0 else 0.0
            sums[N1 + b] += r * r
            sums[N2 + b] += w[row + b] * r * r
    for b in range(BLOCK):
        rate, points = voxel[RATE + b], voxel[COUNT + b]
        a = sums[N0 + b] / sums[D0 + b]  # at t_1
        per_a = 1.0 / (decay(rate * first) * rate)
        x = first - 1.0 / rate
        information = sums[D0 + b] * sums[D2 + b] - sums[D1 + b] * sums[D1 + b]
        variance = per_a * per_a * (sums[D2 + b] + 2.0 * x * sums[D1 + b] + x * x * sums[D0 + b]) / information
        free = points - 2.0 if points > 2.0 else nan
        scale = 1.0 if noise_known else sums[N2 + b] / free
        result[TIA * BLOCK + b] = a * per_a
        result[U_TIA * BLOCK + b] = sqrt(variance * scale)
        result[TEFF * BLOCK + b] = LN2 / rate
        result[AMPLITUDE * BLOCK + b] = a * per_a * rate
        result[RMSE * BLOCK + b] = sqrt(sums[N1 + b] / points) + 0.0 * free
        result[BEFORE * BLOCK + b] = 1.0 - decay(rate * voxel[FIRST + b])
        result[EXTRAPOLATED * BLOCK + b] = decay(rate * voxel[LAST + b])


@part_of_kernel
@no_type_check
def _elsewhere(value, w, e, sums, voxel, b, t, rate_p, noise_known, y, weight, f, result):
    """Results and status of a voxel that has one point, no activity, a rate on a bound, or rises."""
    n = int(voxel[COUNT + b])
    first, last = n, n  # any integer: a literal 0 would have `rising` compiled twice
    zero = True
    for i in range(t.size):
        if w[i * BLOCK + b] > 0.0:
            first = i if t[i] == voxel[FIRST + b] else first
            last = i
            zero = zero and value[i * BLOCK + b] == 0.0
    if zero or voxel[BEST + b] <= 0.0:
        for k in range(N_RESULTS):
            result[k * BLOCK + b] = nan
        result[TIA * BLOCK + b], result[AMPLITUDE * BLOCK + b] = 0.0, 0.0
        return NOTHING if zero else NOT_POSITIVE
    rate = voxel[RATE + b]
    a, per_a = sums[N0 + b] / sums[D0 + b], exp(rate * t[0]) / rate
    squares, chi2, slope = sums[N1 + b], sums[N2 + b], 0.0
    variance = per_a * per_a / sums[D0 + b]
    if not noise_known:
        variance *= chi2 / (n - 1) if n > 1 else nan
    rms = sqrt(squares / n) if n > 1 else nan
    total = a * per_a
    code = ONE_POINT if n == 1 else (AT_PHYSICAL if rate <= rate_p else AT_FASTEST)
    tail = total * rate
    early = total * (1.0 - exp(-rate * voxel[FIRST + b]))
    if code == AT_PHYSICAL and value[last * BLOCK + b] > 0.0:
        for i in range(t.size):
            y[i], weight[i], f[i] = value[i * BLOCK + b], w[i * BLOCK + b], e[i * BLOCK + b]
            slope += weight[i] * (t[i] - t[0]) * f[i] * (y[i] - a * f[i])
        share = rising_share(y, weight, t, slope, n)
        if share > 0.0:
            risen, variance_risen = rising(y, weight, f, t, rate_p, per_a / sums[D0 + b], share, last)
            if risen > 0.0:
                total = risen
                variance = variance_risen if noise_known else nan
                tail = (1.0 - share) * tail + share * y[last] * exp(rate_p * t[last])
                early = (1.0 - share) * early + share * y[first] * 0.5 * t[first]
                code = RISING if share >= 1.0 else SLOW
    late = tail * exp(-rate * t[last]) / rate
    result[TIA * BLOCK + b], result[U_TIA * BLOCK + b] = total, sqrt(variance)
    result[TEFF * BLOCK + b], result[AMPLITUDE * BLOCK + b], result[RMSE * BLOCK + b] = LN2 / rate, tail, rms
    result[BEFORE * BLOCK + b], result[EXTRAPOLATED * BLOCK + b] = max(early, 0.0) / total, late / total
    return code


@part_of_kernel
@no_type_check
def rising_share(y, w, t, slope_physical, n):
    """Weight s of the rule for rising activity, 0 to 1, at a fit held at λ_p: s = max(0, 2 R(λ_p)/(R(λ_p) - R(0)) - 1).

    R(λ) = Σ w τ e (y - a e) changes sign where the best exponential lies; R(λ_p) >= 0 at the bound. Where
    R(0) >= 0 not even a constant lies above the late points: the activity rises, s = 1. In between the straight
    line through both gives the rate that the data ask for, λ^ = -λ_p R(0)/(R(λ_p) - R(0)), and s = 1 - 2 λ^/λ_p grows
    from 0 at λ_p/2 to 1 at 0. Two points are taken as they are: 1 where the second is higher, otherwise 0.
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
    if slope_constant >= -1e-12 * abs(sty):
        return 1.0
    return max(2.0 * slope_physical / (slope_physical - slope_constant) - 1.0, 0.0)


@part_of_kernel
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
