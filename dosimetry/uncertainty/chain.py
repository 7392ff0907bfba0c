"""The uncertainty chain of molecular radiotherapy: from the outline of a structure to its absorbed dose.

A = C Q / R and D = Ã S, each step by the law of propagation (Gear et al. 2018, doi:10.1007/s00259-018-4136-7; φ and the
covariances derived anew for a uniform sphere under a Gaussian response). All u are relative but those of lengths.
"""

import math

from nufitdose.psf import FWHM_PER_SIGMA, sphere_recovery


def diameter_of_sphere_mm(volume_ml: float) -> float:
    """d = (6 V / π)^(1/3), mm."""
    return float((6000.0 * volume_ml / math.pi) ** (1.0 / 3.0))


def u_diameter_mm(voxel_mm: float, fwhm_mm: float, operator_mm: float = 0.0) -> float:
    """u(d) of a diameter drawn on an image, mm: u(d)² = a²/6 + FWHM²/(4 ln 2) + u_operator²."""
    return math.sqrt(voxel_mm**2 / 6.0 + fwhm_mm**2 / (4.0 * math.log(2.0)) + operator_mm**2)


def relative_u_volume(diameter_mm: float, u_diameter: float) -> float:
    """u(V)/V = 3 u(d)/d."""
    return 3.0 * u_diameter / diameter_mm


def edge_term(diameter_mm: float, fwhm_mm: float) -> float:
    """φ = erf(d/(√2 σ)) - (4 σ/(d √(2π))) (1 - e^(-d²/2σ²)): twice what a blurred unit sphere shows at its surface."""
    sigma = fwhm_mm / FWHM_PER_SIGMA
    if sigma == 0.0:
        return 1.0
    x = diameter_mm / sigma
    return math.erf(x / math.sqrt(2.0)) - 4.0 / (x * math.sqrt(2.0 * math.pi)) * -math.expm1(-0.5 * x * x)


def recovery_slope(volume_ml: float, fwhm_mm: float) -> float:
    """(V/R) dR/dV of a sphere: V R grows by φ dV, hence φ/R - 1."""
    return edge_term(diameter_of_sphere_mm(volume_ml), fwhm_mm) / sphere_recovery(volume_ml, fwhm_mm) - 1.0


def relative_u_counts(edge: float, recovery: float, u_volume: float) -> float:
    """u(C)/C = (φ/2R) u(V)/V: an outline that is drawn too wide takes in what lies at the edge."""
    return edge / (2.0 * recovery) * u_volume


def relative_covariance_recovery_counts(edge: float, recovery: float, slope: float, u_volume: float) -> float:
    """u(R,C)/(RC) = (V/R) R' (φ/2R) [u(V)/V]²; `slope` is (V/R) R'."""
    return slope * edge / (2.0 * recovery) * u_volume**2


def relative_u_activity(
    u_calibration: float, u_recovery: float, u_counts: float, covariance_recovery_counts: float
) -> float:
    """[u(A)/A]² = [u(Q)/Q]² + [u(R)/R]² + [u(C)/C]² - 2 u(R,C)/(RC)."""
    return math.sqrt(u_calibration**2 + u_recovery**2 + u_counts**2 - 2.0 * covariance_recovery_counts)


def relative_u_tia(u_curve: float, u_common: float) -> float:
    """u(Ã)/Ã: what scans have in common (calibration, recovery, outline) adds to Ã whole, not to each point."""
    return math.hypot(u_curve, u_common)


def relative_covariance_tia_s(edge: float, recovery: float, slope: float, exponent: float, u_volume: float) -> float:
    """u(Ã,S)/(ÃS) = -c (φ/2R - R' V/R) (u(V)/V)² for S ∝ V^(-c)."""
    return -exponent * (edge / (2.0 * recovery) - slope) * u_volume**2


def relative_u_dose(u_tia: float, u_s: float, covariance_tia_s: float) -> float:
    """[u(D)/D]² = [u(Ã)/Ã]² + [u(S)/S]² + 2 u(Ã,S)/(ÃS); u(S)/S = c u(V)/V and the error of S itself."""
    return math.sqrt(u_tia**2 + u_s**2 + 2.0 * covariance_tia_s)
