"""Curves drawn evenly from the posterior of all models, without chance, and what they say of the integral."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri

from dosimetry.kinetics.marginal import ModelPosterior
from dosimetry.kinetics.models import LN2
from dosimetry.kinetics.priors import CurvePrior
from nufitdose import kinetics
from nufitdose.types import F64

CURVES = 2048
GOLDEN = 0.6180339887498949  # multiples of it fill 0 to 1 evenly, also in step with a sorted sequence


@dataclass(frozen=True, eq=False)
class PosteriorCurves:
    """Equally probable curves: `amplitudes_mbq`, `rates_per_h` [curves, 3]; terms that a curve lacks are 0 and 1/h."""

    amplitudes_mbq: F64
    rates_per_h: F64

    @property
    def tia_mbq_h(self) -> F64:
        """[curves]: Ã of each."""
        return np.asarray(kinetics.integral(self.amplitudes_mbq, self.rates_per_h))

    def activity(self, times_h: ArrayLike) -> F64:
        """[curves, times]: activity, MBq."""
        return kinetics.value(self.amplitudes_mbq, self.rates_per_h, np.asarray(times_h, dtype=np.float64))

    def tail_mbq_h(self, last_h: float) -> F64:
        """[curves]: the integral after the last scan."""
        return np.asarray(kinetics.integral(self.amplitudes_mbq, self.rates_per_h, last_h))

    def tail_at_most_mbq_h(self, last_h: float, rate_p: float) -> F64:
        """[curves]: the same if nothing were cleared after the last scan: λ_bio = 0 for every term but uptake."""
        held = np.where(self.amplitudes_mbq > 0.0, rate_p, self.rates_per_h)
        at_last = self.amplitudes_mbq * np.exp(-self.rates_per_h * last_h)
        return np.asarray((at_last / held).sum(axis=1))

    def before_mbq_h(self, first_h: float) -> F64:
        """[curves]: the integral before the first scan."""
        return np.asarray(kinetics.integral(self.amplitudes_mbq, self.rates_per_h, 0.0, first_h))

    def teff_h(self, last_h: float) -> F64:
        """[curves]: ln 2 Ã(t_n, ∞)/f(t_n), the half-life of the exponential with the same tail."""
        last = np.maximum(self.activity([last_h])[:, 0], 1e-300)
        return np.asarray(LN2 * self.tail_mbq_h(last_h) / last)


def draw_curves(posteriors: Sequence[ModelPosterior], weights: ArrayLike, count: int = CURVES) -> PosteriorCurves:
    """`count` curves from the models by their weights: systematic along sorted Ã, sizes along a golden sequence."""
    used = [(p, float(w)) for p, w in zip(posteriors, np.asarray(weights), strict=True) if w > 0.0]
    probability = np.concatenate([w * normalised(p.log_weights) for p, w in used])
    rho, tia = (np.concatenate([getattr(p, name) for p, _ in used]) for name in ("rho", "tia_of_size"))
    terms = np.concatenate([p.terms for p, _ in used])
    rates = np.concatenate([p.rates_per_h for p, _ in used])
    order = np.argsort(rho * tia, kind="stable")
    edges = np.cumsum(probability[order])
    at = np.searchsorted(edges, (np.arange(count) + 0.5) / count * edges[-1])
    drawn = order[np.minimum(at, order.size - 1)]
    sizes = _sizes(rho[drawn], np.asarray((np.arange(1.0, count + 1) * GOLDEN) % 1.0, dtype=np.float64))
    there = np.isfinite(rates[drawn]) & (terms[drawn] != 0.0)
    drawn_rates = np.where(there, rates[drawn], 1.0)
    per_term = np.where(there, terms[drawn], 0.0)
    amplitudes = per_term * (sizes * tia[drawn] / (per_term / drawn_rates).sum(axis=1))[:, None]
    return PosteriorCurves(amplitudes, drawn_rates)


def normalised(log_weights: F64) -> F64:
    """e^w/Σ e^w."""
    weights = np.exp(log_weights - log_weights.max())
    return np.asarray(weights / weights.sum())


def _sizes(rho: F64, level: F64) -> F64:
    """Quantiles at `level` of normal sizes of mean ρ and deviation 1, cut at 0."""
    below = ndtr(-rho)
    far = rho < -5.0  # the normal tail beyond 0 is then exponential, with rate -ρ
    inner = rho + ndtri(np.clip(below + level * (1.0 - below), 1e-300, 1.0 - 1e-16))
    return np.asarray(np.where(far, -np.log1p(-level) / np.maximum(-rho, 1.0), np.maximum(inner, 0.0)))


def weight_of_models(posteriors: Mapping[str, ModelPosterior], prior: CurvePrior) -> dict[str, float]:
    """w ∝ p e^(ln Z) with the probability p of each model beforehand."""
    before = np.log([prior.weights[name] for name in posteriors])
    weights = normalised(np.array([p.log_evidence for p in posteriors.values()]) + before)
    return dict(zip(posteriors, weights.tolist(), strict=True))


def curve_with_integral(posterior: ModelPosterior, tia_mbq_h: float) -> tuple[F64, F64]:
    """Amplitudes and rates, slowest first, of the most probable curve of a model among those that integrate to Ã.

    Its size follows from Ã, so that the density is that of the cell times that of the size in it, e^(-(s - ρ)²/2).
    """
    size = tia_mbq_h / posterior.tia_of_size
    best = int(np.argmax(posterior.log_weights - 0.5 * (size - posterior.rho) ** 2))
    model = posterior.model
    rates = posterior.rates_per_h[best][np.isfinite(posterior.rates_per_h[best])]
    terms = posterior.terms[best][np.isfinite(posterior.rates_per_h[best])]
    amplitudes = terms * tia_mbq_h / (terms / rates).sum()
    order = np.argsort(rates, kind="stable")
    if rates.size != len(model.roles):
        raise ValueError(f"{model.name} has {len(model.roles)} rates, {rates.size} were found")
    return amplitudes[order], rates[order]
