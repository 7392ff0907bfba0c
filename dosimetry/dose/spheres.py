"""Self-dose of a uniform sphere: for tumours too small for voxels, and as a check of the kernels."""

import numpy as np

from dosimetry.dose.kernels.radial import RadialKernel, radial_kernel
from nufitdose.errors import InputError
from nufitdose.nuclides import JOULE_PER_MEV


def sphere_s_value(nuclide: str, mass_g: float, density_g_ml: float = 1.0, *, progeny: bool = True) -> float:
    """Self-dose per decay of a sphere of water of any density with uniform activity, Gy/(Bq·s).

    S = κ Σ E(r) g(r) / m with g(r) = 1 - 3r/4R + r³/16R³ for r < 2R, the part of the chords from a random point
    of the sphere that still lie in it at distance r; radii in g/cm². The source has the medium's density around it.
    """
    for name, value in (("mass", mass_g), ("density", density_g_ml)):
        if not (np.isfinite(value) and value > 0.0):
            raise InputError(f"a {name} of {value!r} was given for a sphere, a positive number is wanted")
    kernel = radial_kernel(nuclide, progeny=progeny)
    radius = (3.0 * mass_g / (4.0 * np.pi * density_g_ml)) ** (1 / 3) * density_g_ml
    return JOULE_PER_MEV * absorbed_mev(kernel, radius) / (mass_g * 1e-3)


def absorbed_mev(kernel: RadialKernel, radius_g_cm2: float) -> float:
    """Energy per decay that a sphere with uniform activity keeps, MeV."""
    inner, outer = kernel.edges_g_cm2[:-1], kernel.edges_g_cm2[1:]
    return float(kernel.total_mev @ _mean_kept(inner / radius_g_cm2, outer / radius_g_cm2))


def _mean_kept(inner: np.ndarray, outer: np.ndarray) -> np.ndarray:
    """Mean of g over a shell, energy spread evenly in r: ∫ g dr = r - 3r²/8 + r⁴/64 in units of R, to 2."""
    low, high = np.minimum(inner, 2.0), np.minimum(outer, 2.0)

    def integral(r: np.ndarray) -> np.ndarray:
        return np.asarray(r - 3 * r**2 / 8 + r**4 / 64)

    return np.asarray((integral(high) - integral(low)) / (outer - inner))
