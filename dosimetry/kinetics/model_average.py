"""The curve of a structure with few scans: models weighed by marginal likelihood, the integral averaged over them.

p(model | points) ∝ p(model) ∫ p(points | size, rates) p(rates), with the probabilities of the prior; Ã, its uncertainty
and its intervals are those of the mixture, so that they hold what the choice of a model leaves open (Hoeting et al.
1999, doi:10.1214/ss/1009212519). Where no model follows the points, their uncertainties are multiplied by Birge's ratio
√(χ²/dof) (Birge 1932, doi:10.1103/PhysRev.40.207).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from dosimetry.kinetics.marginal import ModelPosterior, model_posterior
from dosimetry.kinetics.models import LN2, Model, Role, check_times, model_named, physical_rate
from dosimetry.kinetics.posterior_curves import (
    PosteriorCurves,
    curve_with_integral,
    draw_curves,
    normalised,
    weight_of_models,
)
from dosimetry.kinetics.priors import WIDE, CurvePrior
from dosimetry.kinetics.status import FitStatus
from nufitdose import kinetics
from nufitdose.errors import InputError

F64 = NDArray[np.float64]
Pair = tuple[float, float]
FEW_SCAN_MODELS = ("mono", "f3", "f3a", "bi", "tri")
ASSUMED_U = 0.05  # of each value, where no uncertainty is given
LEAST_U = 0.01  # of the largest value: the assumed uncertainty of one that is nearly nothing
REJECTED = 0.05  # probability of χ² below which points scatter more than their uncertainties say
RED_LIMIT = 0.2  # of Ã: where the 95 % interval reaches further, the number is weak
TAIL_LIMIT = 0.2  # share of Ã after the last scan from which it is told
BARELY = 3.0  # ratio of weights not worth more than a mention (Kass & Raftery 1995, doi:10.1080/01621459.1995.10476572)
PHYSICAL_TAIL = 0.9  # of the physical half-life: an effective one beyond is hardly told from it
UNDECIDED = 0.05  # of Ã: a standard deviation of the models' means from which their choice is told


@dataclass(frozen=True)
class WeighedModel:
    """What one model says: its probability, χ² of its best curve, and its own Ã."""

    weight: float
    log_evidence: float
    chi2: float
    tia_mbq_h: float
    u_tia_mbq_h: float


@dataclass(frozen=True, eq=False)
class AveragedCurve:
    """The curves that agree with a structure's points, and the leading model's that stands for them.

    `tia_mbq_h` is the median of Ã, `tia_mean_mbq_h` the mean, `u_tia_mbq_h` the standard deviation, model choice
    included. `best` is the model of the largest weight, or one of fewer parameters that it hardly surpasses;
    `amplitudes_mbq` and `rates_per_h` (slowest first) are its most probable curve that integrates to `tia_mbq_h`.
    `teff_h` is that of the tail, ln 2 Ã(t_n, ∞)/f(t_n), NaN where `rising`, that is where the last scan saw the most
    activity. `tia_at_most_mbq_h` is Ã if nothing were cleared after the last scan. `u_activity_mbq` [times] holds
    `birge_ratio`, 1 where some model follows the points. `red` is the reason not to rely on the number, "" where there
    is none.
    """

    best: str
    models: Mapping[str, WeighedModel]
    prior: CurvePrior
    times_h: F64
    activity_mbq: F64
    u_activity_mbq: F64
    amplitudes_mbq: F64
    rates_per_h: F64
    fitted_mbq: F64
    tia_mbq_h: float
    tia_mean_mbq_h: float
    u_tia_mbq_h: float
    tia_68_mbq_h: Pair
    tia_95_mbq_h: Pair
    tia_at_most_mbq_h: float
    teff_h: float
    teff_68_h: Pair
    extrapolated_fraction: float
    u_extrapolated_fraction: float
    before_first_fraction: float
    birge_ratio: float
    rising: bool
    flags: tuple[str, ...]
    red: str
    curves: PosteriorCurves

    @property
    def status(self) -> FitStatus:
        """How the structure was fitted: the status of the leading model."""
        return model_named(self.best).status

    def curve(self, times_h: ArrayLike) -> F64:
        """Activity, MBq, of the curve that stands for all, at any times >= 0 h."""
        return kinetics.value(self.amplitudes_mbq, self.rates_per_h, np.asarray(times_h, dtype=np.float64))

    def band_mbq(self, times_h: ArrayLike, level: float = 0.6827) -> tuple[F64, F64]:
        """The interval of activity, MBq, at any times."""
        low, high = np.quantile(self.curves.activity(times_h), [0.5 - level / 2, 0.5 + level / 2], axis=0)
        return low, high


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
    curves = draw_curves(list(posteriors.values()), list(weights.values()))
    weighed = {name: _weighed(p, weights[name], birge) for name, p in posteriors.items()}
    return _summary(t, y, birge * sigma, rate_p, prior, posteriors, weighed, curves, birge, u_activity_mbq is None)


def _points(times_h: ArrayLike, activity_mbq: ArrayLike, u: ArrayLike | float | None) -> tuple[F64, F64, F64]:
    """Measured points in order of time, with their standard uncertainties."""
    t, y = np.asarray(times_h, dtype=np.float64), np.asarray(activity_mbq, dtype=np.float64)
    if t.ndim != 1 or t.shape != y.shape:
        raise ValueError(f"times {t.shape} and activity {y.shape} must both be [times]")
    known = np.isfinite(y)
    if not (y[known] > 0).any():
        raise InputError(
            "a structure has no activity at any scan, wanted at least one positive value",
            remedy="Check that the structure lies where it was drawn",
        )
    assumed = np.maximum(ASSUMED_U * np.abs(y), LEAST_U * float(np.abs(y[known]).max()))
    sigma = np.array(np.broadcast_to(assumed if u is None else u, y.shape), dtype=np.float64)
    if not (np.isfinite(sigma[known]) & (sigma[known] > 0)).all():
        raise ValueError("uncertainties of activity must be positive and finite wherever there is a measured value")
    order = np.flatnonzero(known)[np.argsort(t[known], kind="stable")]
    return t[order], y[order], sigma[order]


def _allowed(models: Sequence[Model], y: F64, sigma: F64) -> list[Model]:
    """All models, or those with uptake where the largest value exceeds an earlier one by more than both leave open."""
    if not models:
        raise InputError("no models were given to choose from")
    taking_up = [m for m in models if Role.UPTAKE in m.roles]
    top = int(y.argmax())
    rises = (y[top] - y[:top] > np.hypot(sigma[top], sigma[:top])).any()
    return taking_up if rises and taking_up else list(models)


def _birge_ratio(posteriors: Mapping[str, ModelPosterior], points: int) -> float:
    """√(χ²/dof) of the model that the points reject least, 1 unless all are rejected; dof is at least 1."""
    dof = np.array([max(points - p.model.n_parameters, 1) for p in posteriors.values()])
    chi2 = np.array([p.chi2 for p in posteriors.values()])
    chance = stats.chi2.sf(chi2, dof)
    best = int(chance.argmax())
    return float(np.sqrt(chi2[best] / dof[best])) if chance[best] < REJECTED else 1.0


def _weighed(posterior: ModelPosterior, weight: float, birge: float) -> WeighedModel:
    """Mean and deviation of a model's own Ã: that of its cells, and of the size within each."""
    cell = normalised(posterior.log_weights)
    mean = float(cell @ (posterior.rho * posterior.tia_of_size))
    square = float(cell @ ((posterior.rho**2 + 1.0) * posterior.tia_of_size**2))
    u = float(np.sqrt(max(square - mean**2, 0.0)))
    return WeighedModel(weight, posterior.log_evidence, posterior.chi2 * birge**2, mean, u)


