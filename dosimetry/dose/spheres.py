"""Self-dose of a uniform sphere: for tumours too small for voxels, and as a check of the kernels."""

from collections.abc import Mapping

import numpy as np

from dosimetry.dose.kernels.radial import RadialKernel, all_photons, radial_kernel
from dosimetry.dose.transport.bethe import collision_stopping_power
from dosimetry.dose.transport.photon_tables import WATER, known_elements, photon_tables
from dosimetry.dose.transport.tissues import absorbed_at
from dosimetry.dose.transport.water import Numbers
from nufitdose.emissions import EmissionSpectra, chain_spectra, emission_spectra
from nufitdose.errors import InputError
from nufitdose.nuclides import JOULE_PER_MEV, canonical_name

_WHOLE = 0.01  # by which mass fractions may miss one, as rounded tables do


def sphere_s_value(
    nuclide: str,
    mass_g: float,
    density_g_ml: float = 1.0,
    material: Mapping[int, float] = WATER,
    *,
    progeny: bool = True,
) -> float:
    """Self-dose per decay of a sphere with uniform activity, Gy/(Bq·s), of any density and material.

    S = κ Σ E(r) g(r) / m with g(r) = 1 - 3r/4R + r³/16R³ for r < 2R, the part of the chords from a random point
    of the sphere that still lie in it at distance r; radii in g/cm². The source has the medium's density around it.
    `material`: mass fractions by atomic number (water unless told otherwise). In it charged particles go as far as in
    water of the same stopping power, R S/S_w, and photons leave μ_tr/μ_tr,w of what they leave in water. `InputError`
    for what is no mass, density or composition, or an unknown nuclide.
    """
    for name, value in (("mass", mass_g), ("density", density_g_ml)):
        if not (np.isfinite(value) and value > 0.0):
            raise InputError(f"a {name} of {value!r} was given for a sphere, a positive number is wanted")
    _check_material(material)
    kernel = radial_kernel(nuclide, progeny=progeny)
    radius = (3.0 * mass_g / (4.0 * np.pi * density_g_ml)) ** (1 / 3) * density_g_ml
    if material == WATER:
        return JOULE_PER_MEV * absorbed_mev(kernel, radius) / (mass_g * 1e-3)
    name = canonical_name(nuclide)
    stopping, absorption = _relative_to_water(chain_spectra(name) if progeny else emission_spectra(name), material)
    kept_mev = _kept_mev(kernel, kernel.charged_mev, radius * stopping)
    kept_mev += min(absorption * _kept_mev(kernel, kernel.photon_mev, radius), float(kernel.photon_mev.sum()))
    return JOULE_PER_MEV * kept_mev / (mass_g * 1e-3)


def absorbed_mev(kernel: RadialKernel, radius_g_cm2: float) -> float:
    """Energy per decay that a sphere of water with uniform activity keeps, MeV."""
    return _kept_mev(kernel, kernel.total_mev, radius_g_cm2)


def _kept_mev(kernel: RadialKernel, energy_mev: Numbers, radius_g_cm2: float) -> float:
    inner, outer = kernel.edges_g_cm2[:-1], kernel.edges_g_cm2[1:]
    return float(energy_mev @ _mean_kept(inner / radius_g_cm2, outer / radius_g_cm2))


def _mean_kept(inner: np.ndarray, outer: np.ndarray) -> np.ndarray:
    """Mean of g over a shell, energy spread evenly in r: ∫ g dr = r - 3r²/8 + r⁴/64 in units of R, to 2."""
    low, high = np.minimum(inner, 2.0), np.minimum(outer, 2.0)

    def integral(r: np.ndarray) -> np.ndarray:
        return np.asarray(r - 3 * r**2 / 8 + r**4 / 64)

    return np.asarray((integral(high) - integral(low)) / (outer - inner))


def _relative_to_water(spectra: EmissionSpectra, material: Mapping[int, float]) -> tuple[float, float]:
    """S/S_w of the electrons and μ_tr/μ_tr,w of the photons of a decay, means weighted by energy."""
    ratios = []
    for spectrum, of in ((spectra.electron, collision_stopping_power), (all_photons(spectra), _absorption)):
        energy_mev = spectrum.energy_mev * spectrum.per_decay
        wanted, water = (of(fractions, spectrum.energy_mev) for fractions in (material, WATER))
        ratios.append(float(energy_mev @ wanted / (energy_mev @ water)) if energy_mev.any() else 1.0)
    return ratios[0], ratios[1]


def _absorption(fractions: Mapping[int, float], energy_mev: Numbers) -> Numbers:
    return absorbed_at(photon_tables(dict(fractions)), energy_mev)[1]


def _check_material(material: Mapping[int, float]) -> None:
    unknown = sorted(set(material) - set(known_elements()))
    if unknown:
        raise InputError(
            f"a material holds elements of atomic number {', '.join(map(str, unknown))}, which are not in the tables",
            remedy=f"There are {', '.join(map(str, known_elements()))}",
        )
    total = float(sum(material.values()))
    if not (abs(total - 1.0) < _WHOLE and min(material.values(), default=-1.0) >= 0.0):
        raise InputError(f"the mass fractions of a material add up to {total:g}, they must be positive and add up to 1")
