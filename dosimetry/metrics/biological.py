"""The biologically effective dose of a structure, with what its uncertainty is made of."""

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


@dataclass(frozen=True)
class BiologicalDose:
    """BED and EQD2 of a structure, means weighted by mass as that of the dose, Gy, and their standard uncertainties.

    EUBED is NaN where α is not known, the weighted dose NaN where nothing is weighted.
    """

    effect: Effect
    bed_mean_gy: float
    u_bed_mean_gy: float
    eqd2_mean_gy: float
    u_eqd2_mean_gy: float
    eubed_gy: float
    u_eubed_gy: float
    dose_rbe_mean_gy: float
    u_dose_rbe_mean_gy: float


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
