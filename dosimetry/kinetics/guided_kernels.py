"""Posterior of one exponential per voxel on a table of rates, compiled: the amplitude is integrated in closed form.

With weights w = 1/σ², N = Σ w y e, D = Σ w e², e = e^(-λ (t - t_1)), and a flat prior of the activity at the voxel's
first point t_v, the evidence of a rate is p(y|λ) ∝ e^(N²/(2D)) e^(-λ (t_v - t_1)) / √D, and at that rate Ã is normal
with mean c N/D and variance c²/D, c = e^(λ t_1)/λ. Sums over the rates with the prior's weights give mean and variance.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, untyped-decorator"

from math import nan, sqrt
from typing import no_type_check

import numpy as np

from dosimetry.kinetics import voxel_kernels
from dosimetry.kinetics.exponential import decay
from dosimetry.kinetics.models import LN2
from dosimetry.kinetics.status import FitStatus
from dosimetry.kinetics.voxel_kernels import BLOCK, COUNT, FIRST, LAST, NOT_POSITIVE, NOTHING, load
from nufitdose.compiled import compiled, part_of_kernel

GUIDED = int(FitStatus.GUIDED)
MOST, TOTAL, TIA, SQUARE, LOG_RATE, LOG_SQUARE, HEAD, TAIL, RATE = range(0, 9 * BLOCK, BLOCK)  # rows of the sums


@compiled
@no_type_check
def posterior(y, weight, t, rates, positions, log_prior, table, per_amplitude, out, status, spread):
    """Fit y[times, voxels] (NaN: missing), weights [times, 1 or voxels] 1/σ², on `rates` λ with `positions` ln λ_bio.

    `table` [rates, times] e^(-λ (t - t_1)), `per_amplitude` [rates] e^(λ t_1)/λ.
    `spread` receives the standard deviation of ln λ_bio; `out` [7, voxels] and `status` as in `fit_mono`.
    """
    value, w, wy = np.empty(t.size * BLOCK), np.empty(t.size * BLOCK), np.empty(t.size * BLOCK)
    evidence, number, inverse = np.empty(rates.size * BLOCK), np.empty(rates.size * BLOCK), np.empty(rates.size * BLOCK)
    voxel, sums = np.empty(8 * BLOCK), np.empty(9 * BLOCK)
    for start in range(0, y.shape[1], BLOCK):
        size = min(BLOCK, y.shape[1] - start)
        load(y, weight, start, size, t, rates[0], value, w, wy, voxel)
        _weigh(w, wy, voxel, t, rates, log_prior, table, evidence, number, inverse, sums)
        _sum(t, rates, positions, per_amplitude, evidence, number, inverse, sums)
        for b in range(size):
            if voxel[FIRST + b] > t[0] or voxel[LAST + b] < t[t.size - 1]:
                _own_ends(b, voxel, rates, per_amplitude, evidence, number, inverse, sums)
            v = start + b
            status[v], spread[v] = _conclude(b, value, w, voxel, t, sums, out[:, v])


@part_of_kernel
@no_type_check
def _weigh(w, wy, voxel, t, rates, log_prior, table, evidence, number, inverse, sums):
    """N, 1/D and ln(p(y|λ) p(λ) √D) of every rate, the latter's largest into the sums."""
    for b in range(BLOCK):
        sums[MOST + b] = -1e300
    for k in range(rates.size):
        row = k * BLOCK
        for b in range(BLOCK):
            number[row + b] = 0.0
            inverse[row + b] = 1e-300
        for i in range(t.size):
            e, at = table[k, i], i * BLOCK
            for b in range(BLOCK):
                number[row + b] += wy[at + b] * e
                inverse[row + b] += w[at + b] * (e * e)
        for b in range(BLOCK):
            wait = voxel[FIRST + b] - t[0] if voxel[COUNT + b] > 0.0 else 0.0
            inverse[row + b] = 1.0 / inverse[row + b]
            evidence[row + b] = 0.5 * number[row + b] * number[row + b] * inverse[row + b] + log_prior[k]
            evidence[row + b] -= rates[k] * wait
            sums[MOST + b] = max(sums[MOST + b], evidence[row + b])


@part_of_kernel
@no_type_check
def _sum(t, rates, positions, per_amplitude, evidence, number, inverse, sums):
    """Sums over the rates by posterior weight: of 1, Ã, Ã², ln λ_bio, (ln λ_bio)², λ, and Ã after both ends."""
    for b in range(TOTAL, 9 * BLOCK):
        sums[b] = 0.0
    for k in range(rates.size):
        row, c, x, rate = k * BLOCK, per_amplitude[k], positions[k], rates[k]
        begun, left = decay(rate * t[0]), decay(rate * t[t.size - 1])
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


@part_of_kernel
@no_type_check
def _own_ends(b, voxel, rates, per_amplitude, evidence, number, inverse, sums):
    """Ã after the first and after the last point of a voxel that has no value at the first or the last scan."""
    sums[HEAD + b], sums[TAIL + b] = 0.0, 0.0
    for k in range(rates.size):
        at = k * BLOCK + b
        p = decay(sums[MOST + b] - evidence[at]) * sqrt(inverse[at]) * number[at] * inverse[at] * per_amplitude[k]
        sums[HEAD + b] += p * decay(rates[k] * voxel[FIRST + b])
        sums[TAIL + b] += p * decay(rates[k] * voxel[LAST + b])


@part_of_kernel
@no_type_check
def _conclude(b, value, w, voxel, t, sums, row):
    """Results of a voxel, into row[7]; its status, and the deviation of its ln λ_bio."""
    total, points = sums[TOTAL + b], voxel[COUNT + b]
    mean, rate, where = sums[TIA + b] / total, sums[RATE + b] / total, sums[LOG_RATE + b] / total
    zero, squares = True, 0.0
    for i in range(t.size):
        if w[i * BLOCK + b] > 0.0:
            zero = zero and value[i * BLOCK + b] == 0.0
            squares += (value[i * BLOCK + b] - mean * rate * decay(rate * t[i])) ** 2
    if zero or mean <= 0.0:
        for k in range(voxel_kernels.N_RESULTS):
            row[k] = nan
        row[voxel_kernels.TIA], row[voxel_kernels.AMPLITUDE] = 0.0, 0.0
        return NOTHING if zero else NOT_POSITIVE, nan
    row[voxel_kernels.TIA], row[voxel_kernels.TEFF], row[voxel_kernels.AMPLITUDE] = mean, LN2 / rate, mean * rate
    row[voxel_kernels.U_TIA] = sqrt(max(sums[SQUARE + b] / total - mean * mean, 0.0))
    row[voxel_kernels.RMSE] = sqrt(squares / points) if points > 1.0 else nan
    row[voxel_kernels.BEFORE] = max(1.0 - sums[HEAD + b] / sums[TIA + b], 0.0)
    row[voxel_kernels.EXTRAPOLATED] = sums[TAIL + b] / sums[TIA + b]
    return GUIDED, sqrt(max(sums[LOG_SQUARE + b] / total - where * where, 0.0))
