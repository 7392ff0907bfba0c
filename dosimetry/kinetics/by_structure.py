"""Every voxel of a body fitted as its structure asks for: noise, prior and model structure by structure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Integer
from numpy.typing import ArrayLike, NDArray

from dosimetry.kinetics.guided import fit_voxels_guided
from dosimetry.kinetics.noise import NoiseModel
from dosimetry.kinetics.rate_prior import RatePrior
from dosimetry.kinetics.scan_times import ScanTimes
from dosimetry.kinetics.structure_knowledge import BodyKnowledge, StructureKnowledge, learn_structure
from dosimetry.kinetics.voxel_fit import fit_voxels
from dosimetry.kinetics.voxel_results import PerVoxel32, VoxelFit, VoxelFitBuilder
from nufitdose.errors import InputError
from nufitdose.types import Curves

NO_STRUCTURE = 0
CHUNK = 1 << 17  # voxels handled at once, so that noise and copies stay small beside the input
FEWEST = 50  # voxels below which a structure takes the prior and the noise of the whole body
SAMPLE = 20_000


@dataclass(frozen=True, eq=False)
class StructuredFit:
    """The voxel fits, and what they rest on: knowledge of each structure label, and its model.

    Label 0, the voxels of no structure, stands for the whole body.
    """

    fit: VoxelFit
    knowledge: BodyKnowledge
    models: Mapping[int, str]

    @property
    def noise(self) -> Mapping[int, NoiseModel]:
        """The noise of the labels whose voxels told it."""
        return {label: known.noise for label, known in self.knowledge.by_label.items() if known.noise}

    @property
    def priors(self) -> Mapping[int, RatePrior]:
        """The prior of the one rate, where the voxels are guided."""
        return {label: known.prior for label, known in self.knowledge.by_label.items() if known.prior}

    @property
    def two_rate_priors(self) -> Mapping[int, tuple[RatePrior, ...]]:
        """A prior for each free rate, where a model of two rates is guided."""
        found = self.knowledge.by_label.items()
        return {label: known.two_rate_priors for label, known in found if known.two_rate_priors}


def fit_by_structure(
    activity: Curves,
    times_h: ArrayLike | ScanTimes,
    half_life_h: float,
    structure: Integer[np.ndarray, " labels"],
    sigma: ArrayLike | float | None = None,
    *,
    models: Mapping[int, str] | None = None,
    centres: Mapping[int, Sequence[float]] | None = None,
) -> StructuredFit:
    """Fit the voxels of every structure with its model, their rates guided by the structure where its voxels tell them.

    `structure` holds a label for each voxel, 0 for none; `models` the model of a label, "mono" where not given ("aicc"
    is not guided). Without `sigma` the noise of each structure is estimated from its voxels, which takes three time
    points; with fewer, and with one, voxels are fitted on their own. Structures of fewer than 50 voxels, and voxels of
    no structure, take noise and prior of one rate of the whole body. `centres` are ln λ_bio of the free rates of a
    label's own curve, slow first: its voxels are then guided towards them. Without, a structure of one rate where more
    than a tenth of the voxels do not fall is not guided. Other arguments, and errors, as in `fit_voxels`.
    """
    if structure.shape != activity.shape[:1]:
        raise ValueError(f"{activity.shape[0]} voxels need as many structure labels, got {structure.shape}")
    times = ScanTimes.of(times_h, *activity.shape)
    given = None if sigma is None else np.asarray(sigma, dtype=np.result_type(sigma, np.float32))
    chunks = range(0, activity.shape[0], CHUNK)
    present = {label for start in chunks for label in np.unique(structure[start : start + CHUNK]).tolist()}
    labels = sorted({NO_STRUCTURE, *present}, key=lambda label: (label != NO_STRUCTURE, label))  # others fall back on 0
    chosen = {label: (models or {}).get(label, "mono") for label in labels}
    by_label: dict[int, StructureKnowledge] = {}
    for label in labels:
        sample = _sample(activity, structure, label)
        if sample.size >= FEWEST:
            body = by_label.get(NO_STRUCTURE, StructureKnowledge())
            own = given[sample] if given is not None and given.ndim == 2 else given
            by_label[label] = learn_structure(
                chosen[label],
                activity[sample],
                times.part(sample),
                half_life_h,
                own,
                body.noise,
                (centres or {}).get(label),
            )
        elif label in (centres or {}):
            by_label[label] = StructureKnowledge.about((centres or {})[label], chosen[label])
    known, fit = BodyKnowledge(by_label), VoxelFitBuilder(activity.shape[0])
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
    return StructuredFit(fit.result(), known, chosen)


def preserve_total(fit: VoxelFit, total: float, share: ArrayLike | float = 1.0) -> VoxelFit:
    """The fit with Ã, its uncertainty and the amplitude of all voxels multiplied so that Σ share · Ã = `total`.

    `total` is the integral of the structure's own curve, `share` [voxels] what a voxel's Ã contributes to it: its
    volume inside the structure in mL where `total` is in Bq·h. `rmse` stays that of the voxel's own fit. `InputError`
    where one of the two totals is not positive.
    """
    factor = np.float32(factor_to_total(fit.tia, total, share))
    return replace(fit, tia=fit.tia * factor, u_tia=fit.u_tia * factor, amplitude=fit.amplitude * factor)


def factor_to_total(tia: PerVoxel32, total: float, share: ArrayLike | float = 1.0) -> float:
    """By what `preserve_total` multiplies the integrals of voxels; arguments and errors are its own."""
    found = float(np.sum(np.asarray(share, dtype=np.float64) * tia.astype(np.float64)))
    if not (found > 0 and total > 0 and np.isfinite(total)):
        raise InputError(f"voxels that integrate to {found:.4g} cannot be scaled to a structure's {total:.4g}")
    return total / found


def _sample(activity: Curves, structure: Integer[np.ndarray, " labels"], label: int) -> NDArray[np.intp]:
    """At most 20 000 voxels with a positive value, evenly spread over the structure or, for label 0, the whole body."""
    if label == NO_STRUCTURE:
        voxels = np.arange(0, structure.size, max(1, structure.size // (20 * SAMPLE)))
    else:
        voxels = np.flatnonzero(structure == label)
    lit = voxels[(activity[voxels] > 0).any(axis=1)]
    return lit[:: max(1, -(-lit.size // SAMPLE))]
