"""One model against few points: its marginal likelihood and its posterior, on a lattice that closes in on the data.

A model is (1 - α) e₁ + α e₂ - e₃ times a size. Rates have the normal priors of `CurvePrior` in ln λ_bio within 4
deviations, the last clearance not faster than the times resolve (`fastest_rate`); ln α/(1 - α) of the part α of the
early phase (bi, tri) has that of `CurvePrior.early_odds`, of the retained part (f3a) its opposite; the size is
integrated in closed form (`marginal_kernel`), the rest over a lattice of evenly spread points. λ_bio >= 0, amplitudes
>= 0 and uptake from 0 hold by construction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import expit, log_ndtr, ndtr

from dosimetry.kinetics.marginal_kernel import weigh_shapes
from dosimetry.kinetics.models import Model, Role, fastest_rate
from dosimetry.kinetics.priors import CurvePrior
from dosimetry.kinetics.rate_prior import RatePrior
from nufitdose.types import F64

REACH = 4.0  # deviations of every coordinate that the lattice covers
DEPTH = 12.0  # log weight below the largest at which a point is left out
FIRST_SIGNAL = 20.0  # |y/σ| up to which the first lattice is dense enough; above, the likelihood is tempered at first
POINTS = {1: 512, 2: 6144, 3: 20480, 4: 40960}  # by the number of coordinates
MOST_LATTICES = 14
SETTLED = 0.8  # a coordinate that keeps this part of its range does not close in any more


@dataclass(frozen=True, eq=False)
class ModelPosterior:
    """The shapes of a model's posterior: log weights (evidence included), rates [shapes, 3], α, ρ and Ã for size 1.

    `rates_per_h` are those of e₁, e₂, e₃, infinite for phases that the model lacks. `log_evidence` omits what is common
    to all models of the same points; `chi2` is the least of all shapes.
    """

    model: Model
    log_evidence: float
    chi2: float
    log_weights: F64
    rates_per_h: F64
    shares: F64
    rho: F64
    tia_of_size: F64

    @property
    def terms(self) -> F64:
        """[shapes, 3]: 1 - α, α, -1 or 0: the amplitudes of e₁, e₂, e₃ but for the size."""
        uptake = -1.0 if Role.UPTAKE in self.model.roles else 0.0
        return np.column_stack([1.0 - self.shares, self.shares, np.full_like(self.shares, uptake)])


def model_posterior(
    model: Model, times_h: F64, activity: F64, sigma: F64, rate_p: float, prior: CurvePrior
) -> ModelPosterior:
    """Marginal likelihood and posterior of `model` for points [times] with standard deviations `sigma`."""
    priors = _priors(model, prior)
    fastest = float(np.log(fastest_rate(times_h, rate_p) - rate_p))
    most = max((fastest - prior.clearance.mean_ln_rate) / prior.clearance.sd_ln_rate, 1.0 - REACH)
    dimensions = sum(p is not None for p in priors) + (len(model.mixing) > 1)
    low, high = np.full(dimensions, -REACH), np.full(dimensions, REACH)
    high[0] = min(REACH, most)
    z = activity / sigma
    temper = min(1.0, (FIRST_SIGNAL / max(float(np.linalg.norm(z)), 1e-300)) ** 2)
    for _ in range(MOST_LATTICES):
        x = low + (high - low) * lattice(dimensions)
        rates, shares = _shapes(model, priors, prior.early_odds, x, rate_p)
        out = np.zeros((3, len(x)))
        weigh_shapes(z, sigma, times_h, rates, shares, priors[1] is not None, out)
        log_prior = -0.5 * (x**2).sum(axis=1) + np.log((high - low) / np.sqrt(2.0 * np.pi)).sum() - np.log(len(x))
        weights = log_prior + temper * out[0]
        near = x[weights > weights.max() - DEPTH]
        margin = (high - low) / len(x) ** (1.0 / dimensions)
        closer = np.maximum(low, near.min(axis=0) - margin), np.minimum(high, near.max(axis=0) + margin)
        if temper == 1.0 and ((closer[1] - closer[0]) > SETTLED * (high - low)).all():
            break
        (low, high), temper = closer, min(1.0, 4.0 * temper)
    return _posterior(model, weights - _log_prior_mass(priors, most), rates, shares, out, float(z @ z))


@lru_cache
def lattice(dimensions: int) -> F64:
    """[points, dimensions] evenly within 0 to 1: multiples of 1/φ, 1/φ² ..., φ^(d+1) = φ + 1 (Roberts' sequence)."""
    phi = 2.0
    for _ in range(60):
        phi = (1.0 + phi) ** (1.0 / (dimensions + 1))
    steps = phi ** -np.arange(1.0, dimensions + 1)
    return np.asarray((0.5 + np.arange(1, POINTS[dimensions] + 1)[:, None] * steps) % 1.0)


def _priors(model: Model, prior: CurvePrior) -> tuple[RatePrior, RatePrior | None, RatePrior | None]:
    """The priors of the model's last clearance, early clearance and uptake; None for what it lacks."""
    clearing = sum(role is Role.CLEARANCE for role in model.roles)
    return prior.clearance, prior.early if clearing > 1 else None, prior.uptake if Role.UPTAKE in model.roles else None


def _shapes(
    model: Model, priors: Sequence[RatePrior | None], early_odds: tuple[float, float], x: F64, rate_p: float
) -> tuple[F64, F64]:
    """Rates [points, 3] and α [points] at the coordinates: deviations of the free rates, then of the odds of α."""
    rates = np.full((len(x), 3), np.inf)
    free = [j for j, p in enumerate(priors) if p is not None]
    for column, j in enumerate(free):
        p = priors[j]
        if p is not None:
            rates[:, j] = rate_p + np.exp(p.mean_ln_rate + p.sd_ln_rate * x[:, column])
    mean, spread = early_odds
    if Role.PHYSICAL in model.roles:
        rates[:, 1] = rate_p
        mean = -mean  # α is then the part that stays
    shares = expit(mean + spread * x[:, len(free)]) if x.shape[1] > len(free) else np.zeros(len(x))
    return rates, shares


def _log_prior_mass(priors: Sequence[RatePrior | None], most: float) -> float:
    """ln of the prior probability that each free rate exceeds the one before, the first up to `most` deviations."""
    first, *others = [p for p in priors if p is not None]
    if not others:
        return float(log_ndtr(most))
    reaches = [p.mean_ln_rate + side * p.sd_ln_rate for p in (first, *others) for side in (-8.0, 8.0)]
    x = np.linspace(min(reaches), max(reaches), 4001)
    below = ndtr(np.minimum((x - first.mean_ln_rate) / first.sd_ln_rate, most))
    for p in others:
        density = np.exp(-0.5 * ((x - p.mean_ln_rate) / p.sd_ln_rate) ** 2) / (p.sd_ln_rate * np.sqrt(2.0 * np.pi))
        below = np.cumsum(below * density) * (x[1] - x[0])
    return float(np.log(below[-1]))


def _posterior(model: Model, weights: F64, rates: F64, shares: F64, out: F64, z_squared: float) -> ModelPosterior:
    top = float(weights.max())
    kept = np.flatnonzero(weights > top - DEPTH)
    return ModelPosterior(
        model,
        log_evidence=top + float(np.log(np.exp(weights - top).sum())),
        chi2=z_squared - float((np.maximum(out[1], 0.0) ** 2).max()),
        log_weights=weights[kept],
        rates_per_h=rates[kept],
        shares=shares[kept],
        rho=out[1, kept],
        tia_of_size=out[2, kept],
    )
