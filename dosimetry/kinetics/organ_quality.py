"""What a reader should know of an organ's fit: the rules of quality that raise flags."""

from math import comb

import numpy as np
from scipy import stats

from dosimetry.kinetics.models import LN2, Model
from nufitdose.types import F64

TAIL_WARNING = 0.2  # extrapolated share of TIA from which a flag is raised
TIMES_WARNING = 3.0  # effective half-lives that the last scan should follow administration by
CV_LIMIT, CORRELATION_LIMIT = 0.5, 0.8  # doi:10.1186/s40658-021-00427-x
R_SQUARED_LIMIT = 0.9  # chosen here, not from the literature
CHANCE_LIMIT = 0.05  # probability below which scatter or order of residuals is not taken for chance


def quality_flags(shape: Model, amplitudes: F64, rates: F64, covariance: F64, tail: float, last_h: float) -> list[str]:
    """Parameters that are hardly known or correlated, and a curve that lies largely after the last scan."""
    flags = []
    errors = np.sqrt(np.diag(covariance))
    values = np.concatenate([amplitudes, rates[list(shape.free_rates)]])
    used = errors > 0
    if (errors[used] > CV_LIMIT * np.abs(values[used])).any():
        flags.append(f"a parameter is known to worse than {100.0 * CV_LIMIT:.0f} %")
    correlation = covariance[np.ix_(used, used)] / np.outer(errors[used], errors[used])
    if shape.n_parameters > 2 and (np.abs(correlation[np.triu_indices(used.sum(), 1)]) > CORRELATION_LIMIT).any():
        flags.append(f"two parameters are correlated by more than {CORRELATION_LIMIT}")
    if tail > TAIL_WARNING:
        flags.append(f"{100.0 * tail:.0f} % of the time-integrated activity lies after the last scan")
    if last_h < TIMES_WARNING * LN2 / rates.min():
        flags.append(f"the last scan is earlier than {TIMES_WARNING:.0f} effective half-lives")
    return flags


def residual_flags(residual: F64, weight: F64, activity: F64, dof: int, noise_known: bool) -> list[str]:
    """Points that scatter or order about their curve as chance would not have it; needs degrees of freedom.

    R² below 0.9; with known σ, χ² beyond its 95 % quantile; fewer changes of sign than 5 % of random orders have.
    """
    if dof <= 0:
        return []
    flags = []
    chi2 = float(weight @ residual**2)
    r2 = r_squared(residual, weight, activity)
    if r2 < R_SQUARED_LIMIT:
        flags.append(f"the curve explains {100.0 * max(r2, 0.0):.0f} % of the variation of the points (R²)")
    if noise_known and stats.chi2.sf(chi2, dof) < CHANCE_LIMIT:
        flags.append("the points scatter about the curve more than their uncertainty")
    if chance_of_runs(residual) < CHANCE_LIMIT:
        flags.append("the residuals follow a pattern: the curve has another shape")
    return flags


def r_squared(residual: F64, weight: F64, activity: F64) -> float:
    """R² = 1 - Σ w r²/Σ w (y - ȳ)², ȳ the weighted mean; 0 for points without variation."""
    spread = float(weight @ (activity - np.average(activity, weights=weight)) ** 2)
    return 1.0 - float(weight @ residual**2) / spread if spread > 0 else 0.0


def chance_of_runs(residual: F64) -> float:
    """Probability of as few runs of one sign, or fewer, among random orders of these signs (Wald-Wolfowitz)."""
    above = residual > 0
    m, n = int(above.sum()), int((~above).sum())
    if not m or not n:
        return 1.0
    found = 1 + int((above[1:] != above[:-1]).sum())
    ways = 0
    for runs in range(2, found + 1):
        half, odd = divmod(runs, 2)
        if odd:
            ways += comb(m - 1, half) * comb(n - 1, half - 1) + comb(m - 1, half - 1) * comb(n - 1, half)
        else:
            ways += 2 * comb(m - 1, half - 1) * comb(n - 1, half - 1)
    return ways / comb(m + n, m)
