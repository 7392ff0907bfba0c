"""Every voxel of a body fitted as its structure asks for: noise, prior and model structure by structure."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import numpy as np
from jaxtyping import Integer
from numpy.typing import ArrayLike, NDArray

from dosimetry.kinetics.guided import estimate_prior, fit_voxels_guided
from dosimetry.kinetics.guided_two_rates import TWO_RATES, estimate_two_priors
from dosimetry.kinetics.models import LN2, MODELS
from dosimetry.kinetics.noise import NoiseModel, estimate_noise
from dosimetry.kinetics.rate_prior import RatePrior
from dosimetry.kinetics.scan_times import ScanTimes
from dosimetry.kinetics.status import FitStatus
from dosimetry.kinetics.voxel_fit import fit_voxels
from dosimetry.kinetics.voxel_results import VoxelFit
from nufitdose.errors import InputError
from nufitdose.types import Curves

log = logging.getLogger(__name__)

F64 = NDArray[np.float64]
T = TypeVar("T")
NO_STRUCTURE = 0
CHUNK = 1 << 17  # voxels handled at once, so that noise and copies stay small beside the input
FEWEST = 50  # voxels below which a structure takes the prior and the noise of the whole body
SAMPLE = 20_000
NOT_FALLING = (FitStatus.MONO_AT_PHYSICAL, FitStatus.RISING, FitStatus.SLOW)
RISING_LIMIT = 0.1  # share of such voxels from which one falling exponential does not describe a structure


@dataclass(frozen=True, eq=False)
class StructuredFit:
    """The voxel fits, and by structure label what they rest on: noise (where estimated), prior (where guided), model.

    Label 0, the voxels of no structure, stands for the whole body. `two_rate_priors` holds a prior for each free rate.
    """

    fit: VoxelFit
    noise: Mapping[int, NoiseModel]
    priors: Mapping[int, RatePrior]
    models: Mapping[int, str]
    two_rate_priors: Mapping[int, tuple[RatePrior, ...]] = field(default_factory=dict)


def fit_by_structure(
    activity: Curves,
    times_h: ArrayLike | ScanTimes,
    half_life_h: float,
    structure: Integer[np.ndarray, " labels"],
    sigma: ArrayLike | float | None = None,
    *,
    models: Mapping[int, str] | None = None,
) -> StructuredFit:
    """Fit the voxels of every structure with its model, their rates guided by the structure where its voxels tell them.

    `structure` holds a label for each voxel, 0 for none; `models` the model of a label, "mono" where not given ("aicc"
    is not guided). Without `sigma` the noise of each structure is estimated from its voxels, which takes three time
    points; with fewer, and with one, voxels are fitted on their own. Structures of fewer than 50 voxels, and voxels of
    no structure, take noise and prior of one rate of the whole body. A structure of one rate where more than a tenth of
    the voxels do not fall is not guided. Other arguments, and errors, as in `fit_voxels`.
    """
    if structure.shape != activity.shape[:1]:
        raise ValueError(f"{activity.shape[0]} voxels need as many structure labels, got {structure.shape}")
    times = ScanTimes.of(times_h, *activity.shape)
    given = None if sigma is None else np.asarray(sigma, dtype=np.result_type(sigma, np.float32))
    chunks = range(0, activity.shape[0], CHUNK)
    present = {label for start in chunks for label in np.unique(structure[start : start + CHUNK]).tolist()}
    labels = sorted({NO_STRUCTURE, *present}, key=lambda label: (label != NO_STRUCTURE, label))  # others fall back on 0
    chosen = {label: (models or {}).get(label, "mono") for label in labels}
    known = _Knowledge({}, {}, {}, {}, set())
    for label in labels:
        sample = _sample(activity, structure, label)
        if sample.size >= FEWEST:
            own = given[sample] if given is not None and given.ndim == 2 else given
            known.learn(label, chosen[label], activity[sample], times.part(sample), half_life_h, own)
    fit = VoxelFit.empty(activity.shape[0])
    for start in chunks:
        here = structure[start : start + CHUNK]
        for label in np.unique(here).tolist():
            part = start + np.flatnonzero(here == label)
            curves, at, model = activity[part], times.part(part), chosen[label]
            own = given[part] if given is not None and given.ndim == 2 else given
            s, prior = known.sigma(label, curves, at, half_life_h, own), known.prior(label, model)
            if prior is None or s is None:
                fit.put(part, fit_voxels(curves, at, half_life_h, model=model, sigma=s))
            else:
                fit.put(part, fit_voxels_guided(curves, at, half_life_h, s, prior, model))
    return StructuredFit(fit, known.noise, known.priors, chosen, known.two_priors)


@dataclass(frozen=True)
class _Knowledge:
    """What is known by label; `shapes`: mean curves of structures of two rates; `rising`: those of one that rise."""

    noise: dict[int, NoiseModel]
    priors: dict[int, RatePrior]
    two_priors: dict[int, tuple[RatePrior, ...]]
    shapes: dict[int, F64]
    rising: set[int]

    def learn(
        self,
        label: int,
        model: str,
        curves: Curves,
        times: ScanTimes,
        half_life_h: float,
        given: NDArray[np.floating] | None,
    ) -> None:
        """Noise, where it is not given, and prior from a sample of the structure's voxels."""
        two = model in TWO_RATES
        if not two:
            status = fit_voxels(curves, times, half_life_h).status
            if np.isin(status, NOT_FALLING).mean() > RISING_LIMIT:
                self.rising.add(label)
                return
        if given is None:
            fitted = model if two else "mono"
            _learn(self.noise, label, partial(estimate_noise, curves, times, half_life_h, model=fitted))
            if two:
                seen = np.isfinite(curves)
                total = np.where(seen, curves, 0.0).sum(axis=0, dtype=np.float64)
                self.shapes[label] = total / np.maximum(seen.sum(axis=0), 1)
        s = self.sigma(label, curves, times, half_life_h, given)
        if s is not None and model == "mono":
            _learn(self.priors, label, partial(estimate_prior, curves, times, half_life_h, s))
        elif s is not None and two:
            shape = MODELS[model]
            _learn(self.two_priors, label, partial(estimate_two_priors, curves, times, half_life_h, s, shape))

    def prior(self, label: int, model: str) -> RatePrior | tuple[RatePrior, ...] | None:
        """What guides the voxels of a label; for one rate that of the whole body where it has none of its own."""
        if model == "mono" and label not in self.rising:
            return self.priors.get(label, self.priors.get(NO_STRUCTURE))
        return self.two_priors.get(label)

    def sigma(
        self,
        label: int,
        curves: Curves,
        times: ScanTimes,
        half_life_h: float,
        given: NDArray[np.floating] | None,
    ) -> NDArray[np.floating] | None:
        """σ as given, or from the noise model at the activity that is expected of the voxels; None without either.

        Expected is the voxel's own fit of one rate, or the mean curve of a structure of two rates at the voxel's size.
        """
        noise = self.noise.get(label, self.noise.get(NO_STRUCTURE))
        if given is not None or noise is None or label in self.rising:
            return given
        if label in self.shapes:
            seen, shape = np.isfinite(curves), self.shapes[label]
            size = (np.where(seen, curves, 0.0) @ shape) / np.maximum(seen @ shape**2, 1e-300)
            expected = size[:, None] * shape
        else:
            fit = fit_voxels(curves, times, half_life_h)
            rate = np.nan_to_num(LN2 / fit.teff_h)[:, None]
            expected = fit.amplitude[:, None] * np.exp(-rate * np.nan_to_num(times.expanded()))
        floor = 1e-6 * float(np.nanmax(np.abs(curves), initial=0.0)) + 1e-30
        return np.maximum(noise.sigma(expected), floor).astype(np.float32)


