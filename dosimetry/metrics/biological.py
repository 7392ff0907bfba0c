"""The biologically effective dose of a structure, with what its uncertainty is made of."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dosimetry.metrics.dvh import DoseVolume
from dosimetry.metrics.radiobiology import bed, eqd2, eubed, surviving_weights
from dosimetry.metrics.tissues import TissueResponse
from nufitdose.types import F64


@dataclass(frozen=True)
class Effect:
    """What turns the dose of a structure into BED.

    `protraction` is G of its curve and `u_protraction` its standard uncertainty; `alpha_share` the share of its dose
    that alpha particles and recoils give, which counts `rbe_alpha` fold (1 without them).
    """

    response: TissueResponse
    protraction: float
    u_protraction: float = 0.0
    alpha_share: float = 0.0
    rbe_alpha: float = 1.0

    @property
    def linear_weight(self) -> float:
        """1 + f (RBE - 1), which multiplies the dose where it acts linearly."""
        return 1.0 + self.alpha_share * (self.rbe_alpha - 1.0)

    def bed_gy(self, dose_gy: F64) -> F64:
        """BED of every dose, Gy."""
        return bed(dose_gy, self.protraction, self.response.alpha_beta_gy, linear_weight=self.linear_weight)

    def eqd2_gy(self, bed_gy: F64) -> F64:
        """EQD2 of every BED, Gy."""
        return eqd2(bed_gy, self.response.alpha_beta_gy)

    def u_bed_gy(self, dose_gy: F64, weights: F64, relative_u_dose: float) -> float:
        """Standard uncertainty of Σ w BED, where all doses err together by `relative_u_dose` and G by its own, Gy.

        ∂BED/∂ln D = BED + G D²/(α/β) and ∂BED/∂G = D²/(α/β), added in squares. Both hang on the same curve, and a
        slower one gives more dose and a smaller G: taken as independent they are rather too wide. α/β, T_rep and RBE
        are held.
        """
        squared = float(weights @ dose_gy**2) / self.response.alpha_beta_gy
        by_dose = self.linear_weight * float(weights @ dose_gy) + 2.0 * self.protraction * squared
        return float(np.hypot(relative_u_dose * by_dose, self.u_protraction * squared))


@dataclass(frozen=True, kw_only=True)
class BiologicalMeans:
    """BED and EQD2 of a structure, means weighted by mass as that of the dose, Gy, and their standard uncertainties.

    EUBED is NaN where α is not known, the weighted dose NaN where nothing is weighted.
    """

    bed_mean_gy: float
    u_bed_mean_gy: float
    eqd2_mean_gy: float
    u_eqd2_mean_gy: float
    eubed_gy: float
    u_eubed_gy: float
    dose_rbe_mean_gy: float
    u_dose_rbe_mean_gy: float


@dataclass(frozen=True, kw_only=True)
class BiologicalDose(BiologicalMeans):
    """That of a drawn structure: one tissue, one curve."""

    effect: Effect


@dataclass(frozen=True, eq=False)
class Share:
    """Voxels of one tissue and one curve: their doses, Gy, masses, g, and the u(D)/D that they share."""

    effect: Effect
    dose_gy: F64
    mass_g: F64
    relative_u_dose: float


@dataclass(frozen=True, kw_only=True)
class MixedBiologicalDose(BiologicalMeans):
    """That of a structure made of others, whose voxels answer by these effects."""

    effects: tuple[Effect, ...]


def biological_dose(histogram: DoseVolume, effect: Effect, relative_u_dose: float) -> BiologicalDose:
    """The values of one structure from its doses; `relative_u_dose` is u(D)/D that all its voxels share."""
    dose_gy, mass_g = histogram.dose_gy, histogram.mass_g
    effective, weights = effect.bed_gy(dose_gy), mass_g / mass_g.sum()
    mean = float(weights @ effective)
    u_mean = effect.u_bed_gy(dose_gy, weights, relative_u_dose)
    alpha = effect.response.alpha_per_gy
    uniform = u_uniform = float("nan")
    if alpha is not None:
        uniform = eubed(effective, mass_g, alpha)
        u_uniform = effect.u_bed_gy(dose_gy, surviving_weights(effective, mass_g, alpha), relative_u_dose)
    weighted = effect.linear_weight * histogram.mean_gy if effect.alpha_share > 0 else float("nan")
    return BiologicalDose(
        effect=effect,
        bed_mean_gy=mean,
        u_bed_mean_gy=u_mean,
        eqd2_mean_gy=float(effect.eqd2_gy(np.asarray(mean))),
        u_eqd2_mean_gy=float(effect.eqd2_gy(np.asarray(u_mean))),
        eubed_gy=uniform,
        u_eubed_gy=u_uniform,
        dose_rbe_mean_gy=weighted,
        u_dose_rbe_mean_gy=relative_u_dose * weighted,
    )


def mixed_biological_dose(shares: Sequence[Share]) -> MixedBiologicalDose:
    """The values of all voxels together, weighted by mass; all err alike, so that uncertainties add as they are.

    EUBED only where all have one α. `ValueError` without any.
    """
    if not shares:
        raise ValueError("a structure without tissue has no biologically effective dose")
    whole_g = sum(float(one.mass_g.sum()) for one in shares)
    bed_gy = [one.effect.bed_gy(one.dose_gy) for one in shares]
    weights = [one.mass_g / whole_g for one in shares]
    u_gy = [one.effect.u_bed_gy(one.dose_gy, w, one.relative_u_dose) for one, w in zip(shares, weights, strict=True)]
    eqd2_gy = [one.effect.eqd2_gy(bed) for one, bed in zip(shares, bed_gy, strict=True)]
    u_eqd2_gy = [float(one.effect.eqd2_gy(np.asarray(u))) for one, u in zip(shares, u_gy, strict=True)]
    uniform, u_uniform = _mixed_eubed(shares, bed_gy)
    effect = shares[0].effect
    physical = [effect.linear_weight * float(w @ one.dose_gy) for one, w in zip(shares, weights, strict=True)]
    weighted = effect.alpha_share > 0
    u_physical = sum(one.relative_u_dose * part for one, part in zip(shares, physical, strict=True))
    return MixedBiologicalDose(
        effects=tuple(one.effect for one in shares),
        bed_mean_gy=sum(float(w @ bed) for w, bed in zip(weights, bed_gy, strict=True)),
        u_bed_mean_gy=sum(u_gy),
        eqd2_mean_gy=sum(float(w @ part) for w, part in zip(weights, eqd2_gy, strict=True)),
        u_eqd2_mean_gy=sum(u_eqd2_gy),
        eubed_gy=uniform,
        u_eubed_gy=u_uniform,
        dose_rbe_mean_gy=sum(physical) if weighted else float("nan"),
        u_dose_rbe_mean_gy=u_physical if weighted else float("nan"),
    )


def _mixed_eubed(shares: Sequence[Share], bed_gy: Sequence[F64]) -> tuple[float, float]:
    alphas = {one.effect.response.alpha_per_gy for one in shares}
    alpha = alphas.pop()
    if alphas or alpha is None:
        return float("nan"), float("nan")
    all_gy, all_g = np.concatenate(bed_gy), np.concatenate([one.mass_g for one in shares])
    ends = np.cumsum([one.mass_g.size for one in shares])[:-1]
    weights = np.split(surviving_weights(all_gy, all_g, alpha), ends)
    u = [one.effect.u_bed_gy(one.dose_gy, w, one.relative_u_dose) for one, w in zip(shares, weights, strict=True)]
    return eubed(all_gy, all_g, alpha), sum(u)
