"""Activity and self-dose of red marrow, from a vertebra in the images or from blood. Pure functions.

Neither method is exact: the image shows marrow, bone and blood of a vertebra together, and blood tells nothing of
activity that marrow binds.
"""

import math
from dataclasses import dataclass

RED_MARROW_G_PER_ML = 1.03  # assumed: ICRU 46, as recalled
EXTRACELLULAR_FRACTION = 0.19  # of red marrow: Sgouros, J Nucl Med 1993;34:689 (abstract read)


@dataclass(frozen=True)
class MarrowActivity:
    """Time-integrated activity concentration of red marrow, MBq·h/mL, and its relative standard uncertainty."""

    tia_mbq_h_per_ml: float
    relative_u: float

    def self_dose_gy(self, local_gy_g_per_mbq_h: float) -> float:
        """D = c̃ Δ/ρ: all that electrons and alpha particles carry stays in red marrow, no photon is in it.

        An upper bound of the self-dose, since marrow cavities pass some of it on to bone.
        """
        return self.tia_mbq_h_per_ml * local_gy_g_per_mbq_h / RED_MARROW_G_PER_ML

    def total_mbq_h(self, mass_g: float) -> float:
        """Ã = c̃ m/ρ of all red marrow, if it holds the same concentration everywhere."""
        return self.tia_mbq_h_per_ml * mass_g / RED_MARROW_G_PER_ML


def blood_ratio(hematocrit: float) -> float:
    """RMBLR = RMECFF/(1 - HCT): concentration in red marrow over that in whole blood.

    For what stays in plasma and extracellular fluid and binds to no marrow cell (Sgouros 1993, whose abstract has
    0.36 for HCT 0.47). `ValueError` unless 0 < HCT < 1.
    """
    if not 0.0 < hematocrit < 1.0:
        raise ValueError("a hematocrit lies between 0 and 1")
    return EXTRACELLULAR_FRACTION / (1.0 - hematocrit)


def marrow_from_blood(
    blood_tia_mbq_h_per_ml: float, relative_u_blood: float, ratio: float, relative_u_ratio: float
) -> MarrowActivity:
    """c̃ = RMBLR c̃_blood; the relative uncertainties add in squares."""
    return MarrowActivity(ratio * blood_tia_mbq_h_per_ml, math.hypot(relative_u_blood, relative_u_ratio))


def marrow_from_image(
    tia_mbq_h: float, volume_ml: float, relative_u: float, marrow_share: float, relative_u_share: float
) -> MarrowActivity:
    """c̃ = Ã/(V s): all activity of the structure is in its red marrow, the share s of its volume.

    `relative_u` is that of Ã/V. `ValueError` unless 0 < s <= 1 and V > 0.
    """
    if not (0.0 < marrow_share <= 1.0 and volume_ml > 0.0):
        raise ValueError("the share of red marrow lies between 0 and 1, a volume above 0")
    return MarrowActivity(tia_mbq_h / (volume_ml * marrow_share), math.hypot(relative_u, relative_u_share))


def cross_dose_gy(vertebra_gy: float, tia_mbq_h: float, mass_g: float, local_gy_g_per_mbq_h: float) -> float:
    """D_cross = D - Ã Δ/m: what a vertebra gets beside its own electrons, photons of marrow and of all the body.

    Photons of these energies give marrow what they give the vertebra around it, to some percent. Never below 0.
    """
    return max(vertebra_gy - tia_mbq_h * local_gy_g_per_mbq_h / mass_g, 0.0)
