"""Confidence intervals of an organ's curve from the profile of its sum of squares (lmfit `conf_interval`).

The interval of a quantity holds the values at which the best of the other parameters raises χ² by less than the level's
quantile: of χ² with one degree of freedom where σ is known, of F(1, n - K) times χ²/(n - K) where it is not.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import lmfit
import numpy as np
from scipy import stats

from dosimetry.kinetics.models import LN2, Model
from nufitdose.types import F64

LEVEL = 0.95
UNBOUNDED = (float("nan"), float("nan"))
Pair = tuple[float, float]


class IntervalMethod(StrEnum):
    """How intervals were found: by profile, by covariance where no profile exists, by redrawn points, or not at all.

    `POSTERIOR`: those of a curve that is averaged over models.
    """

    PROFILE = "profile"
    COVARIANCE = "covariance"
    BOOTSTRAP = "bootstrap"
    POSTERIOR = "posterior"
    NONE = "none"


@dataclass(frozen=True)
class Intervals:
    """Confidence intervals (low, high) at `level`; NaN where the data do not bound a side.

    `parameters` are the amplitudes `A1`, ... MBq and free rates `lambda1`, ... 1/h in the order of the covariance;
    `teff_h` belongs to the last phase. A side that a bound of the model closes is that bound.
    """

    level: float
    method: IntervalMethod
    tia_mbq_h: Pair
    teff_h: Pair
    parameters: Mapping[str, Pair]


@dataclass(frozen=True, eq=False)
class Fitted:
    """A curve at its least squares: points, σ (1 where not `noise_known`), parameters, bounds of λ, covariance."""

    shape: Model
    times_h: F64
    activity: F64
    sigma: F64
    noise_known: bool
    amplitudes: F64
    rates: F64
    bounds: F64
    covariance: F64

    @property
    def free(self) -> list[int]:
        """The rates off their bounds."""
        return [j for j in self.shape.free_rates if self.bounds[j, 0] < self.rates[j] < self.bounds[j, 1]]

    @property
    def tia(self) -> float:
        """Ã = Σ_k A_k Σ_j M_kj/λ_j."""
        return float(self.amplitudes @ self.shape.matrix @ (1.0 / self.rates))

    @property
    def u_tia(self) -> float:
        """√(gᵀVg)."""
        gradient = self.shape.tia_gradient(self.amplitudes, self.rates)
        return float(np.sqrt(gradient @ self.covariance @ gradient))


def intervals_of(fitted: Fitted, level: float = LEVEL) -> Intervals:
    """Profile intervals; from the covariance where a profile fails or there is but one parameter; else none, as NaN."""
    dof = fitted.times_h.size - fitted.amplitudes.size - len(fitted.free)
    linear = _linear(fitted, level, dof)
    if linear.method is IntervalMethod.NONE or fitted.amplitudes.size + len(fitted.free) < 2:
        return linear
    try:
        plain = _profile(fitted, level, by_integral=False)
        tia = _profile(fitted, level, by_integral=True)["tia"]
    except (lmfit.minimizer.MinimizerException, ValueError, ArithmeticError, np.linalg.LinAlgError):
        return linear
    found = {name: plain.get(name, pair) for name, pair in linear.parameters.items()}
    return Intervals(level, IntervalMethod.PROFILE, tia, _teff(fitted, found), found)


def _profile(fitted: Fitted, level: float, *, by_integral: bool) -> dict[str, Pair]:
    """Intervals of amplitudes and rates; or of Ã, which then stands for the amplitude that gives most of it.

    Parameters are relative to the fit: amplitudes to the largest, rates as ln(λ/λ_fit), Ã to that of the fit.
    """
    shape, scale = fitted.shape, float(fitted.amplitudes.max())
    per_amplitude = shape.matrix @ (1.0 / fitted.rates)
    replaced = int(np.argmax(fitted.amplitudes * per_amplitude)) if by_integral else -1
    parameters = lmfit.Parameters()
    for k, amplitude in enumerate(fitted.amplitudes):
        if k == replaced:
            parameters.add("tia", value=1.0)
        else:
            parameters.add(f"A{k + 1}", value=amplitude / scale, min=0.0, vary=bool(amplitude > 0))
    for j in fitted.free:
        low, high = np.log(fitted.bounds[j] / fitted.rates[j])
        parameters.add(f"lambda{j + 1}", value=0.0, min=low, max=high)

    def residual(p: lmfit.Parameters) -> F64:
        rates = fitted.rates.copy()
        for j in fitted.free:
            rates[j] *= np.exp(p[f"lambda{j + 1}"].value)
        a = np.array([0.0 if k == replaced else scale * p[f"A{k + 1}"].value for k in range(fitted.amplitudes.size)])
        if by_integral:
            c = shape.matrix @ (1.0 / rates)
            a[replaced] = (fitted.tia * p["tia"].value - c @ a) / c[replaced]
        return (fitted.activity - shape.basis(fitted.times_h, rates) @ a) / fitted.sigma

    minimizer = lmfit.Minimizer(residual, parameters, scale_covar=not fitted.noise_known)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # lmfit tells of bounds that a profile meets; they are the answer here
        result = minimizer.minimize(method="leastsq")
        minimizer.calc_covar = False  # of no use along the profile
        names = ["tia"] if by_integral else [name for name, p in parameters.items() if p.vary]
        ratio = _probability(fitted.noise_known)
        found = lmfit.conf_interval(minimizer, result, p_names=names, sigmas=[level], prob_func=ratio)
    return {name: _in_units(fitted, name, values[0][1], values[-1][1], scale) for name, values in found.items()}


def _probability(noise_known: bool) -> Callable[..., float] | None:
    """Probability of a fit with one parameter held: by χ² where σ is known, otherwise by lmfit's own F-test."""
    return (lambda best, held: float(stats.chi2.cdf(held.chisqr - best.chisqr, 1))) if noise_known else None


