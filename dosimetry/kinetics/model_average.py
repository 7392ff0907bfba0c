"""The curve of a structure with few scans: models weighed by marginal likelihood, the integral averaged over them.

p(model | points) ∝ p(model) ∫ p(points | size, rates) p(rates), with the probabilities of the prior; Ã, its uncertainty
and its intervals are those of the mixture, so that they hold what the choice of a model leaves open (Hoeting et al.
1999, doi:10.1214/ss/1009212519). Where no model follows the points, their uncertainties are multiplied by Birge's ratio
√(χ²/dof) (Birge 1932, doi:10.1103/PhysRev.40.207).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from dosimetry.kinetics.averaged_curve import ASSUMED_U, AveragedCurve, WeighedModel
from dosimetry.kinetics.marginal import ModelPosterior, model_posterior
from dosimetry.kinetics.models import Model, Role, check_times, model_named, physical_rate
from dosimetry.kinetics.posterior_curves import curve_with_integral, draw_curves, normalised, weight_of_models
from dosimetry.kinetics.priors import WIDE, CurvePrior
from nufitdose.errors import InputError
from nufitdose.types import F64

FEW_SCAN_MODELS = ("mono", "f3", "f3a", "bi", "tri")
LEAST_U = 0.01  # of the largest value: the assumed uncertainty of one that is nearly nothing
REJECTED = 0.05  # probability of χ² below which points scatter more than their uncertainties say
BARELY = 3.0  # ratio of weights not worth more than a mention (Kass & Raftery 1995, doi:10.1080/01621459.1995.10476572)


def average_models(
    times_h: ArrayLike,
    activity_mbq: ArrayLike,
    half_life_h: float,
    *,
    u_activity_mbq: ArrayLike | float | None = None,
    prior: CurvePrior = WIDE,
    models: Sequence[str] = FEW_SCAN_MODELS,
) -> AveragedCurve:
    """Weigh `models` by one to many points, MBq at acquisition, at `times_h` after administration, and average Ã.

    `u_activity_mbq` (a number or [times]) are standard uncertainties independent from scan to scan; without it 5 % are
    assumed, and a flag says so. NaN is a missing value. Where activity rises, beyond what two values leave open, only
    models with uptake count. `InputError` for times or a half-life that make no sense, or points without activity.
    """
    rate_p = physical_rate(half_life_h)
    t, y, sigma = _points(times_h, activity_mbq, u_activity_mbq)
    check_times(t, rate_p)
    allowed = _allowed([model_named(name) for name in models], y, sigma)
    posteriors = {m.name: model_posterior(m, t, y, sigma, rate_p, prior) for m in allowed}
    birge = _birge_ratio(posteriors, t.size)
    if birge > 1.0:
        posteriors = {m.name: model_posterior(m, t, y, birge * sigma, rate_p, prior) for m in allowed}
    weights = weight_of_models(posteriors, prior)
    best = _leading(weights)
    curves = draw_curves(list(posteriors.values()), list(weights.values()))
    amplitudes, rates = curve_with_integral(posteriors[best], float(np.median(curves.tia_mbq_h)))
    return AveragedCurve(
        best=best,
        models={name: _weighed(p, weights[name], birge) for name, p in posteriors.items()},
        prior=prior,
        half_life_h=half_life_h,
        times_h=t,
        activity_mbq=y,
        u_activity_mbq=birge * sigma,
        u_assumed=u_activity_mbq is None,
        birge_ratio=birge,
        amplitudes_mbq=amplitudes,
        rates_per_h=rates,
        curves=curves,
    )


def _points(times_h: ArrayLike, activity_mbq: ArrayLike, u: ArrayLike | float | None) -> tuple[F64, F64, F64]:
    """Measured points in order of time, with their standard uncertainties."""
    t, y = np.asarray(times_h, dtype=np.float64), np.array(activity_mbq, dtype=np.float64)
    if t.ndim != 1 or t.shape != y.shape:
        raise ValueError(f"times {t.shape} and activity {y.shape} must both be [times]")
    known = np.isfinite(y)
    if not (y[known] > 0).any():
        raise InputError(
            "a structure has no activity at any scan, wanted at least one positive value",
            remedy="Check that the structure lies where it was drawn",
        )
    assumed = np.maximum(ASSUMED_U * np.abs(y), LEAST_U * float(np.abs(y[known]).max()))
    sigma = np.array(np.broadcast_to(assumed if u is None else np.asarray(u, dtype=np.float64), y.shape))
    if not (np.isfinite(sigma[known]) & (sigma[known] > 0)).all():
        raise ValueError("uncertainties of activity must be positive and finite wherever there is a measured value")
    order = np.flatnonzero(known)[np.argsort(t[known], kind="stable")]
    return t[order], y[order], sigma[order]


def _allowed(models: Sequence[Model], y: F64, sigma: F64) -> list[Model]:
    """All models, or those with uptake where the largest value exceeds an earlier one by more than both leave open."""
    if not models:
        raise InputError("no models were given to choose from")
    taking_up = [m for m in models if Role.UPTAKE in m.roles]
    top = int(np.argmax(y))
    rises = (y[top] - y[:top] > np.hypot(sigma[top], sigma[:top])).any()
    return taking_up if rises and taking_up else list(models)


def _birge_ratio(posteriors: Mapping[str, ModelPosterior], points: int) -> float:
    """√(χ²/dof) of the model that the points reject least, 1 unless all are rejected; dof is at least 1."""
    dof = np.array([max(points - p.model.n_parameters, 1) for p in posteriors.values()])
    chi2 = np.array([p.chi2 for p in posteriors.values()])
    chance = np.asarray(stats.chi2.sf(chi2, dof), dtype=np.float64)
    best = int(np.argmax(chance))
    return float(np.sqrt(chi2[best] / dof[best])) if chance[best] < REJECTED else 1.0


def _weighed(posterior: ModelPosterior, weight: float, birge: float) -> WeighedModel:
    """Mean and deviation of a model's own Ã: over its shapes, and of the size of each; and the curve of that mean."""
    shape = normalised(posterior.log_weights)
    mean = float(shape @ (posterior.rho * posterior.tia_of_size))
    square = float(shape @ ((posterior.rho**2 + 1.0) * posterior.tia_of_size**2))
    u = float(np.sqrt(max(square - mean**2, 0.0)))
    curve = curve_with_integral(posterior, mean)
    return WeighedModel(weight, posterior.log_evidence, posterior.chi2 * birge**2, mean, u, *curve)


def _leading(weights: Mapping[str, float]) -> str:
    """The simplest model whose weight is within a factor `BARELY` of the largest."""
    near = [name for name, weight in weights.items() if weight * BARELY >= max(weights.values())]
    return min(near, key=lambda name: (model_named(name).n_parameters, -weights[name]))
