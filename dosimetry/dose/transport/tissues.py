"""Photon cross-sections of several tissues side by side, and what photons of an energy leave in them (cm²/g, MeV)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dosimetry.dose.transport.photon_tables import (
    COHERENT,
    HIGHEST_MEV,
    INCOHERENT,
    LOWEST_MEV,
    PHOTOELECTRIC,
    TOTAL,
    PhotonTables,
    energy_grid,
    photon_tables,
)
from dosimetry.dose.transport.water import ELECTRON_MEV, Numbers
from nufitdose.emissions import Spectrum

_ANGSTROM_MEV = 0.0123984198
_ANGLES = 400
_SCATTERED_BINS = 160


class TissueTables(NamedTuple):
    """Cross-sections on a uniform grid of ln E, tissue along the last axis, and what the angles are drawn from."""

    ln_lowest: float
    per_ln: float
    total: Float[ndarray, "energies tissues"]
    incoherent: Float[ndarray, "energies tissues"]
    coherent: Float[ndarray, "energies tissues"]
    photoelectric: Float[ndarray, "energies tissues"]
    absorbed: Float[ndarray, "energies tissues"]
    x_squared: Float[ndarray, " x"]
    bound: Float[ndarray, "tissues x"]
    coherent_integral: Float[ndarray, "tissues x"]


def tissue_tables(compositions: Sequence[Mapping[int, float]]) -> TissueTables:
    """Tables of tissues given by mass fractions by atomic number."""
    each = [photon_tables(fractions) for fractions in compositions]
    values = np.stack([tables.values for tables in each], axis=-1)
    total, incoherent, coherent, photoelectric = (np.ascontiguousarray(values[:, n]) for n in range(4))
    absorbed = np.stack([energy_absorption(tables) for tables in each], axis=-1)
    bound, integral = np.stack([t.bound for t in each]), np.stack([t.coherent_integral for t in each])
    grid, x2 = (each[0].ln_lowest, each[0].per_ln), each[0].x_squared
    return TissueTables(*grid, total, incoherent, coherent, photoelectric, absorbed, x2, bound, integral)


def energy_absorption(tables: PhotonTables) -> Numbers:
    """μ_tr/ρ at the energies of the grid: photoelectric + incoherent · T̄/E + pairs · (E - 2m)/E.

    What electrons radiate again (below 1 % up to 1.5 MeV) is not taken off, photons of fluorescence are absorbed where
    they arise. T̄ is the mean of Klein and Nishina's electrons weighted with the scattering function, as photons are
    scattered by `photons.compton`.
    """
    E, values = energy_grid(), tables.values
    incoherent, photoelectric = values[:, INCOHERENT], values[:, PHOTOELECTRIC]
    pairs = values[:, 0] - incoherent - values[:, COHERENT] - photoelectric
    given = np.maximum(E - 2.0 * ELECTRON_MEV, 0.0) / E
    return np.asarray(photoelectric + incoherent * _mean_transfer(tables) + np.maximum(pairs, 0.0) * given)


def _mean_transfer(tables: PhotonTables) -> Numbers:
    """Mean part of a photon's energy that incoherent scattering gives to an electron."""
    E, cosine = energy_grid()[:, None], np.linspace(-1.0, 1.0, _ANGLES)
    k = E / ELECTRON_MEV
    e = 1.0 / (1.0 + k * (1.0 - cosine))
    x2 = (E / _ANGSTROM_MEV) ** 2 * (1.0 - cosine) / 2.0
    weight = e**2 * (e + 1.0 / e - 1.0 + cosine**2) * np.interp(x2, tables.x_squared, tables.bound)
    return np.asarray(np.trapezoid(weight * (1.0 - e), cosine) / np.trapezoid(weight, cosine))


def absorbed_at(tables: PhotonTables, energy_mev: Numbers) -> tuple[Numbers, Numbers]:
    """μ/ρ and μ_tr/ρ at these energies."""
    at, nodes = np.log(energy_mev), np.log(energy_grid())
    return np.interp(at, nodes, tables.values[:, TOTAL]), np.interp(at, nodes, energy_absorption(tables))


def scattered_once(photons: Spectrum, tables: PhotonTables) -> Spectrum:
    """The photons of a spectrum after their first collision, by energy."""
    cosine = np.linspace(-1.0, 1.0, 41)
    middle = (cosine[1:] + cosine[:-1]) / 2
    E = photons.energy_mev[:, None]
    e = 1.0 / (1.0 + E / ELECTRON_MEV * (1.0 - middle))
    x2 = (E / _ANGSTROM_MEV) ** 2 * (1.0 - middle) / 2.0
    weight = e**2 * (e + 1.0 / e - 1.0 + middle**2) * np.interp(x2, tables.x_squared, tables.bound)
    weight /= weight.sum(axis=1, keepdims=True)
    at, nodes = np.log(photons.energy_mev), np.log(energy_grid())
    scattering = [np.interp(at, nodes, tables.values[:, column]) for column in (INCOHERENT, TOTAL)]
    number = (photons.per_decay * scattering[0] / scattering[1])[:, None] * weight
    edges = np.geomspace(LOWEST_MEV, HIGHEST_MEV, _SCATTERED_BINS + 1)
    energy = E * e
    where = np.clip(np.searchsorted(edges, energy.ravel()) - 1, 0, _SCATTERED_BINS - 1)
    count = np.bincount(where, weights=number.ravel(), minlength=_SCATTERED_BINS)
    carried = np.bincount(where, weights=(number * energy).ravel(), minlength=_SCATTERED_BINS)
    filled = count > 0.0
    return Spectrum(carried[filled] / count[filled], count[filled])
