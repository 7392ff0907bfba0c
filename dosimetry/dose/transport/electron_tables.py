"""What the electron transport looks up: hard collisions one by one, soft ones by their moments.

Mixed simulation after Fernández-Varea et al., Nucl Instrum Meth B 1993;73:447, doi:10.1016/0168-583X(93)95827-R.
Elastic scattering is the screened Rutherford cross-section with Molière's screening angle times McKinley and
Feshbach's spin factor; collisions with electrons follow Møller, and their soft part scatters like a nucleus
of charge one. μ = (1 - cos θ)/2 throughout; lengths in cm of water, energies in MeV.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from dosimetry.dose.transport.bremsstrahlung import hard_photons
from dosimetry.dose.transport.water import (
    CLASSICAL_RADIUS_CM,
    ELECTRON_MEV,
    ELECTRONS_PER_G,
    FINE_STRUCTURE,
    MOLECULES_PER_G,
    Numbers,
    Real,
    beta_squared,
    collision_stopping,
    radiative_stopping,
)

LOWEST_MEV, HIGHEST_MEV, NODES = 3e-4, 5.0, 320
DEFLECTION_PER_STEP = 0.05
ENERGY_LOSS_PER_STEP = 0.05
LOWEST_PHOTON_MEV = 0.01
#: Columns of `ElectronTables.values`.
MAJORANT, ELASTIC, MOLLER, RADIATIVE, SOFT_LOSS, STRAGGLING, SOFT_T1, SOFT_T2, MU_CUT, SCREENING, BETA2 = range(11)


class ElectronTables(NamedTuple):
    """Tables on a uniform grid of ln E, and the energy at which an electron stops."""

    ln_lowest: float
    per_ln: float
    values: Numbers
    photon_mev: Numbers
    stop_mev: float


def energy_grid() -> Numbers:
    """Energies of the nodes, MeV."""
    return np.exp(np.linspace(np.log(LOWEST_MEV), np.log(HIGHEST_MEV), NODES))


@lru_cache(maxsize=64)
def electron_tables(stop_mev: float) -> ElectronTables:
    """Tables for electrons followed down to `stop_mev`; collisions that lose more than that are hard."""
    E = energy_grid()
    moller, hard_loss, straggling = moller_moments(E, stop_mev)
    photons, radiated, photon_mev = _radiation()
    soft_loss = collision_stopping(E) - hard_loss + radiative_stopping(E) - radiated
    elastic, t1, t2, mu_cut = scattering_moments(E, stop_mev)
    hard = elastic + moller + photons
    ln_e = np.log(E)
    below = np.array([hard[(ln_e <= x + 1e-9) & (ln_e >= x + np.log(0.8))].max() for x in ln_e])
    columns = [
        below * 1.01,
        elastic,
        moller,
        photons,
        soft_loss,
        straggling,
        t1,
        t2,
        mu_cut,
        screening(E, 8),
        beta_squared(E),
    ]
    step = ln_e[1] - ln_e[0]
    return ElectronTables(float(ln_e[0]), float(1.0 / step), np.stack(columns, axis=1), photon_mev, stop_mev)


@lru_cache
def _radiation() -> tuple[Numbers, Numbers, Numbers]:
    return hard_photons(energy_grid(), LOWEST_PHOTON_MEV)


def moller_moments(energy_mev: Numbers, cut_mev: float) -> tuple[Numbers, Numbers, Numbers]:
    """Møller collisions: number per cm above the cut, energy they lose per cm, variance per cm of those below it.

    dσ/dW = 2π r² m/β² [1/W² + 1/(E-W)² + 1/(E+m)² - (2E+m) m/((E+m)² W (E-W))], cut < W < E/2.
    """
    E, m = energy_mev, ELECTRON_MEV
    factor = 2 * np.pi * CLASSICAL_RADIUS_CM**2 * m * ELECTRONS_PER_G / beta_squared(E)
    low = np.minimum(cut_mev, 0.999 * E / 2)
    top = E / 2
    a, b = 1 / (E + m) ** 2, (2 * E + m) * m / (E + m) ** 2

    def number(W: Numbers) -> Numbers:
        return -1 / W + 1 / (E - W) + a * W - b / E * np.log(W / (E - W))

    def loss(W: Numbers) -> Numbers:
        return np.log(W) + E / (E - W) + np.log(E - W) + a * W**2 / 2 + b * np.log(E - W)

    hard = cut_mev < E / 2
    n = np.where(hard, number(top) - number(low), 0.0)
    lost = np.where(hard, loss(top) - loss(low), 0.0)
    return factor * n, factor * lost, factor * low


def screening(energy_mev: Real, Z: float) -> Any:
    """Molière's screening of an atom of charge Z, as η in 1/(μ + η)²."""
    momentum2 = energy_mev * (energy_mev + 2 * ELECTRON_MEV) / ELECTRON_MEV**2
    born = 1.13 + 3.76 * (FINE_STRUCTURE * Z) ** 2 / beta_squared(energy_mev)
    return (FINE_STRUCTURE * Z ** (1 / 3) / (2 * 0.88534)) ** 2 / momentum2 * born


