"""One model against few points: its marginal likelihood and its posterior, exact on a grid that closes in on the data.

A model is (1 - α) e₁ + α e₂ - e₃ times a size: rates have the normal priors of `CurvePrior` in ln λ_bio, within 4
deviations; α, the part of the early phase (bi, tri) or of the retained one (f3a), is uniform within 0 to 1; the size is
integrated in closed form (`marginal_kernel`). λ_bio >= 0, amplitudes >= 0 and uptake from 0 hold by construction.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from dosimetry.kinetics.marginal_kernel import LOG_WEIGHT, RHO, TIA, scan_grid
from dosimetry.kinetics.models import Model, Role
from dosimetry.kinetics.priors import CurvePrior
from dosimetry.kinetics.rate_prior import RatePrior

F64 = NDArray[np.float64]
REACH = 4.0  # deviations of ln λ_bio that the grid covers
DEPTH = 12.0  # log weight below the largest at which a cell is left out
FIRST_SIGNAL = 20.0  # |y/σ| up to which the first grid is sharp enough; above, the likelihood is tempered at first
CELLS = {1: 512, 2: 96, 3: 28, 4: 16}  # per axis, by the number of axes
MOST_GRIDS = 14
SETTLED = 0.8  # an axis that keeps this part of its range does not close in any more


@dataclass(frozen=True, eq=False)
class ModelPosterior:
    """The cells of a model's posterior: log weights (evidence included), rates [cells, 3], α, ρ and Ã for size 1.

    `rates_per_h` are those of e₁, e₂, e₃; columns of phases that the model lacks are infinite. `log_evidence` omits what is
    common to all models of the same points; `chi2` is the least on the grid.
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
        """[cells, 3]: 1 - α, α, -1 or 0: the amplitudes of e₁, e₂, e₃ but for the size."""
        uptake = -1.0 if Role.UPTAKE in self.model.roles else 0.0
        return np.column_stack([1.0 - self.shares, self.shares, np.full_like(self.shares, uptake)])


@dataclass(frozen=True)
class _Axis:
    """The range of one coordinate: deviations of ln λ_bio, or α."""

    low: float
    high: float

    def centres(self, cells: int) -> F64:
        return self.low + (np.arange(cells) + 0.5) * self.width(cells)

    def width(self, cells: int) -> float:
        return (self.high - self.low) / cells

    def narrowed(self, profile: F64, depth: float) -> "_Axis":
        """The range of the cells whose best log weight lies within `depth` of the largest, and a cell on each side."""
        kept = np.flatnonzero(profile >= profile.max() - depth)
        step = self.width(profile.size)
        low = max(self.low, self.low + (kept[0] - 1) * step)
        return _Axis(low, min(self.high, self.low + (kept[-1] + 2) * step))


def model_posterior(
    model: Model, times_h: F64, activity: F64, sigma: F64, rate_p: float, prior: CurvePrior
) -> ModelPosterior:
    """Marginal likelihood and posterior of `model` for points [times] with standard deviations `sigma`."""
    priors = _priors(model, prior)
    axes = [_Axis(-REACH, REACH)] * sum(p is not None for p in priors)
    has_share = len(model.matrix) > 1
    if has_share:
        axes.append(_Axis(0.0, 1.0))
    cells = CELLS[len(axes)]
    z = activity / sigma
    temper = min(1.0, (FIRST_SIGNAL / max(float(np.linalg.norm(z)), 1e-300)) ** 2)
    for _ in range(MOST_GRIDS):
        grid = _Grid(model, priors, axes, has_share, cells, times_h, sigma, rate_p)
        out = grid.weigh(z, temper)
        weights = out[LOG_WEIGHT].reshape(grid.shape)
        used = [k for k, size in enumerate(grid.shape) if size > 1]
        profiles = [weights.max(axis=tuple(j for j in range(4) if j != k)) for k in used]
        closer = [axis.narrowed(profile, DEPTH) for axis, profile in zip(axes, profiles, strict=True)]
        shrink = min((new.high - new.low) / (old.high - old.low) for new, old in zip(closer, axes, strict=True))
        if temper == 1.0 and shrink > SETTLED:
            break
        axes, temper = closer, min(1.0, 4.0 * temper)
    return grid.posterior(out, float(z @ z), _log_prior_mass(priors))


