"""The marginal likelihood on a grid of rates, compiled: the size of a curve integrated in closed form.

One kernel serves all models: f = s g/|g| with g = (1 - α) e₁ + α e₂ - e₃ at the scans, in units of their σ, where models
without early phase have α = 0 and models without uptake e₃ = 0. For data z = y/σ and a flat prior of s >= 0,

∫ e^(-|z - s g/|g||²/2) ds = √(2π) e^(-(|z|² - ρ²)/2) Φ(ρ),  ρ = z·g/|g|,

and s is then normal with mean ρ and deviation 1, cut at 0.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, untyped-decorator"

from math import erfc, inf, log, sqrt
from typing import no_type_check

import numpy as np

from dosimetry.kinetics.compiled import compiled, part_of_kernel

LOG_WEIGHT, RHO, TIA = range(3)  # rows of the results


@part_of_kernel
@no_type_check
def _log_normal_below(rho):
    """ln Φ(ρ), by its asymptotic form far below 0."""
    if rho > 6.0:
        return 0.0
    if rho < -30.0:
        return -0.5 * rho * rho - log(-rho) - 0.9189385332046727
    return log(0.5 * erfc(-rho / 1.4142135623730951))


@compiled
@no_type_check
def scan_grid(z, slow, early, uptake, shares, ordered, with_uptake, temper, out):
    """Fill `out` [3, slow · early · uptake · shares]: log weight, ρ, Ã of the curve of size s = 1.

    Rows of `slow`, `early` and `uptake` are λ_j, 1/λ_j, the logarithm of the prior weight, then e_j/σ at the scans;
    those of `shares` α and its logarithmic weight. `ordered` asks for e₂ faster than e₁, `with_uptake` for e₃ faster
    than both: what breaks it gets -inf. The likelihood counts to the power `temper`.
    """
    n = z.size
    g = np.empty(n)
    cell = -1
    for a in range(slow.shape[0]):
        for b in range(early.shape[0]):
            for d in range(uptake.shape[0]):
                fastest = early[b, 0] if ordered else slow[a, 0]
                allowed = not (ordered and fastest <= slow[a, 0]) and not (with_uptake and uptake[d, 0] <= fastest)
                rates_prior = slow[a, 2] + early[b, 2] + uptake[d, 2]
                for c in range(shares.shape[0]):
                    cell += 1
                    if not allowed:
                        out[LOG_WEIGHT, cell] = -inf
                        continue
                    share = shares[c, 0]
                    squares, product = 0.0, 0.0
                    for i in range(n):
                        g[i] = (1.0 - share) * slow[a, 3 + i] + share * early[b, 3 + i] - uptake[d, 3 + i]
                        squares += g[i] * g[i]
                        product += g[i] * z[i]
                    if squares <= 0.0:
                        out[LOG_WEIGHT, cell] = -inf
                        continue
                    norm = sqrt(squares)
                    rho = product / norm
                    tia = (1.0 - share) * slow[a, 1] + share * early[b, 1] - uptake[d, 1]
                    log_likelihood = 0.5 * rho * rho + _log_normal_below(rho)
                    out[LOG_WEIGHT, cell] = rates_prior + shares[c, 1] + temper * log_likelihood
                    out[RHO, cell] = rho
                    out[TIA, cell] = tia / norm
