"""Structures that share their rates, such as both kidneys: one set of decay constants, an amplitude for each."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import least_squares

from dosimetry.kinetics.models import LN2, Model, check_times, model_named, physical_rate
from dosimetry.kinetics.organ_fit import OrganFit, fit_organ
from dosimetry.kinetics.organ_solver import amplitudes_at, starts
from nufitdose.errors import InputError
from nufitdose.types import F64

STEP = 1e-4  # of ln λ, for derivatives


def fit_shared(
    times_h: ArrayLike | Mapping[str, ArrayLike],
    activity_mbq: Mapping[str, ArrayLike],
    half_life_h: float,
    *,
    u_activity_mbq: Mapping[str, ArrayLike | float] | None = None,
    model: str = "mono",
) -> dict[str, OrganFit]:
    """Fit structures together with rates in common: for each its `OrganFit` at those rates, by name.

    `times_h` are those of all structures, or [times] for each by name. Without `u_activity_mbq` points weigh as the
    inverse square of the largest value of their structure. u(Ã) is that of the amplitudes and of the shared rates:
    u² = u²(A) + gᵀ V_λ g, g = dÃ/d ln λ with the amplitudes following. A structure with one point takes the shared rate
    of "mono". Points and errors as in `fit_organ`; `InputError` unless all structures together have more points than
    parameters.
    """
    shape, rate_p = model_named(model), physical_rate(half_life_h)
    own_times = {name: times_h[name] if isinstance(times_h, Mapping) else times_h for name in activity_mbq}
    own_u = {name: None if u_activity_mbq is None else u_activity_mbq[name] for name in activity_mbq}
    bounds, points = [], {}
    for name, values in activity_mbq.items():
        t, y, sigma = _sort_points(own_times[name], values, own_u[name])
        check_times(t, rate_p)
        bounds.append(shape.bounds(t, rate_p))
        known = np.isfinite(y)
        if known.sum() >= len(shape.mixing) and (y[known] > 0).any():
            points[name] = t[known], y[known], sigma[known]
    dof = sum(len(y) - len(shape.mixing) for _, y, _ in points.values()) - len(shape.free_rates)
    if dof < 1:
        raise InputError(f"{len(points)} structures have too few points in common for the shared rates of {model}")
    limits = np.min(bounds, axis=0)  # the fastest rate that the times of every structure resolve
    rates, spread = _shared_rates(shape, limits, points, dof if u_activity_mbq is None else None)
    held = {f"lambda{j + 1}": float(rates[j]) for j in shape.free_rates}
    found = {}
    for name, values in activity_mbq.items():
        fit = fit_organ(
            own_times[name], values, half_life_h, u_activity_mbq=own_u[name], model=model, held_rates_per_h=held
        )
        found[name] = _with_spread(fit, shape, points[name], rates, spread) if name in points else fit
    return found


def _sort_points(times_h: ArrayLike, values: ArrayLike, u: ArrayLike | float | None) -> tuple[F64, F64, F64]:
    """Times, activity and weights' σ of one structure in the order of time; σ its largest value where not known."""
    t, y = np.asarray(times_h, dtype=np.float64), np.asarray(values, dtype=np.float64)
    order, largest = np.argsort(t), np.abs(y[np.isfinite(y)]).max(initial=0.0)
    sigma = np.broadcast_to(np.asarray(largest if u is None else u, dtype=np.float64), y.shape)
    return t[order], y[order], sigma[order]


def _shared_rates(
    shape: Model, bounds: F64, points: Mapping[str, tuple[F64, F64, F64]], dof: int | None
) -> tuple[F64, F64]:
    """Rates of the least sum of squares over all structures, and the covariance of the logarithms of the free ones."""
    free = list(shape.free_rates)

    def rates_at(x: F64) -> F64:
        rates = bounds[:, 0].copy()
        rates[free] = np.exp(x)
        return rates

    def residual(x: F64) -> F64:
        rates = rates_at(x)
        return np.concatenate(
            [
                (y - shape.basis(at, rates) @ amplitudes_at(shape, at, y, s, rates)[0]) / s
                for at, y, s in points.values()
            ]
        )

    limits = np.log(bounds[free, 0]), np.log(bounds[free, 1])
    at, y, s = max(points.values(), key=lambda p: float((p[1] / p[2]) @ (p[1] / p[2])))
    begin = [
        np.clip(np.log(rates[free]), limits[0] + 1e-6, limits[1] - 1e-6) for rates in starts(shape, at, y, s, bounds)
    ]
    fits = [least_squares(residual, x, jac="3-point", bounds=limits, xtol=1e-12, ftol=1e-12, gtol=1e-12) for x in begin]
    best = min(fits, key=lambda fit: fit.cost)
    inside = (best.x > limits[0] + 1e-6) & (best.x < limits[1] - 1e-6)
    spread = np.zeros((len(free), len(free)))
    j = np.asarray(best.jac, dtype=np.float64)[:, inside]
    spread[np.ix_(inside, inside)] = np.linalg.pinv(j.T @ j) * (2.0 * best.cost / dof if dof else 1.0)
    return rates_at(best.x), spread


def _with_spread(fit: OrganFit, shape: Model, points: tuple[F64, F64, F64], rates: F64, spread: F64) -> OrganFit:
    """The fit at held rates with what their uncertainty adds to those of Ã and T_eff."""
    if not fit.rates_per_h.size:
        return fit

    def tia(at: F64) -> float:
        return float(amplitudes_at(shape, *points, at)[0] @ shape.matrix @ (1.0 / at))

    gradient = np.empty(len(shape.free_rates))
    for number, j in enumerate(shape.free_rates):
        up, down = (np.where(np.arange(rates.size) == j, rates * np.exp(step), rates) for step in (STEP, -STEP))
        gradient[number] = (tia(up) - tia(down)) / (2.0 * STEP)
    slowest = int(np.argmin(rates))
    u_log = np.sqrt(spread.diagonal()[shape.free_rates.index(slowest)]) if slowest in shape.free_rates else 0.0
    u_tia = float(np.hypot(fit.u_tia_mbq_h, np.sqrt(gradient @ spread @ gradient)))
    return replace(fit, u_tia_mbq_h=u_tia, u_teff_h=float(LN2 / rates[slowest] * u_log))
