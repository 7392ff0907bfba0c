"""The curves that can be fitted: sums of exponentials whose amplitudes enter linearly.

f(t) = Σ_k A_k Σ_j M_kj e^(-λ_j t),  A_k >= 0,  λ_j = λ_p + λ_bio,j.  Names f2, f3 ... follow
doi:10.1186/s40658-021-00427-x. Every λ_j has a role that says how it is bounded.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike

from dosimetry.kinetics.status import FitStatus
from nufitdose.errors import InputError
from nufitdose.types import F64

LN2 = float(np.log(2.0))
POINTS_HALF_LIVES = 10.0  # biological half-lives between the two closest points, at most
START_HALF_LIVES = 5.0  # clearance half-lives between administration and the first point, at most
UPTAKE_HALF_LIVES = 100.0  # uptake half-lives between administration and the first point, at most
LATEST_HALF_LIVES = 60.0


class Role(Enum):
    """What a rate stands for: free clearance, free uptake (the fastest), or physical decay alone (fixed)."""

    CLEARANCE = "clearance"
    UPTAKE = "uptake"
    PHYSICAL = "physical"


@dataclass(frozen=True)
class Model:
    """One family of curves: `mixing` M [amplitudes, rates], role of each rate, code in maps, rates held at a value."""

    name: str
    mixing: tuple[tuple[int, ...], ...]
    roles: tuple[Role, ...]
    status: FitStatus
    held: Mapping[int, float] = field(default_factory=dict)

    def holding(self, rates_per_h: Mapping[str, float], rate_p: float) -> "Model":
        """This model with rates such as {"lambda2": 1.3} held; `InputError` for unknown ones and such below λ_p."""
        known = {f"lambda{j + 1}": j for j in self.free_rates}
        for name, rate in rates_per_h.items():
            if name not in known or not rate_p <= rate < np.inf:
                raise InputError(
                    f"{name} = {rate} 1/h was to be held in {self.name}, wanted {', '.join(known)} of at least the "
                    f"physical {rate_p:.6g} 1/h"
                )
        return replace(self, held={known[name]: float(rate) for name, rate in rates_per_h.items()})

    @property
    def matrix(self) -> F64:
        """M as an array [amplitudes, rates]."""
        return np.array(self.mixing, dtype=np.float64)

    @property
    def free_rates(self) -> tuple[int, ...]:
        """Indices of the rates that are fitted."""
        return tuple(j for j, role in enumerate(self.roles) if role is not Role.PHYSICAL and j not in self.held)

    @property
    def n_parameters(self) -> int:
        """K: amplitudes and free rates."""
        return len(self.mixing) + len(self.free_rates)

    def basis(self, times_h: F64, rates_per_h: F64) -> F64:
        """[times, amplitudes]: Σ_j M_kj e^(-λ_j t)."""
        return np.exp(-np.outer(times_h, rates_per_h)) @ self.matrix.T

    def jacobian(self, times_h: F64, amplitudes: F64, rates_per_h: F64) -> F64:
        """[times, K]: ∂f/∂A_k = Σ_j M_kj e_j, then ∂f/∂λ_j = -t e_j Σ_k A_k M_kj for the free rates."""
        decays = np.exp(-np.outer(times_h, rates_per_h))
        by_rate = -times_h[:, None] * decays * (amplitudes @ self.matrix)
        return np.hstack([decays @ self.matrix.T, by_rate[:, list(self.free_rates)]])

    def tia_gradient(self, amplitudes: F64, rates_per_h: F64, after_h: float = 0.0) -> F64:
        """[K] of the integral from T = `after_h` on, E_j = e^(-λ_j T).

        ∂Ã/∂A_k = Σ_j M_kj E_j/λ_j, then ∂Ã/∂λ_j = -Σ_k A_k M_kj E_j (1/λ_j² + T/λ_j).
        """
        left = np.exp(-rates_per_h * after_h)
        by_rate = -(amplitudes @ self.matrix) * left * (1.0 / rates_per_h**2 + after_h / rates_per_h)
        return np.concatenate([self.matrix @ (left / rates_per_h), by_rate[list(self.free_rates)]])

    def bounds(self, times_h: F64, rate_p: float) -> F64:
        """[rates, 2]: the least and the largest λ_j for points at these times."""
        clearance = fastest_rate(times_h, rate_p)
        limit = {
            Role.PHYSICAL: rate_p,
            Role.CLEARANCE: clearance,
            Role.UPTAKE: max(rate_p + LN2 * UPTAKE_HALF_LIVES / times_h[0] if times_h[0] > 0 else 0.0, clearance),
        }
        free = [(rate_p, limit[role]) for role in self.roles]
        return np.array([(self.held[j],) * 2 if j in self.held else pair for j, pair in enumerate(free)])


_CLEARANCE, _UPTAKE, _PHYSICAL = Role.CLEARANCE, Role.UPTAKE, Role.PHYSICAL
MODELS: Mapping[str, Model] = {
    model.name: model
    for model in (
        Model("mono", ((1,),), (_CLEARANCE,), FitStatus.MONO),
        Model("f3", ((1, -1),), (_CLEARANCE, _UPTAKE), FitStatus.UPTAKE_CLEARANCE),
        Model("f3a", ((1, 0), (0, 1)), (_CLEARANCE, _PHYSICAL), FitStatus.CLEARANCE_RETENTION),
        Model("bi", ((1, 0), (0, 1)), (_CLEARANCE, _CLEARANCE), FitStatus.BI),
        Model("tri", ((1, 0, -1), (0, 1, -1)), (_CLEARANCE, _CLEARANCE, _UPTAKE), FitStatus.TRI),
    )
}


def model_named(name: str) -> Model:
    """The model of that name; `InputError` lists the known ones."""
    if name not in MODELS:
        raise InputError(f"the model {name!r} was asked for, wanted one of {', '.join(MODELS)}")
    return MODELS[name]


def physical_rate(half_life_h: float) -> float:
    """λ_p = ln 2 / T in 1/h; refused unless T is positive and finite."""
    if not (np.isfinite(half_life_h) and half_life_h > 0):
        raise InputError(f"a physical half-life of {half_life_h} h was given, wanted a positive number of hours")
    return LN2 / float(half_life_h)


def check_times(times_h: F64, rate_p: float) -> None:
    """Refuse scan times [times], increasing, that are missing, negative, equal or long after all activity is gone."""
    if times_h.size == 0:
        raise InputError("no time points were given, at least one is wanted")
    if not np.isfinite(times_h).all() or times_h[0] < 0:
        raise InputError(
            f"scan times of {times_h.tolist()} h after administration were given, wanted 0 h or later",
            remedy="Check the administration time and the acquisition times",
        )
    if (np.diff(times_h) < 1e-3).any():
        raise InputError(f"two scans at one time were given: {times_h.tolist()} h after administration")
    if times_h[-1] * rate_p > LATEST_HALF_LIVES * LN2:
        raise InputError(
            f"the last scan, {times_h[-1]:.1f} h after administration, is more than {LATEST_HALF_LIVES:.0f} "
            f"half-lives of {LN2 / rate_p:.3g} h late: nothing is left to measure",
            remedy="Check that times and half-life are both in hours and that the nuclide is right",
        )


def fastest_rate(times_h: F64, rate_p: float) -> float:
    """Upper bound of a clearance rate for points at these increasing times.

    The biological half-life is held above a tenth of the shortest gap between points (a thousandth of the earlier
    value is left at the later one: the data no longer say how fast it went) and above a fifth of the time of the
    first point (the curve grows at most 32-fold from there back to administration).
    """
    start = START_HALF_LIVES / times_h[0] if times_h[0] > 0 else np.inf
    gap = POINTS_HALF_LIVES / np.diff(times_h).min() if times_h.size > 1 else np.inf
    limit = min(start, gap)
    return rate_p + LN2 * float(limit if np.isfinite(limit) else 1.0)


def akaike_penalty(n: ArrayLike, k: int) -> F64:
    """2K + 2K(K+1)/(N-K-1), what AICc adds for K estimated quantities; infinite unless N >= K + 2."""
    free = np.asarray(n, dtype=np.float64) - k - 1.0
    return np.asarray(np.where(free > 0, 2.0 * k + 2.0 * k * (k + 1) / np.where(free > 0, free, 1.0), np.inf))
