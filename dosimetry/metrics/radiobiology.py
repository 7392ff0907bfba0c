"""Biologically effective dose by the linear-quadratic model, closed for any sum of exponentials. Pure functions.

The dose rate is R(t) = Σ_j a_j e^(-λ_j t); sublethal damage is repaired with μ = ln 2/T_rep. The factor
G = (2/D²) ∫ R(t) ∫₀ᵗ R(s) e^(-μ(t-s)) ds dt (Lea and Catcheside) is 1 for a flash and falls with protraction.
"""

import numpy as np

from nufitdose import kinetics
from nufitdose.types import F64, Numbers

LN2 = float(np.log(2.0))


def protraction(amplitudes: Numbers, rates_per_h: Numbers, t_rep_h: float) -> F64:
    """G = 2 Σ_ij a_i a_j / [(λ_i + λ_j)(λ_i + μ)] / (Σ_j a_j/λ_j)², terms j along the last axis.

    The scale of the amplitudes cancels, so activities do as well as dose rates. Regular where μ = λ_j. Of one
    exponential it is T_rep/(T_rep + T_eff). The integral above term by term (cf. Gustafsson 2013,
    doi:10.1088/0031-9155/58/5/1507, as recalled). `ValueError` for rates or T_rep that are not positive.
    """
    a, lam = (np.asarray(x, dtype=np.float64) for x in (amplitudes, rates_per_h))
    if not (t_rep_h > 0 and (lam > 0).all()):
        raise ValueError("the protraction factor needs positive decay constants and a positive repair half-life")
    pairs = a[..., :, None] * a[..., None, :] / (lam[..., :, None] + lam[..., None, :])
    within = (pairs / (lam + LN2 / t_rep_h)[..., :, None]).sum(axis=(-2, -1))
    return np.asarray(2.0 * within / kinetics.integral(a, lam) ** 2)


def bed(dose_gy: Numbers, protraction: Numbers, alpha_beta_gy: float, *, linear_weight: float = 1.0) -> F64:
    """BED = w D + G D²/(α/β), Gy, for every dose of an array.

    `linear_weight` w is 1 for electrons and photons; with a share f of the dose from alpha particles it is
    1 + f (RBE - 1): RBE multiplies α alone, β is taken to be that of the reference radiation (Dale and Jones 1999, as
    recalled, unverified). `ValueError` unless α/β > 0.
    """
    if not alpha_beta_gy > 0:
        raise ValueError("BED needs a positive α/β")
    dose = np.asarray(dose_gy, dtype=np.float64)
    return np.asarray(dose * (linear_weight + np.asarray(protraction, dtype=np.float64) * dose / alpha_beta_gy))


def eqd2(bed_gy: Numbers, alpha_beta_gy: float) -> F64:
    """EQD2 = BED/(1 + 2 Gy/(α/β)): the dose in fractions of 2 Gy with the same BED, Gy."""
    if not alpha_beta_gy > 0:
        raise ValueError("EQD2 needs a positive α/β")
    return np.asarray(np.asarray(bed_gy, dtype=np.float64) / (1.0 + 2.0 / alpha_beta_gy))


def surviving_weights(bed_gy: Numbers, mass_g: Numbers, alpha_per_gy: float) -> F64:
    """Share of each voxel in the surviving cells: m e^(-α BED)/Σ m e^(-α BED); with α = 0 its share of the mass."""
    effect, mass = (np.asarray(x, dtype=np.float64) for x in (bed_gy, mass_g))
    least = alpha_per_gy * effect.min()
    surviving = mass * np.exp(least - alpha_per_gy * effect)
    return np.asarray(surviving / surviving.sum())


def eubed(bed_gy: Numbers, mass_g: Numbers, alpha_per_gy: float) -> float:
    """EUBED = -ln ⟨e^(-α BED)⟩/α, the uniform BED with the same surviving share, cells being where mass is, Gy.

    `ValueError` unless α > 0. The smallest BED is taken out of the exponent, so that no survival underflows.
    """
    if not alpha_per_gy > 0:
        raise ValueError("EUBED needs a positive α")
    effect, mass = (np.asarray(x, dtype=np.float64) for x in (bed_gy, mass_g))
    least = float(effect.min())
    mean = float(mass @ np.exp(-alpha_per_gy * (effect - least)) / mass.sum())
    return least - float(np.log(mean)) / alpha_per_gy
