"""Photons that electrons radiate in water: shape by the Bethe-Heitler formula, amount by ESTAR."""

import numpy as np

from dosimetry.dose.transport.water import ELECTRON_MEV, FINE_STRUCTURE, Numbers, radiative_stopping

_OXYGEN = 8.0


def photon_energy_shape(electron_mev: float, photon_mev: Numbers) -> Numbers:
    """k dσ/dk up to a factor, zero beyond the electron's energy.

    The cross-section is formula 3BN of Koch and Motz (Rev Mod Phys 1959;31:920, doi:10.1103/RevModPhys.31.920),
    unscreened Born approximation, times Elwert's Coulomb factor for oxygen.
    """
    k = np.minimum(photon_mev, electron_mev * (1 - 1e-6)) / ELECTRON_MEV
    E0 = 1.0 + electron_mev / ELECTRON_MEV
    E = E0 - k
    p0, p = np.sqrt(E0**2 - 1.0), np.sqrt(np.maximum(E**2 - 1.0, 1e-14))
    e0, e = 2 * np.arccosh(E0), 2 * np.arccosh(np.maximum(E, 1.0 + 1e-14))
    L = 2.0 * np.log(np.maximum((E0 * E + p0 * p - 1.0) / k, 1.0 + 1e-12))
    bracket = 4 / 3 - 2 * E0 * E * (p**2 + p0**2) / (p0 * p) ** 2 + e0 * E / p0**3 + e * E0 / p**3 - e0 * e / (p0 * p)
    bracket += L * (
        8 / 3 * E0 * E / (p0 * p)
        + k**2 / (p0 * p) ** 3 * ((E0 * E) ** 2 + (p0 * p) ** 2)
        + k
        / (2 * p0 * p)
        * ((E0 * E + p0**2) / p0**3 * e0 - (E0 * E + p**2) / p**3 * e + 2 * k * E0 * E / (p * p0) ** 2)
    )
    b0, b = p0 / E0, p / E
    reach = 2 * np.pi * FINE_STRUCTURE * _OXYGEN
    elwert = b0 / b * -np.expm1(-reach / b0) / -np.expm1(-reach / b)
    return np.where(photon_mev < electron_mev, np.maximum(p / p0 * bracket * elwert, 0.0), 0.0)


def hard_photons(electron_mev: Numbers, lowest_mev: float, quantiles: int = 65) -> tuple[Numbers, Numbers, Numbers]:
    """Photons above `lowest_mev`: their number per cm, the energy they take per cm, and quantiles of their energy.

    Shapes [electron energies], [electron energies], [electron energies, quantiles]; energies in MeV.
    """
    number, lost = np.zeros_like(electron_mev), np.zeros_like(electron_mev)
    table = np.full((electron_mev.size, quantiles), lowest_mev)
    stopping = radiative_stopping(electron_mev)
    for row, E in enumerate(electron_mev):
        if lowest_mev * 1.05 >= E:
            continue
        k = np.geomspace(1e-4 * E, E * (1 - 1e-5), 800)
        shape = photon_energy_shape(float(E), k)
        scale = stopping[row] / np.trapezoid(shape, k)
        above = np.geomspace(lowest_mev, E * (1 - 1e-5), 400)
        rate = scale * photon_energy_shape(float(E), above) / above
        cumulative = np.concatenate([[0.0], np.cumsum((rate[1:] + rate[:-1]) / 2 * np.diff(above))])
        number[row] = cumulative[-1]
        lost[row] = np.trapezoid(rate * above, above)
        table[row] = np.interp(np.linspace(0.0, 1.0, quantiles), cumulative / cumulative[-1], above)
    return number, lost, table
