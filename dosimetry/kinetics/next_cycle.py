"""What the curve of one cycle tells of the next: its rates, widened by what changes between cycles, and its models."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dosimetry.kinetics.averaged_curve import AveragedCurve
from dosimetry.kinetics.models import physical_rate
from dosimetry.kinetics.priors import ONE_EARLIER, CurvePrior
from dosimetry.kinetics.rate_prior import RatePrior
from nufitdose.types import F64

LEAST_SHARE = 0.05  # of the curves: a phase that fewer have tells nothing
REMEMBERED = 0.5  # how much of a model's probability is that of the earlier cycle


def next_cycle_prior(earlier: AveragedCurve, *, spread: float = ONE_EARLIER) -> CurvePrior:
    """The prior of the same structure in the next cycle.

    Each rate has mean and deviation of ln λ_bio over the earlier cycle's curves, and `spread`, the factor of one
    standard deviation between cycles, in quadrature; never wider than before. A model is half as probable as it was
    found, half as it was thought beforehand.
    """
    prior, curves = earlier.prior, earlier.curves
    rate_p = physical_rate(earlier.half_life_h)
    told = [
        _told(was, curves.rates_per_h[:, k], curves.amplitudes_mbq[:, k] != 0.0, rate_p, spread)
        for k, was in enumerate((prior.clearance, prior.early, prior.uptake))
    ]
    found = {name: model.weight for name, model in earlier.models.items()}
    weights = {
        name: (1.0 - REMEMBERED) * was + REMEMBERED * found.get(name, 0.0) for name, was in prior.weights.items()
    }
    source = f"the cycle before; {prior.source}"
    return replace(prior, clearance=told[0], early=told[1], uptake=told[2], weights=weights, source=source)


def _told(was: RatePrior, rates: F64, there: NDArray[np.bool_], rate_p: float, spread: float) -> RatePrior:
    """The prior of one rate after the curves that have it; rates held at physical decay do not count."""
    biological = rates[there & (rates > rate_p * (1 + 1e-9))] - rate_p
    if biological.size < LEAST_SHARE * rates.size:
        return was
    ln_rate = np.log(biological)
    sd = float(np.hypot(ln_rate.std(), np.log(spread)))
    return RatePrior(float(ln_rate.mean()), sd) if sd < was.sd_ln_rate else was