def _in_units(fitted: Fitted, name: str, low: float, high: float, scale: float) -> Pair:
    """From relative to physical values; an infinite side is that of the bound, or unknown."""
    low, high = (float(x) if np.isfinite(x) else float("nan") for x in (low, high))
    if name == "tia":
        return fitted.tia * low, fitted.tia * high
    if name.startswith("A"):
        return scale * float(np.nan_to_num(low)), scale * high
    j = int(name.removeprefix("lambda")) - 1
    ends = np.where(np.isnan([low, high]), fitted.bounds[j], fitted.rates[j] * np.exp([low, high]))
    return float(ends[0]), float(ends[1])


def _linear(fitted: Fitted, level: float, dof: int) -> Intervals:
    """Value ± quantile · u within the bounds: normal where σ is known, otherwise Student's with n - K."""
    names = [f"A{k + 1}" for k in range(fitted.amplitudes.size)] + [f"lambda{j + 1}" for j in fitted.shape.free_rates]
    if not fitted.noise_known and dof <= 0:
        return Intervals(level, IntervalMethod.NONE, UNBOUNDED, UNBOUNDED, dict.fromkeys(names, UNBOUNDED))
    quantile = stats.norm.ppf(0.5 + 0.5 * level) if fitted.noise_known else stats.t.ppf(0.5 + 0.5 * level, dof)
    values = np.concatenate([fitted.amplitudes, fitted.rates[list(fitted.shape.free_rates)]])
    width = quantile * np.sqrt(np.diag(fitted.covariance))
    limits = np.vstack(
        [np.tile([0.0, np.inf], (fitted.amplitudes.size, 1)), fitted.bounds[list(fitted.shape.free_rates)]]
    )
    low, high = np.maximum(values - width, limits[:, 0]), np.minimum(values + width, limits[:, 1])
    found = {name: (float(a), float(b)) for name, a, b in zip(names, low, high, strict=True)}
    tia = (max(fitted.tia - quantile * fitted.u_tia, 0.0), fitted.tia + quantile * fitted.u_tia)
    return Intervals(level, IntervalMethod.COVARIANCE, (float(tia[0]), float(tia[1])), _teff(fitted, found), found)


def _teff(fitted: Fitted, parameters: Mapping[str, Pair]) -> Pair:
    """T_eff = ln 2/λ of the slowest rate; a rate that is not fitted has no width."""
    slowest = int(np.argmin(fitted.rates))
    own = (float(fitted.rates[slowest]),) * 2
    low, high = parameters.get(f"lambda{slowest + 1}", own)
    return LN2 / high, LN2 / low