def _summary(
    t: F64,
    y: F64,
    sigma: F64,
    rate_p: float,
    prior: CurvePrior,
    posteriors: Mapping[str, ModelPosterior],
    weighed: Mapping[str, WeighedModel],
    curves: PosteriorCurves,
    birge: float,
    assumed: bool,
) -> AveragedCurve:
    tia = curves.tia_mbq_h
    low_95, low, median, high, high_95 = (float(q) for q in np.quantile(tia, [0.025, 0.15866, 0.5, 0.84134, 0.975]))
    best = _leading(weighed)
    amplitudes, rates = curve_with_integral(posteriors[best], median)
    tail = curves.tail_mbq_h(t[-1])
    share = tail / tia
    teff_low, teff, teff_high = (float(q) for q in np.quantile(curves.teff_h(t[-1]), [0.15866, 0.5, 0.84134]))
    at_most = float(np.median(tia - tail + curves.tail_at_most_mbq_h(t[-1], rate_p)))
    rising = t.size > 1 and int(y.argmax()) == t.size - 1
    held = rising or teff > PHYSICAL_TAIL * LN2 / rate_p
    flags = _flags(weighed, birge, assumed, held, float(np.median(share)), float(share.std()), at_most)
    reach = max(median - low_95, high_95 - median) / median
    red = _red(reach, birge, rising)
    return AveragedCurve(
        best=best,
        models=weighed,
        prior=prior,
        times_h=t,
        activity_mbq=y,
        u_activity_mbq=sigma,
        amplitudes_mbq=amplitudes,
        rates_per_h=rates,
        fitted_mbq=kinetics.value(amplitudes, rates, t),
        tia_mbq_h=median,
        tia_mean_mbq_h=float(tia.mean()),
        u_tia_mbq_h=float(tia.std()),
        tia_68_mbq_h=(low, high),
        tia_95_mbq_h=(low_95, high_95),
        tia_at_most_mbq_h=at_most,
        teff_h=float("nan") if rising else teff,
        teff_68_h=(teff_low, teff_high),
        extrapolated_fraction=float(np.median(share)),
        u_extrapolated_fraction=float(share.std()),
        before_first_fraction=float(np.median(curves.before_mbq_h(t[0]) / tia)),
        birge_ratio=birge,
        rising=rising,
        flags=flags,
        red=red,
        curves=curves,
    )


