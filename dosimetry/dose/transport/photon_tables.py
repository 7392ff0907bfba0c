"""Photon cross-sections of elements and of what is made of them: absorption, scattering, pairs (cm²/g, MeV).

Photoelectric, coherent and incoherent cross-sections, scattering functions and form factors of the elements were
tabulated with xraylib 4.3 (Schoonjans et al., Spectrochim Acta B 2011;66:776, doi:10.1016/j.sab.2011.09.011) up to
0.8 MeV. Above, photoelectric and coherent absorption go on as powers, incoherent scattering is Klein and Nishina's
for free electrons, and pairs follow Maximon (J Res Natl Bur Stand B 1968;72:79).
"""

from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from typing import NamedTuple

import numpy as np

from dosimetry.dose.transport.water import AVOGADRO, CLASSICAL_RADIUS_CM, ELECTRON_MEV, FINE_STRUCTURE, Numbers

LOWEST_MEV, HIGHEST_MEV, NODES = 1e-3, 5.0, 480
#: Columns of `PhotonTables.values`.
TOTAL, INCOHERENT, COHERENT, PHOTOELECTRIC = range(4)
WATER = {1: 0.111894, 8: 0.888106}  # mass fractions by atomic number


class PhotonTables(NamedTuple):
    """Cross-sections on a uniform grid of ln E, and what the angles are drawn from, on a grid of x = sin(θ/2)/λ."""

    ln_lowest: float
    per_ln: float
    values: Numbers
    x_squared: Numbers
    bound: Numbers
    coherent_integral: Numbers


@lru_cache
def _elements() -> dict[str, Numbers]:
    with (resources.files("dosimetry.dose.transport") / "data/photon_elements.npz").open("rb") as file:
        return {name: values.astype(float) for name, values in np.load(file).items()}


def energy_grid() -> Numbers:
    """Energies of the nodes, MeV."""
    return np.exp(np.linspace(np.log(LOWEST_MEV), np.log(HIGHEST_MEV), NODES))


def known_elements() -> tuple[int, ...]:
    """Atomic numbers in the tables."""
    return tuple(int(Z) for Z in _elements()["z"])


def atomic_masses(Z: tuple[int, ...]) -> Numbers:
    """Atomic masses, g/mol."""
    return np.array([_elements()["atomic_mass"][known_elements().index(z)] for z in Z])


def klein_nishina(energy_mev: Numbers) -> Numbers:
    """Cross-section of one free electron, cm²."""
    k = energy_mev / ELECTRON_MEV
    first = (1 + k) / k**2 * (2 * (1 + k) / (1 + 2 * k) - np.log1p(2 * k) / k)
    return 2 * np.pi * CLASSICAL_RADIUS_CM**2 * (first + np.log1p(2 * k) / (2 * k) - (1 + 3 * k) / (1 + 2 * k) ** 2)


def pair_production(energy_mev: Numbers) -> Numbers:
    """Cross-section of an unscreened nucleus of charge one, cm²; Maximon's series near threshold and above 4 m."""
    k = np.maximum(energy_mev / ELECTRON_MEV, 2.0)
    e = (2 * k - 4) / (2 + k + 2 * np.sqrt(2 * k))
    near = 2 * np.pi / 3 * ((k - 2) / k) ** 3 * (1 + e / 2 + 23 / 40 * e**2 + 11 / 60 * e**3 + 29 / 960 * e**4)
    L, zeta3 = np.log(2 * k), 1.2020569031595942
    far = 28 / 9 * L - 218 / 27
    far += (2 / k) ** 2 * (6 * L - 3.5 + 2 / 3 * L**3 - L**2 - np.pi**2 / 3 * L + 2 * zeta3 + np.pi**2 / 6)
    far -= (2 / k) ** 4 * (3 / 16 * L + 1 / 8) + (2 / k) ** 6 * (29 / 2304 * L - 77 / 13824)
    return FINE_STRUCTURE * CLASSICAL_RADIUS_CM**2 * np.where(k < 4.0, near, far)


def cross_sections(fractions: Mapping[int, float], energy_mev: Numbers) -> Numbers:
    """Total, incoherent, coherent and photoelectric mass attenuation coefficient, cm²/g, [energies, 4].

    `fractions` are mass fractions by atomic number; the rest of the total are pairs.
    """
    table = _elements()
    ln_e = np.log(table["energy_kev"] / 1e3)
    at = np.log(energy_mev)
    sums = np.zeros((energy_mev.size, 3))
    pairs = np.zeros(energy_mev.size)
    for Z, fraction in fractions.items():
        row = known_elements().index(Z)
        per_g = AVOGADRO / table["atomic_mass"][row]
        for column, name in enumerate(("incoherent", "coherent", "photo")):
            ln_s = np.log(table[f"{name}_cm2_g"][row])
            inside = np.exp(np.interp(at, ln_e, ln_s))
            if name == "incoherent":
                beyond = Z * per_g * klein_nishina(energy_mev)
            else:
                slope = (ln_s[-1] - ln_s[-8]) / (ln_e[-1] - ln_e[-8])
                beyond = np.exp(ln_s[-1] + slope * (at - ln_e[-1]))
            sums[:, column] += fraction * np.where(at > ln_e[-1], beyond, inside)
        pairs += fraction * per_g * Z**2 * pair_production(energy_mev)
    return np.column_stack([sums.sum(axis=1) + pairs, sums])


def photon_tables(fractions: Mapping[int, float]) -> PhotonTables:
    """Tables of a material at 1 g/cm³."""
    E = energy_grid()
    table = _elements()
    rows = [known_elements().index(Z) for Z in fractions]
    moles = np.array(list(fractions.values())) / atomic_masses(tuple(fractions))
    Z = np.array(list(fractions), float)
    x2 = table["x_per_angstrom"] ** 2
    bound = (moles * Z) @ table["scattering_function"][rows] / float(moles @ Z)
    squared = moles @ table["form_factor"][rows] ** 2
    integral = np.concatenate([[0.0], np.cumsum((squared[1:] + squared[:-1]) / 2 * np.diff(x2))])
    ln_e = np.log(E)
    return PhotonTables(
        float(ln_e[0]), float(1 / (ln_e[1] - ln_e[0])), cross_sections(fractions, E), x2, bound, integral
    )
