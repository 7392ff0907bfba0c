"""Posterior of one exponential per voxel on a table of rates, compiled: the amplitude is integrated in closed form.

With weights w = 1/σ², N = Σ w y e, D = Σ w e² and a flat prior of the amplitude, the evidence of a rate is
p(y|λ) ∝ e^(N²/(2D)) / √D, and at that rate Ã is normal with mean c N/D and variance c²/D,
c = e^(λ t_1)/λ. Sums over the rates with the prior's weights give mean and variance of Ã.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, untyped-decorator"

from math import nan, sqrt
from typing import no_type_check

import numpy as np

from dosimetry.kinetics.compiled import compiled, decay
from dosimetry.kinetics.models import LN2

BLOCK = 128
NOTHING, NOT_POSITIVE, GUIDED = 0, 6, 11  # the values of FitStatus
MOST, TOTAL, TIA, SQUARE, LOG_RATE, LOG_SQUARE, HEAD, TAIL, RATE = range(0, 9 * BLOCK, BLOCK)  # rows of the sums


@compiled
@no_type_check
def posterior(
    y,
    weight,
    t,
    rates,
    positions,
    log_prior,
    table,
    per_amplitude,
    tia,
    u_tia,
    teff,
    amplitude,
    rmse,
    before,
    extrapolated,
    status,
    spread,
):
    """Fit y[times, voxels] (NaN: missing), weights [times, 1 or voxels] 1/σ², on `rates` λ with `positions` ln λ_bio.

    `table` [rates, times] e^(-λ (t - t_1)), `per_amplitude` [rates] e^(λ t_1)/λ.
    `spread` receives the standard deviation of ln λ_bio; the other results are those of `VoxelFit`.
    """
    n_times, n_voxels = y.shape
    wy, w, evidence = np.zeros(n_times * BLOCK), np.zeros(n_times * BLOCK), np.empty(rates.size * BLOCK)
    number, inverse = np.empty(rates.size * BLOCK), np.empty(rates.size * BLOCK)
    sums = np.empty(9 * BLOCK)
    shared = weight.shape[1] == 1
    for start in range(0, n_voxels, BLOCK):
        size = min(BLOCK, n_voxels - start)
        for i in range(n_times):
            for b in range(size):
                present = abs(y[i, start + b]) < np.inf
                w[i * BLOCK + b] = (weight[i, 0] if shared else weight[i, start + b]) if present else 0.0
                wy[i * BLOCK + b] = w[i * BLOCK + b] * y[i, start + b] if present else 0.0
        for b in range(9 * BLOCK):
            sums[b] = 0.0
        for b in range(BLOCK):
            sums[MOST + b] = -1e300
        for k in range(rates.size):
            row = k * BLOCK
            for b in range(BLOCK):
                number[row + b] = 0.0
                inverse[row + b] = 1e-300
            for i in range(n_times):
                e, at = table[k, i], i * BLOCK
                for b in range(BLOCK):
                    number[row + b] += wy[at + b] * e
                    inverse[row + b] += w[at + b] * (e * e)
            for b in range(BLOCK):
                inverse[row + b] = 1.0 / inverse[row + b]
                evidence[row + b] = 0.5 * number[row + b] * number[row + b] * inverse[row + b] + log_prior[k]
                sums[MOST + b] = max(sums[MOST + b], evidence[row + b])
        for k in range(rates.size):
            row, c, x, rate = k * BLOCK, per_amplitude[k], positions[k], rates[k]
            begun, left = decay(rate * t[0]), decay(rate * t[n_times - 1])
            for b in range(BLOCK):
                p = decay(sums[MOST + b] - evidence[row + b]) * sqrt(inverse[row + b])
                mean = number[row + b] * inverse[row + b] * c
                sums[TOTAL + b] += p
                sums[TIA + b] += p * mean
                sums[SQUARE + b] += p * (mean * mean + c * c * inverse[row + b])
                sums[LOG_RATE + b] += p * x
                sums[LOG_SQUARE + b] += p * x * x
                sums[HEAD + b] += p * mean * begun
                sums[TAIL + b] += p * mean * left
                sums[RATE + b] += p * rate
        for b in range(size):
            v = start + b
            empty, zero, squares, points = True, True, 0.0, 0.0
            first, last = t[-1], t[0]
            total = sums[TOTAL + b]
            mean = sums[TIA + b] / total
            rate = sums[RATE + b] / total
            for i in range(n_times):
                if w[i * BLOCK + b] > 0.0:
                    empty = False
                    zero = zero and y[i, v] == 0.0
                    points += 1.0
                    first, last = min(first, t[i]), max(last, t[i])
                    squares += (y[i, v] - mean * rate * decay(rate * t[i])) ** 2
            if empty or zero or mean <= 0.0:
                tia[v], u_tia[v], teff[v], amplitude[v], rmse[v] = 0.0, nan, nan, 0.0, nan
                before[v], extrapolated[v] = nan, nan
                status[v], spread[v] = NOTHING if empty or zero else NOT_POSITIVE, nan
                continue
            where = sums[LOG_RATE + b] / total
            tia[v], amplitude[v], teff[v] = mean, mean * rate, LN2 / rate
            u_tia[v] = sqrt(max(sums[SQUARE + b] / total - mean * mean, 0.0))
            rmse[v] = sqrt(squares / points) if points > 1.0 else nan
            early, late = sums[HEAD + b], sums[TAIL + b]
            if first > t[0] or last < t[-1]:  # this voxel has no value at the first or the last scan
                early, late = 0.0, 0.0
                for k in range(rates.size):
                    at = k * BLOCK + b
                    p = decay(sums[MOST + b] - evidence[at]) * sqrt(inverse[at])
                    p *= number[at] * inverse[at] * per_amplitude[k]
                    early += p * decay(rates[k] * first)
                    late += p * decay(rates[k] * last)
            before[v] = max(1.0 - early / sums[TIA + b], 0.0)
            extrapolated[v] = late / sums[TIA + b]
            status[v] = GUIDED
            spread[v] = sqrt(max(sums[LOG_SQUARE + b] / total - where * where, 0.0))
