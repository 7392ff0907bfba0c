"""The least squares of an organ's curve: descents by lmfit from a few coarse minima, amplitudes by NNLS."""

from itertools import combinations_with_replacement

import lmfit
import numpy as np
from scipy.optimize import nnls

from dosimetry.kinetics.models import Model
from nufitdose.types import F64

START_RATES = {1: 48, 2: 32, 3: 14}  # values tried of each rate before the descent, by number of free rates
STARTS = 3


def least_squares(shape: Model, t: F64, y: F64, sigma: F64, rate_p: float) -> tuple[F64, F64]:
    """Amplitudes A_k and rates λ_j of the least squares: the best descent by lmfit from a few coarse minima."""
    bounds = shape.bounds(t, rate_p)
    found = []
    for rates in starts(shape, t, y, sigma, bounds):
        if shape.free_rates and (amplitudes_at(shape, t, y, sigma, rates)[0] > 0).any():
            rates = _descend(shape, t, y, sigma, bounds, rates)  # noqa: PLW2901
        amplitudes, misfit = amplitudes_at(shape, t, y, sigma, rates)
        found.append((misfit, amplitudes, rates))
    _, amplitudes, rates = min(found, key=lambda candidate: candidate[0])
    return amplitudes, rates


def _descend(shape: Model, t: F64, y: F64, sigma: F64, bounds: F64, rates: F64) -> F64:
    """Rates of the local minimum below `rates`, all parameters free within their bounds."""
    amplitudes, _ = amplitudes_at(shape, t, y, sigma, rates)
    scale = float(np.abs(amplitudes).max())
    parameters = lmfit.Parameters()
    for k, amplitude in enumerate(amplitudes):
        parameters.add(f"a{k}", value=amplitude / scale, min=0.0)
    for j in shape.free_rates:
        low, high = bounds[j]
        parameters.add(f"rate{j}", value=float(np.clip(rates[j], low, high)), min=low, max=high)

    def rates_of(p: lmfit.Parameters) -> F64:
        return np.array([p[f"rate{j}"].value if j in shape.free_rates else rates[j] for j in range(rates.size)])

    def residual(p: lmfit.Parameters) -> F64:
        a = np.array([p[f"a{k}"].value for k in range(amplitudes.size)])
        return (y / scale - shape.basis(t, rates_of(p)) @ a) * (float(sigma.min()) / sigma)

    tight = {"xtol": 1e-13, "ftol": 1e-13, "gtol": 1e-13, "x_scale": "jac"}
    with np.errstate(invalid="ignore", divide="ignore"):  # lmfit's own correlations, where one rate has no effect
        result = lmfit.minimize(residual, parameters, method="least_squares", nan_policy="raise", **tight)
    found = rates_of(result.params)
    found[list(shape.free_rates)] = [_onto_bound(found[j], *bounds[j]) for j in shape.free_rates]
    return found


def _onto_bound(rate: float, low: float, high: float) -> float:
    """A rate that the descent left within 1e-6 of a bound stands on it."""
    return low if rate <= low * (1 + 1e-6) else high if rate >= high * (1 - 1e-6) else rate


def amplitudes_at(shape: Model, t: F64, y: F64, sigma: F64, rates: F64) -> tuple[F64, float]:
    """A_k >= 0 of the least squares at given rates, and the root of the sum of squares left."""
    found: tuple[F64, float] = nnls(shape.basis(t, rates) / sigma[:, None], y / sigma)
    return found


def starts(shape: Model, t: F64, y: F64, sigma: F64, bounds: F64) -> list[F64]:
    """Rates in increasing order: the best of a coarse grid, and the next best that are no neighbours of it."""
    free = list(shape.free_rates)
    if not free:
        return [bounds[:, 0].copy()]
    steps = np.geomspace(bounds[free, 0].min(), bounds[free, 1].max(), START_RATES[len(free)])
    tried = []
    for chosen in combinations_with_replacement(range(steps.size), len(free)):
        rates = bounds[:, 0].copy()
        rates[free] = np.minimum(steps[list(chosen)], bounds[free, 1])
        tried.append((amplitudes_at(shape, t, y, sigma, rates)[1], chosen, rates))
    tried.sort(key=lambda trial: trial[0])
    kept: list[tuple[float, tuple[int, ...], F64]] = []
    for trial in tried:
        if all(max(abs(i - j) for i, j in zip(trial[1], other[1], strict=True)) > 2 for other in kept):
            kept.append(trial)
        if len(kept) == STARTS:
            break
    return [rates for _, _, rates in kept]
