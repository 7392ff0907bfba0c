"""Collision stopping powers of electrons in any material, by Bethe's formula with Bragg's rule."""

from collections.abc import Mapping

import numpy as np

from dosimetry.dose.transport.photon_tables import atomic_masses
from dosimetry.dose.transport.water import ELECTRON_MEV, Numbers

#: 2π r_e² m c² N_A, MeV·cm²/mol.
_FACTOR = 0.153537
#: Mean excitation energies of elements in liquid and solid compounds, eV (ICRU Report 37, table 5.1); those that it
#: does not list are 1.13 times the element's own.
_EXCITATION_EV = {
    1: 19.2, 6: 81.0, 7: 82.0, 8: 106.0, 11: 168.4, 12: 176.3, 15: 195.5, 16: 203.4, 17: 180.0, 18: 212.4, 19: 214.7,
    20: 215.8, 22: 263.3, 26: 323.2, 29: 363.9, 30: 372.9, 47: 531.1, 50: 551.4, 53: 554.8,
}  # fmt: skip
_LOWEST_MEV = 1e-3  # slower electrons are stopped as those


def collision_stopping_power(fractions: Mapping[int, float], energy_mev: Numbers) -> Numbers:
    """S/ρ = 2πr²mc²N_A ⟨Z/A⟩ B(τ, I), MeV·cm²/g, ln I = Σ w Z/A ln I / Σ w Z/A (Bragg), slowest electrons of 1 keV.

    The density effect (1.2 % in water at 1 MeV, 0.1 % of ratios between tissues) is left out: it is for such ratios.
    """
    Z, weight = np.array(list(fractions), dtype=float), np.array(list(fractions.values()))
    electrons = weight * Z / atomic_masses(tuple(fractions))
    ln_excitation = float(electrons @ np.log([_EXCITATION_EV[int(z)] for z in Z])) / electrons.sum()
    bracket = stopping_number(np.maximum(energy_mev, _LOWEST_MEV), float(np.exp(ln_excitation)))
    return np.asarray(_FACTOR * electrons.sum() * bracket)


def stopping_number(energy_mev: Numbers, excitation_ev: float) -> Numbers:
    """B = [ln(τ²(τ+2)/2(I/mc²)²) + 1 - β² + (τ²/8 - (2τ+1) ln 2)/(τ+1)²]/β², τ = E/mc² (Bethe, Berger and Seltzer)."""
    tau = energy_mev / ELECTRON_MEV
    beta2 = tau * (tau + 2.0) / (tau + 1.0) ** 2
    bracket = np.log(tau**2 * (tau + 2.0) / 2.0) - 2.0 * np.log(excitation_ev * 1e-6 / ELECTRON_MEV) + 1.0 - beta2
    bracket += (tau**2 / 8.0 - (2.0 * tau + 1.0) * np.log(2.0)) / (tau + 1.0) ** 2
    return np.asarray(bracket / beta2)
