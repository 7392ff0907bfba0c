"""Water as electrons meet it: constants, stopping powers and ranges (units MeV, cm, at 1 g/cm³)."""

from functools import lru_cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

ELECTRON_MEV = 0.51099895
CLASSICAL_RADIUS_CM = 2.8179403262e-13
FINE_STRUCTURE = 1.0 / 137.035999
AVOGADRO = 6.02214076e23
WATER_G_MOL = 18.01528
MOLECULES_PER_G = AVOGADRO / WATER_G_MOL
ELECTRONS_PER_G = 10.0 * MOLECULES_PER_G
_MEAN_EXCITATION_MEV = 75e-6

Numbers = NDArray[np.float64]
Real = NDArray[np.float64] | np.float64 | float


@lru_cache
def _estar() -> Numbers:
    """Rows energy MeV, collision and radiative stopping power MeV·cm²/g, CSDA range g/cm² (NIST ESTAR)."""
    source = resources.files("dosimetry.dose.transport") / "data/estar_water.csv"
    with source.open(encoding="utf-8") as lines:
        return np.loadtxt(lines, delimiter=",", skiprows=2, usecols=(0, 1, 2, 3))


def _curve(column: int) -> Any:
    table = _estar()
    return PchipInterpolator(np.log(table[:, 0]), np.log(table[:, column]), extrapolate=True)


@lru_cache
def _curves() -> tuple[Any, Any]:
    return _curve(1), _curve(2)


def collision_stopping(energy_mev: Numbers) -> Numbers:
    """Collision stopping power, MeV·cm²/g; below the table as ln(1.166 E/I)/E (Bethe, non-relativistic)."""
    lowest = _estar()[0, 0]
    inside = np.exp(_curves()[0](np.log(np.maximum(energy_mev, lowest))))

    def bethe(E: Any) -> Any:
        return np.log(1.166 * E / _MEAN_EXCITATION_MEV) / E

    return np.where(energy_mev < lowest, inside * bethe(np.minimum(energy_mev, lowest)) / bethe(lowest), inside)


def radiative_stopping(energy_mev: Numbers) -> Numbers:
    """Radiative stopping power, MeV·cm²/g, constant below the table."""
    table = _estar()
    return np.exp(_curves()[1](np.log(np.clip(energy_mev, table[0, 0], table[-1, 0]))))


def csda_range(energy_mev: Numbers) -> Numbers:
    """R(E) = ∫ dE / S in g/cm², the integral started at the tabulated range of the lowest energy."""
    lowest, start = _estar()[0, 0], _estar()[0, 3]
    ln_e = np.linspace(np.log(2e-4), np.log(5.0), 6000)
    E = np.exp(ln_e)
    steps = E / (collision_stopping(E) + radiative_stopping(E))
    R = np.concatenate([[0.0], np.cumsum((steps[1:] + steps[:-1]) / 2 * np.diff(ln_e))])
    R += start - np.interp(np.log(lowest), ln_e, R)
    return np.exp(np.interp(np.log(energy_mev), ln_e, np.log(np.maximum(R, 1e-7))))


def energy_of_range(range_g_cm2: float) -> float:
    """The energy in MeV whose CSDA range this is."""
    E = np.exp(np.linspace(np.log(3e-4), np.log(5.0), 3000))
    return float(np.exp(np.interp(np.log(range_g_cm2), np.log(csda_range(E)), np.log(E))))


def beta_squared(energy_mev: Real) -> Any:
    """(v/c)² of an electron of this kinetic energy."""
    gamma = 1.0 + energy_mev / ELECTRON_MEV
    return 1.0 - 1.0 / gamma**2