def electronic_screening(energy_mev: Real, Z: float) -> Any:
    """Screening of scattering by the electrons of an atom: Fano's correction (Phys Rev 1954;93:117) as an η.

    ln(1/η) grows by ln[0.160 Z^(-2/3) (1 + 3.33 αZ/β)] - u, u = -3.6 for hydrogen and -5 beyond.
    """
    growth = 0.160 * Z ** (-2 / 3) * (1 + 3.33 * FINE_STRUCTURE * Z / np.sqrt(beta_squared(energy_mev)))
    return screening(energy_mev, Z) / (growth * np.exp(3.6 if Z == 1 else 5.0))


def spin_factor(mu: Numbers, beta2: Real, Z: float) -> Any:
    """McKinley and Feshbach, Phys Rev 1948;74:1759: 1 - β²μ + π α Z β √μ (1 - √μ)."""
    root = np.sqrt(mu)
    return 1.0 - beta2 * mu + np.pi * FINE_STRUCTURE * Z * np.sqrt(beta2) * root * (1.0 - root)


def scattering_moments(energy_mev: Numbers, cut_mev: float) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """Hard elastic events per cm, first and second transport coefficient per cm of soft ones, μ between the two."""
    n = energy_mev.size
    hard, t1, t2, mu_cut = np.zeros(n), np.zeros(n), np.zeros(n), np.ones(n)
    stopping = collision_stopping(energy_mev)
    for row, E in enumerate(energy_mev):
        eta = float(screening(E, 8))
        u = np.linspace(0.0, np.log1p(1.0 / eta), 1500)
        mu = np.minimum(eta * np.expm1(u), 1.0)
        nuclear, electronic = _differential(mu, float(E))
        electronic = np.where(mu <= _mu_of_loss(float(E), min(cut_mev, float(E) / 2)), electronic, 0.0)
        jacobian = mu + eta
        from_top = _integral((nuclear * jacobian)[::-1], -u[::-1])[::-1]
        transport = _integral(2 * mu * nuclear * jacobian, u)[-1]
        between = max(1 / from_top[0], min(DEFLECTION_PER_STEP / transport, ENERGY_LOSS_PER_STEP * E / stopping[row]))
        hard[row] = 1 / between
        mu_cut[row] = np.interp(hard[row], from_top[::-1], mu[::-1])
        # Hard events are drawn with oxygen's shape; what the moments of all nuclei have beyond theirs is soft.
        drawn = _hard_shape(mu_cut[row], eta, float(beta_squared(E)))
        for moment, weight in ((t1, _first), (t2, _second)):
            everything = np.trapezoid(weight(mu) * (nuclear + electronic) * jacobian, u)
            moment[row] = max(everything - hard[row] * drawn(weight), 0.0)
    return hard, t1, t2, mu_cut


def _first(mu: Numbers) -> Numbers:
    return 2 * mu


def _second(mu: Numbers) -> Numbers:
    return 6 * mu * (1 - mu)


def _hard_shape(mu_cut: float, eta: float, beta2: float) -> Callable[[Callable[[Numbers], Numbers]], float]:
    """Mean of a function of μ over hard events on oxygen."""
    u = np.linspace(np.log(mu_cut + eta), np.log(1.0 + eta), 400)
    mu = np.exp(u) - eta
    density = spin_factor(np.maximum(mu, 0.0), beta2, 8) / (mu + eta)
    density /= np.trapezoid(density, u)
    return lambda function: float(np.trapezoid(function(mu) * density, u))


def _integral(values: Numbers, at: Numbers) -> Numbers:
    return np.concatenate([[0.0], np.cumsum((values[1:] + values[:-1]) / 2 * np.diff(at))])


def _differential(mu: Numbers, energy_mev: float) -> tuple[Numbers, Numbers]:
    """dΣ/dμ of the nuclei and of the electrons of water, per cm."""
    E = energy_mev
    beta2 = beta_squared(E)
    unit = 4 * np.pi * (CLASSICAL_RADIUS_CM / (2 * (1 + E / ELECTRON_MEV) * beta2)) ** 2 * MOLECULES_PER_G
    nuclear, electronic = np.zeros_like(mu), np.zeros_like(mu)
    for Z, atoms in ((8, 1), (1, 2)):
        shape = unit * atoms / (mu + screening(E, Z)) ** 2
        nuclear += Z**2 * shape * spin_factor(mu, beta2, Z)
        electronic += Z * unit * atoms / (mu + electronic_screening(E, Z)) ** 2
    return nuclear, electronic


def _mu_of_loss(energy_mev: float, loss_mev: float) -> float:
    """μ of the electron that gave `loss_mev` to an electron at rest."""
    E, W, m = energy_mev, loss_mev, ELECTRON_MEV
    cos2 = (E - W) * (E + 2 * m) / (E * (E - W + 2 * m))
    return float((1 - np.sqrt(cos2)) / 2)