def preserve_total(fit: VoxelFit, total: float, share: ArrayLike | float = 1.0) -> VoxelFit:
    """The fit with Ã, its uncertainty and the amplitude of all voxels multiplied so that Σ share · Ã = `total`.

    `total` is the integral of the structure's own curve, `share` [voxels] what a voxel's Ã contributes to it: its
    volume inside the structure in mL where `total` is in Bq·h. `rmse` stays that of the voxel's own fit. `InputError`
    where one of the two totals is not positive.
    """
    found = float(np.sum(np.asarray(share, dtype=np.float64) * fit.tia.astype(np.float64)))
    if not (found > 0 and total > 0 and np.isfinite(total)):
        raise InputError(f"voxels that integrate to {found:.4g} cannot be scaled to a structure's {total:.4g}")
    factor = np.float32(total / found)
    return replace(fit, tia=fit.tia * factor, u_tia=fit.u_tia * factor, amplitude=fit.amplitude * factor)


def _sample(activity: Curves, structure: Integer[np.ndarray, " labels"], label: int) -> NDArray[np.intp]:
    """At most 20 000 voxels with a positive value, evenly spread over the structure or, for label 0, the whole body."""
    if label == NO_STRUCTURE:
        voxels = np.arange(0, structure.size, max(1, structure.size // (20 * SAMPLE)))
    else:
        voxels = np.flatnonzero(structure == label)
    lit = voxels[(activity[voxels] > 0).any(axis=1)]
    return lit[:: max(1, -(-lit.size // SAMPLE))]


def _learn(into: dict[int, T], label: int, estimate: Callable[[], T]) -> None:
    """Put what the voxels tell under their label; where they tell nothing, the whole body's serves."""
    try:
        into[label] = estimate()
    except InputError as problem:
        log.debug("label %d: %s", label, problem)