def _leading(weighed: Mapping[str, WeighedModel]) -> str:
    """The simplest model whose weight is within a factor `BARELY` of the largest."""
    largest = max(model.weight for model in weighed.values())
    near = [name for name, model in weighed.items() if model.weight * BARELY >= largest]
    return min(near, key=lambda name: (model_named(name).n_parameters, -weighed[name].weight))


def _red(reach: float, birge: float, rising: bool) -> str:
    """Why the number is weak, "" where it is not."""
    if birge > 1.0:
        return "no curve follows the points within their uncertainties"
    if rising:
        return "activity still rises at the last scan: what follows is not measured"
    return f"95 % of the curves that agree with the points reach ± {reach:.0%}" if reach > RED_LIMIT else ""


def _flags(
    weighed: Mapping[str, WeighedModel], birge: float, assumed: bool, held: bool, share: float, u: float, most: float
) -> tuple[str, ...]:
    flags = []
    if assumed:
        flags.append(f"uncertainty of the points assumed: {ASSUMED_U:.0%}")
    if birge > 1.0:
        flags.append(f"χ² rejects every model: uncertainties of the points multiplied by {birge:.2g}")
    means, weights = (np.array([getattr(m, k) for m in weighed.values()]) for k in ("tia_mbq_h", "weight"))
    mean = float(weights @ means)
    if np.sqrt(weights @ (means - mean) ** 2) > UNDECIDED * mean:
        flags.append("the points do not tell the models apart, and their integrals differ")
    if share > TAIL_LIMIT:
        flags.append(f"{share:.0%} ± {u:.0%} of the time-integrated activity lies after the last scan")
    if held:
        flags.append(f"the tail is not told from physical decay: {most:.4g} MBq h, nothing cleared, is an upper bound")
    return tuple(flags)
