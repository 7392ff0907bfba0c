"""Time-activity curve of an organ or tumour: constrained least squares by lmfit, with errors and quality flags."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from dosimetry.kinetics.models import LN2, Model, Role, akaike_penalty, check_times, model_named, physical_rate
from dosimetry.kinetics.organ_intervals import Fitted, Intervals, intervals_of
from dosimetry.kinetics.organ_quality import quality_flags, r_squared, residual_flags
from dosimetry.kinetics.organ_solver import least_squares
from dosimetry.kinetics.status import FitStatus
from dosimetry.kinetics.voxel_kernels import rising, rising_share
from nufitdose import kinetics
from nufitdose.types import F64


@dataclass(frozen=True, eq=False)
class OrganFit:
    """The fitted curve f(t) = Σ_j a_j e^(-λ_j t) of one structure and its integral.

    `amplitudes_mbq` a_j at administration, `rates_per_h` λ_j, slowest first; `covariance` [K, K] of the model's
    amplitudes and free rates, NaN where the data leave none to be known; `fitted_mbq` [times] NaN where the value
    was missing too; `chi2` weighted by 1/u² if u was given, otherwise in MBq²; `dof` points less parameters.
    Where `rising_share` s is not 0 (`FitStatus.RISING`, `SLOW`) the exponential is the tail only; before the last
    point the curve is s times the lines through the points and 1 - s times the exponential held at physical decay.
    `before_first_fraction` and `extrapolated_fraction` are the shares of Ã before the first and after the last point,
    `u_extrapolated_fraction` the standard uncertainty of the latter, NaN where the tail follows a rule.
    `r_squared` is the share of the points' variation that the curve explains, NaN without degrees of freedom;
    `intervals` are confidence intervals where they were asked for and the curve is a fit, not a rule.
    """

    model: str
    status: FitStatus
    times_h: F64
    activity_mbq: F64
    amplitudes_mbq: F64
    rates_per_h: F64
    covariance: F64
    fitted_mbq: F64
    tia_mbq_h: float
    u_tia_mbq_h: float
    u_teff_h: float
    chi2: float
    aicc: float
    dof: int
    before_first_fraction: float
    extrapolated_fraction: float
    rising_share: float
    flags: tuple[str, ...]
    r_squared: float = float("nan")
    intervals: Intervals | None = None
    u_extrapolated_fraction: float = float("nan")

    @property
    def teff_h(self) -> float:
        """Effective half-life of the last phase, h; NaN without activity."""
        return float(LN2 / self.rates_per_h[0]) if self.rates_per_h.size else float("nan")

    @property
    def amplitude_mbq(self) -> float:
        """Amplitude of the last phase at administration, MBq."""
        return float(self.amplitudes_mbq[0]) if self.rates_per_h.size else 0.0

    @property
    def rate_per_h(self) -> float:
        """Effective decay constant of the last phase, 1/h."""
        return float(self.rates_per_h[0]) if self.rates_per_h.size else float("nan")

    @property
    def correlation(self) -> F64:
        """[K, K] correlations of amplitudes and free rates; NaN for what is held on a bound or not known."""
        u = np.sqrt(np.diag(self.covariance))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.covariance / np.outer(u, u))

    def curve(self, times_h: ArrayLike) -> F64:
        """Fitted activity, MBq, at any times >= 0 h."""
        t = np.asarray(times_h, dtype=np.float64)
        if not self.rates_per_h.size:
            return np.zeros_like(t)
        tail = kinetics.value(self.amplitudes_mbq, self.rates_per_h, t)
        if not self.rising_share:
            return tail
        known = np.isfinite(self.activity_mbq)
        nodes_h = np.concatenate([[0.0], self.times_h[known]])
        nodes_mbq = self.rising_share * np.concatenate([[0.0], self.activity_mbq[known]])
        held = tail - nodes_mbq[-1] * np.exp(-self.rate_per_h * (t - nodes_h[-1]))
        return np.where(t <= nodes_h[-1], np.interp(t, nodes_h, nodes_mbq) + held, tail)


def fit_organ(
    times_h: ArrayLike,
    activity_mbq: ArrayLike,
    half_life_h: float,
    *,
    u_activity_mbq: ArrayLike | float | None = None,
    model: str = "mono",
    intervals: bool = False,
    held_rates_per_h: Mapping[str, float] | None = None,
) -> OrganFit:
    """Fit one structure's activity, MBq at acquisition, at `times_h` after administration, and integrate it.

    Bounds: A_k >= 0, λ_p <= λ_j <= the fastest rate that the times resolve. `u_activity_mbq` (a number or [times])
    gives weights 1/u² and errors that follow from u; without it all points weigh the same and errors follow from the
    residuals, so that there are none without degrees of freedom. NaN is a missing value. One point: physical
    decay; two: mono; activity that rises under "mono": the rule of `FitStatus.RISING`. With `intervals` the 95 %
    confidence intervals of parameters, T_eff and Ã come from profiles, which takes about a second. `held_rates_per_h`
    holds effective rates of the model at given values, such as {"lambda2": 1.3} for the uptake of "f3": they are no
    parameters and have no uncertainty.
    Raises `InputError` for times or a half-life that make no sense or too few points for the model.
    """
    rate_p = physical_rate(half_life_h)
    shape = model_named(model).holding(held_rates_per_h or {}, rate_p)
    t, y, u = _arrays(times_h, activity_mbq, u_activity_mbq)
    check_times(t, rate_p)
    known = np.isfinite(y)
    if not known.any() or (y[known] == 0).all():
        return _without_activity(model, FitStatus.NOTHING, t, y, "no measured activity")
    if known.sum() == 1 and shape.n_parameters > 1:
        shape = Model("mono", ((1,),), (Role.PHYSICAL,), FitStatus.ONE_POINT)
    elif known.sum() < shape.n_parameters:
        shape = model_named("mono")
    sigma = np.ones_like(t) if u is None else u
    weight = np.where(known, sigma**-2.0, 0.0)
    amplitudes, rates = least_squares(shape, t[known], y[known], sigma[known], rate_p)
    if not (amplitudes > 0).any():
        return _without_activity(model, FitStatus.NOT_POSITIVE, t, y, "the best amplitude is not positive")
    fit = _conclude(shape, t, y, weight, u is not None, amplitudes, rates, rate_p)
    if not intervals or fit.rising_share:
        return fit
    points = t[known], y[known], sigma[known], u is not None
    bounds = shape.bounds(t[known], rate_p)
    return replace(fit, intervals=intervals_of(Fitted(shape, *points, amplitudes, rates, bounds, fit.covariance)))


def _arrays(
    times_h: ArrayLike, activity_mbq: ArrayLike, u_activity_mbq: ArrayLike | float | None
) -> tuple[F64, F64, F64 | None]:
    t, y = np.asarray(times_h, dtype=np.float64), np.array(activity_mbq, dtype=np.float64)
    if t.ndim != 1 or t.shape != y.shape:
        raise ValueError(f"times {t.shape} and activity {y.shape} must both be [times]")
    y[~np.isfinite(y)] = np.nan
    order = np.argsort(t)
    if u_activity_mbq is None:
        return t[order], y[order], None
    u = np.broadcast_to(np.asarray(u_activity_mbq, dtype=np.float64), y.shape)
    if not ((u > 0) & np.isfinite(u) | np.isnan(y)).all():
        raise ValueError("uncertainties of activity must be positive and finite wherever there is a measured value")
    return t[order], y[order], u[order]


def _conclude(
    shape: Model, t: F64, y: F64, weight: F64, noise_known: bool, amplitudes: F64, rates: F64, rate_p: float
) -> OrganFit:
    known = weight > 0
    bounds = shape.bounds(t[known], rate_p)
    free = [j for j in shape.free_rates if bounds[j, 0] < rates[j] < bounds[j, 1]]
    fitted = shape.basis(t, rates) @ amplitudes
    residual = np.where(known, y - fitted, 0.0)
    n, k = int(known.sum()), len(shape.mixing) + len(free)
    dof, chi2 = n - k, float((weight * residual**2).sum())
    covariance = _covariance(shape, t, weight, amplitudes, rates, free)
    if not noise_known:
        covariance = covariance * (chi2 / dof if dof > 0 else np.nan)
    gradient = shape.tia_gradient(amplitudes, rates)
    terms = amplitudes @ shape.matrix
    tia = float(kinetics.integral(terms, rates))
    u_tia = float(np.sqrt(gradient @ covariance @ gradient))
    status, flags = _status(shape, rates, bounds, dof, noise_known)
    first, last = t[known][0], t[known][-1]
    before, share = float(kinetics.integral(terms, rates, 0.0, first)), 0.0
    if status is FitStatus.MONO_AT_PHYSICAL and n > 1:
        risen = _risen(t, y, weight, noise_known, rates, amplitudes, rate_p)
        if risen:
            tia, u_tia, terms, share = risen
            before = (1.0 - share) * before + share * 0.5 * float(y[known][0]) * first
            status = FitStatus.RISING if share >= 1.0 else FitStatus.SLOW
            flags = [status.meaning]
    order = np.argsort(rates, kind="stable")
    tail = float(kinetics.integral(terms, rates, last)) / tia
    u_rate = np.zeros(rates.size) if shape.free_rates else np.full(rates.size, np.nan)
    u_rate[list(shape.free_rates)] = np.sqrt(np.diag(covariance))[len(shape.mixing) :]
    flags += quality_flags(shape, amplitudes, rates, covariance, tail, last)
    points = residual[known], weight[known], y[known]
    if not share:
        flags += residual_flags(*points, dof, noise_known)
    fit = OrganFit(
        model=shape.name,
        status=status,
        times_h=t,
        activity_mbq=y,
        amplitudes_mbq=terms[order],
        rates_per_h=rates[order],
        covariance=covariance,
        fitted_mbq=fitted,
        tia_mbq_h=tia,
        u_tia_mbq_h=u_tia,
        u_teff_h=float((u_rate * LN2 / rates**2)[order[0]]),
        chi2=chi2,
        aicc=aicc(n, shape.n_parameters, chi2=chi2) if noise_known else aicc(n, shape.n_parameters + 1, rss=chi2),
        dof=dof,
        before_first_fraction=max(before, 0.0) / tia,
        extrapolated_fraction=tail,
        rising_share=share,
        flags=tuple(flags),
        r_squared=r_squared(*points) if dof > 0 and not share else float("nan"),
        u_extrapolated_fraction=float("nan") if share else _u_tail_share(shape, amplitudes, rates, covariance, last),
    )
    fit.fitted_mbq[:] = np.where(known, fit.curve(t), np.nan)
    return fit


def _u_tail_share(shape: Model, amplitudes: F64, rates: F64, covariance: F64, last_h: float) -> float:
    """u of the share s = Ã(t_n, ∞)/Ã by its gradient, (∇Ã(t_n, ∞) - s ∇Ã)/Ã."""
    terms = amplitudes @ shape.matrix
    whole = float(kinetics.integral(terms, rates))
    share = float(kinetics.integral(terms, rates, last_h)) / whole
    gradient = shape.tia_gradient(amplitudes, rates, last_h) - share * shape.tia_gradient(amplitudes, rates)
    variance = float(gradient @ covariance @ gradient)
    return float(np.sqrt(max(variance, 0.0))) / whole  # NaN stays


def _covariance(shape: Model, t: F64, weight: F64, amplitudes: F64, rates: F64, free: Sequence[int]) -> F64:
    """V = (JᵀWJ)⁻¹ over amplitudes and the rates off their bounds; zero rows for rates on a bound."""
    j = shape.jacobian(t, amplitudes, rates)
    use = [*range(len(shape.mixing)), *(len(shape.mixing) + shape.free_rates.index(f) for f in free)]
    information = j[:, use].T @ (weight[:, None] * j[:, use])
    scale = np.sqrt(np.diag(information))
    scale[scale == 0] = 1.0
    whole = np.zeros((j.shape[1], j.shape[1]))
    whole[np.ix_(use, use)] = np.linalg.pinv(information / np.outer(scale, scale), hermitian=True) / np.outer(
        scale, scale
    )
    return whole


def _status(shape: Model, rates: F64, bounds: F64, dof: int, noise_known: bool) -> tuple[FitStatus, list[str]]:
    status, flags = shape.status, []
    if status is FitStatus.ONE_POINT:
        flags.append("one point: physical decay assumed")
    if status is FitStatus.MONO and not shape.held and rates[0] <= bounds[0, 0]:
        status = FitStatus.MONO_AT_PHYSICAL
    elif status is FitStatus.MONO and not shape.held and rates[0] >= bounds[0, 1]:
        status = FitStatus.MONO_AT_FASTEST
    elif any(not bounds[j, 0] < rates[j] < bounds[j, 1] for j in shape.free_rates):
        flags.append("a decay constant lies on its bound")
    if status in {FitStatus.MONO_AT_PHYSICAL, FitStatus.MONO_AT_FASTEST}:
        flags.append(status.meaning)
    if dof <= 0:
        flags.append(
            "no degrees of freedom: " + ("errors from the given uncertainties" if noise_known else "no fit error")
        )
    return status, flags


def _risen(
    t: F64, y: F64, weight: F64, noise_known: bool, rates: F64, amplitudes: F64, rate_p: float
) -> tuple[float, float, F64, float] | None:
    """Ã, u(Ã), the tail's amplitude and the share of the rule for rising activity, or None where it does not apply."""
    values, known = np.nan_to_num(y), weight > 0
    last = int(np.flatnonzero(known)[-1])
    e = np.exp(-rate_p * (t - t[0]))
    slope = float((weight * (t - t[0]) * e * (values - amplitudes[0] * np.exp(-rate_p * t))).sum())
    share = float(rising_share.py_func(values, weight, t, slope, int(known.sum())))
    if share <= 0.0 or values[last] <= 0.0:
        return None
    mono_weight = float(np.exp(rate_p * t[0]) / rate_p / (weight * e * e).sum())
    tia, variance = rising.py_func(values, weight, e, t, rate_p, mono_weight, share, last)
    if tia <= 0.0:
        return None
    tail = (1.0 - share) * amplitudes + share * values[last] * np.exp(rate_p * t[last])
    return float(tia), float(np.sqrt(variance)) if noise_known else float("nan"), tail, share


def _without_activity(model: str, status: FitStatus, t: F64, y: F64, flag: str) -> OrganFit:
    none = np.empty(0)
    nan = float("nan")
    zero = np.where(np.isfinite(y), 0.0, np.nan)
    return OrganFit(
        model, status, t, y, none, none, np.empty((0, 0)), zero, 0.0, nan, nan, nan, nan, 0, nan, nan, 0.0, (flag,)
    )


def aicc(n: int, k: int, *, chi2: float | None = None, rss: float | None = None) -> float:
    """Corrected Akaike criterion, χ² or N ln(RSS/N), plus 2K + 2K(K+1)/(N-K-1); infinite unless N >= K + 2.

    `k` counts every estimated quantity, the variance included where it is estimated. Burnham & Anderson 2002.
    """
    if n < k + 2:
        return float("inf")
    penalty = float(akaike_penalty(n, k))
    if chi2 is not None:
        return chi2 + penalty
    if rss is None:
        raise ValueError("the criterion needs chi2 (known noise) or rss (estimated noise)")
    return (n * float(np.log(rss / n)) if rss > 0 else -float("inf")) + penalty
