"""What the voxels of a structure tell of themselves: their noise, and where the prior of their rates lies."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dosimetry.kinetics.guided import estimate_prior
from dosimetry.kinetics.guided_two_rates import TWO_RATES, estimate_two_priors
from dosimetry.kinetics.models import LN2, MODELS
from dosimetry.kinetics.noise import NoiseModel, estimate_noise, estimate_noise_about
from dosimetry.kinetics.rate_prior import RatePrior
from dosimetry.kinetics.scan_times import ScanTimes
from dosimetry.kinetics.status import FitStatus
from dosimetry.kinetics.voxel_fit import fit_voxels
from nufitdose.errors import InputError
from nufitdose.types import F64, Curves

log = logging.getLogger(__name__)

T = TypeVar("T")
Noise = NDArray[np.floating]
NOT_FALLING = (FitStatus.MONO_AT_PHYSICAL, FitStatus.RISING, FitStatus.SLOW)
UNTOLD_SPREAD = 0.3  # deviation of ln λ_bio about a structure's own rate where no voxel tells it, chosen here
RISING_LIMIT = 0.1  # share of such voxels from which one falling exponential does not describe a structure


@dataclass(frozen=True, eq=False)
class StructureKnowledge:
    """What the voxels of one structure told; None where they did not.

    `shape` is the mean curve of a structure of two rates; `rising` says that too many voxels do not fall for one
    exponential to guide them.
    """

    noise: NoiseModel | None = None
    prior: RatePrior | None = None
    two_rate_priors: tuple[RatePrior, ...] | None = None
    shape: F64 | None = None
    rising: bool = False

    @classmethod
    def about(
        cls, centre: Sequence[float], model: str, noise: NoiseModel | None = None, shape: F64 | None = None
    ) -> "StructureKnowledge":
        """What a structure's own curve alone tells: ln λ_bio of its free rates, with a spread chosen here."""
        priors = tuple(RatePrior(m, UNTOLD_SPREAD) for m in centre)
        return cls(noise, None, priors, shape) if model in TWO_RATES else cls(noise, priors[0])

    def expected(self, curves: Curves, times: ScanTimes, half_life_h: float) -> F64:
        """Activity to expect of voxels: the mean curve at the voxel's size, or the voxel's own fit of one rate."""
        if self.shape is not None:
            seen = np.isfinite(curves)
            size = (np.where(seen, curves, 0.0) @ self.shape) / np.maximum(seen @ self.shape**2, 1e-300)
            return np.asarray(size[:, None] * self.shape)
        fit = fit_voxels(curves, times, half_life_h)
        rate = np.nan_to_num(LN2 / fit.teff_h)[:, None]
        return np.asarray(fit.amplitude[:, None] * np.exp(-rate * np.nan_to_num(times.expanded())))


@dataclass(frozen=True, eq=False)
class BodyKnowledge:
    """What is known of every label that told something; label 0 is the whole body, which stands in for the others."""

    by_label: Mapping[int, StructureKnowledge] = field(default_factory=dict)

    def of(self, label: int) -> StructureKnowledge:
        """What the voxels of a label told."""
        return self.by_label.get(label, StructureKnowledge())

    def prior(self, label: int, model: str) -> RatePrior | tuple[RatePrior, ...] | None:
        """What guides the voxels of a label; for one rate that of the whole body where it has none of its own."""
        own = self.of(label)
        if model == "mono" and not own.rising:
            return own.prior or self.of(0).prior
        return own.two_rate_priors

    def sigma(
        self, label: int, curves: Curves, times: ScanTimes, half_life_h: float, given: Noise | None
    ) -> Noise | None:
        """σ of voxels of a label as given, or from the noise at the activity to expect of them; None without either."""
        return estimate_sigma(self.of(label), self.of(0).noise, curves, times, half_life_h, given)


def learn_structure(
    model: str,
    curves: Curves,
    times: ScanTimes,
    half_life_h: float,
    given: Noise | None,
    body_noise: NoiseModel | None,
    centre: Sequence[float] | None = None,
) -> StructureKnowledge:
    """Noise, where σ is not `given`, and priors of the rates of `model`, from a sample of a structure's voxels.

    Where the voxels do not tell their noise, that of the body serves. `centre` is ln λ_bio of each free rate of the
    structure's own curve, where that is a fit of `model`: the priors are then about it.
    """
    two = model in TWO_RATES
    if not two and centre is None:
        status = fit_voxels(curves, times, half_life_h).status
        if np.isin(status, NOT_FALLING).mean() > RISING_LIMIT:
            return StructureKnowledge(rising=True)
    noise, shape = None, None
    if given is None:
        fitted = model if two else "mono"
        noise = _estimate_if_told(lambda: estimate_noise(curves, times, half_life_h, model=fitted))
        shape = _mean_curve(curves) if two or centre is not None else None
        if noise is None and centre is not None:  # as many parameters as scans: what the structure's shape leaves
            noise = _estimate_if_told(lambda: estimate_noise_about(curves, _mean_curve(curves)))
    found = StructureKnowledge(noise, shape=shape)
    sigma = estimate_sigma(found, body_noise, curves, times, half_life_h, given)
    if sigma is None:
        return found
    rates: RatePrior | tuple[RatePrior, ...] | None = None
    if two:
        rates = _estimate_if_told(
            lambda: estimate_two_priors(curves, times, half_life_h, sigma, MODELS[model], centre=centre)
        )
    elif model == "mono":
        middle = None if centre is None else centre[0]
        rates = _estimate_if_told(lambda: estimate_prior(curves, times, half_life_h, sigma, centre=middle))
    if rates is None and centre is not None:
        return StructureKnowledge.about(centre, model, noise, shape)
    if isinstance(rates, tuple):
        return StructureKnowledge(noise, None, rates, shape)
    return StructureKnowledge(noise, rates, None, shape)


def estimate_sigma(
    own: StructureKnowledge,
    body_noise: NoiseModel | None,
    curves: Curves,
    times: ScanTimes,
    half_life_h: float,
    given: Noise | None,
) -> Noise | None:
    """σ [voxels, times] at the activity to expect, `given` where that is known or there is no noise to take it from."""
    noise = own.noise or body_noise
    if given is not None or noise is None or own.rising:
        return given
    floor = 1e-6 * float(np.nanmax(np.abs(curves), initial=0.0)) + 1e-30
    return np.maximum(noise.sigma(own.expected(curves, times, half_life_h)), floor).astype(np.float32)


def _mean_curve(curves: Curves) -> F64:
    seen = np.isfinite(curves)
    total = np.where(seen, curves, 0.0).sum(axis=0, dtype=np.float64)
    return np.asarray(total / np.maximum(seen.sum(axis=0), 1))


def _estimate_if_told(estimate: Callable[[], T]) -> T | None:
    """What the voxels tell, or None where they tell nothing."""
    try:
        return estimate()
    except InputError as problem:
        log.debug("voxels of a structure: %s", problem)
        return None