def _priors(model: Model, prior: CurvePrior) -> tuple[RatePrior | None, RatePrior | None, RatePrior | None]:
    """The priors of the model's last clearance, early clearance and uptake; None for what it lacks."""
    clearing = sum(role is Role.CLEARANCE for role in model.roles)
    return prior.clearance, prior.early if clearing > 1 else None, prior.uptake if Role.UPTAKE in model.roles else None


def _log_prior_mass(priors: Sequence[RatePrior | None]) -> float:
    """ln of the prior probability that each free rate is faster than the one before it, ln λ over ± 8 deviations."""
    free = [p for p in priors if p is not None]
    if len(free) == 1:
        return 0.0
    x = np.linspace(
        min(p.mean_ln_rate - 8 * p.sd_ln_rate for p in free), max(p.mean_ln_rate + 8 * p.sd_ln_rate for p in free), 4001
    )
    below = ndtr((x - free[0].mean_ln_rate) / free[0].sd_ln_rate)
    for p in free[1:]:
        density = np.exp(-0.5 * ((x - p.mean_ln_rate) / p.sd_ln_rate) ** 2) / (p.sd_ln_rate * np.sqrt(2 * np.pi))
        below = np.cumsum(below * density) * (x[1] - x[0])
    return float(np.log(below[-1]))


class _Grid:
    """The cells over the given axes, in the order last clearance, early clearance, uptake, share."""

    def __init__(
        self,
        model: Model,
        priors: Sequence[RatePrior | None],
        axes: Sequence[_Axis],
        has_share: bool,
        cells: int,
        times_h: F64,
        sigma: F64,
        rate_p: float,
    ) -> None:
        self.model = model
        self.ordered = priors[1] is not None
        self.with_uptake = priors[2] is not None
        free = iter(axes)
        self.tables = [
            _without(times_h.size) if p is None else _table(p, next(free), cells, times_h, sigma, rate_p)
            for p in priors
        ]
        if Role.PHYSICAL in model.roles:
            decay = np.exp(-rate_p * times_h) / sigma
            self.tables[1] = np.concatenate([[rate_p, 1.0 / rate_p, 0.0], decay])[None]
        self.shares = np.zeros((1, 2))
        if has_share:
            axis = next(free)
            self.shares = np.column_stack([axis.centres(cells), np.full(cells, np.log(axis.width(cells)))])
        self.shape = (*(len(table) for table in self.tables), len(self.shares))

    def weigh(self, z: F64, temper: float) -> F64:
        out = np.zeros((3, int(np.prod(self.shape))))
        slow, early, uptake = self.tables
        scan_grid(z, slow, early, uptake, self.shares, self.ordered, self.with_uptake, temper, out)
        return out

    def posterior(self, out: F64, z_squared: float, log_prior_mass: float) -> ModelPosterior:
        weights = out[LOG_WEIGHT] - log_prior_mass
        top = float(weights.max())
        evidence = top + float(np.log(np.exp(weights - top).sum()))
        kept = np.flatnonzero(weights > top - DEPTH)
        index = np.unravel_index(kept, self.shape)
        rates = np.column_stack([table[i, 0] for table, i in zip(self.tables, index[:3], strict=True)])
        inside = np.isfinite(weights)
        return ModelPosterior(
            self.model,
            evidence,
            z_squared - float((np.maximum(out[RHO, inside], 0.0) ** 2).max()),
            weights[kept],
            rates,
            self.shares[index[3], 0],
            out[RHO, kept],
            out[TIA, kept],
        )


def _table(prior: RatePrior, axis: _Axis, cells: int, times_h: F64, sigma: F64, rate_p: float) -> F64:
    """[cells, 3 + times]: λ, 1/λ, log prior weight, e^(-λt)/σ."""
    x = axis.centres(cells)
    rates = rate_p + np.exp(prior.mean_ln_rate + prior.sd_ln_rate * x)
    log_weight = -0.5 * x**2 + np.log(axis.width(cells) / np.sqrt(2.0 * np.pi))
    return np.column_stack([rates, 1.0 / rates, log_weight, np.exp(-np.outer(rates, times_h)) / sigma])


def _without(times: int) -> F64:
    """The table of a phase that a model lacks: infinitely fast, so that it adds nothing."""
    return np.concatenate([[np.inf, 0.0, 0.0], np.zeros(times)])[None]
