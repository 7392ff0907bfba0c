"""The radial dose kernel of a nuclide in water, composed of mono-energetic ones.

Electrons are looked up at the radius over their range, r/R(E), photons at the radius in mean free paths, r·μ(E),
so that between two tabulated energies only what changes slowly is interpolated.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from dosimetry.dose.transport.electron_kernels import PHOTON_EDGES_MEV, SHELLS_PER_RANGE
from dosimetry.dose.transport.photon_kernels import EDGES_CM
from dosimetry.dose.transport.photon_tables import WATER, cross_sections
from dosimetry.dose.transport.water import csda_range
from nufitdose.emissions import EmissionSpectra, Spectrum, chain_spectra, emission_spectra
from nufitdose.nuclides import canonical_name

Numbers = NDArray[np.float64]

#: Edges of the shells, g/cm² from the source (cm in water); the first starts at the source.
EDGES_G_CM2 = np.concatenate([[0.0], np.geomspace(1e-4, 1e-3, 31)[:-1], np.geomspace(1e-3, 300.0, 841)])


@dataclass(frozen=True, eq=False)
class RadialKernel:
    """Energy per decay in shells around a point source in water, MeV, and its statistical standard errors.

    `charged` is what beta particles, electrons, alphas and recoils give off, `photon` what photons do,
    bremsstrahlung among them; `escaped_mev` passes the outermost edge.
    """

    nuclide: str
    edges_g_cm2: Float[ndarray, " edges"]
    charged_mev: Float[ndarray, " shells"]
    photon_mev: Float[ndarray, " shells"]
    u_charged_mev: Float[ndarray, " shells"]
    u_photon_mev: Float[ndarray, " shells"]
    emitted_mev: float
    escaped_mev: float

    @property
    def total_mev(self) -> Numbers:
        """Energy per decay in each shell, MeV."""
        return np.asarray(self.charged_mev + self.photon_mev)

    def reach_g_cm2(self, part: float) -> float:
        """Radius within which this part of the emitted energy is deposited, g/cm²."""
        inside = np.concatenate([[0.0], np.cumsum(self.total_mev)])
        return float(np.interp(part * self.emitted_mev, inside, self.edges_g_cm2))


@lru_cache(maxsize=64)
def radial_kernel(nuclide: str, *, progeny: bool = True) -> RadialKernel:
    """Radial kernel of a nuclide with its short-lived progeny (`nuclides.progeny_decays`), or of it alone."""
    name = canonical_name(nuclide)
    return compose(name, chain_spectra(name) if progeny else emission_spectra(name))


def compose(name: str, spectra: EmissionSpectra, edges_g_cm2: Numbers = EDGES_G_CM2) -> RadialKernel:
    """Radial kernel of what a decay emits; alphas, recoils and what is too slow for the tables stay at the source."""
    charged, u_charged = _electrons(spectra.electron, edges_g_cm2)
    charged[0] += spectra.alpha.total_mev + spectra.recoil.total_mev
    deposited, u_photon, escaped_mev = _photons(all_photons(spectra), edges_g_cm2)
    return RadialKernel(name, edges_g_cm2, charged, deposited, u_charged, u_photon, spectra.total_mev, escaped_mev)


@lru_cache
def _table(kind: str) -> dict[str, Numbers]:
    with (resources.files("dosimetry.dose.kernels") / f"data/{kind}.npz").open("rb") as file:
        return {name: values.astype(float) for name, values in np.load(file).items()}


def _shares(spectrum: Spectrum, nodes_mev: Numbers) -> tuple[float, list[tuple[float, int, float]]]:
    """Energy per decay below the table, and (energy, row, energy per decay) of the rest on both rows beside it.

    Between two rows the energy is shared linearly in ln E; beyond the last row all goes to that.
    """
    energy_mev = spectrum.energy_mev * spectrum.per_decay
    followed = (spectrum.energy_mev >= nodes_mev[0]) & (energy_mev > 0.0)
    E = spectrum.energy_mev[followed]
    place = np.interp(np.log(E), np.log(nodes_mev), np.arange(nodes_mev.size, dtype=float))
    lower = np.minimum(place.astype(np.int64), nodes_mev.size - 2)
    upper_part = place - lower
    share = energy_mev[followed]
    rows = [*zip(E, lower, share * (1 - upper_part), strict=True), *zip(E, lower + 1, share * upper_part, strict=True)]
    return float(energy_mev[~followed].sum()), [(float(e), int(row), float(w)) for e, row, w in rows if w > 0.0]


def all_photons(spectra: EmissionSpectra) -> Spectrum:
    """Photons of a decay and those that its electrons radiate in water, which are taken to start with it."""
    table = _table("electrons")
    radiated = np.zeros(table["radiated"].shape[1])
    for _, row, share_mev in _shares(spectra.electron, table["energy_mev"])[1]:
        radiated += share_mev * table["radiated"][row]
    middle = np.sqrt(PHOTON_EDGES_MEV[1:] * PHOTON_EDGES_MEV[:-1])
    return _both(spectra.photon, Spectrum(middle, radiated / middle))


def radiated_part(energy_mev: Numbers) -> Numbers:
    """Part of an electron's energy that it radiates in water, by its energy; the same as in `all_photons`."""
    table = _table("electrons")
    nodes = np.log(table["energy_mev"])
    part = np.interp(np.log(energy_mev), nodes, table["radiated"].sum(axis=1))
    return np.where(energy_mev < table["energy_mev"][0], 0.0, part)


def _electrons(spectrum: Spectrum, edges: Numbers) -> tuple[Numbers, Numbers]:
    """Energy of electrons in the shells, and a bound of its standard error."""
    table = _table("electrons")
    cumulative = np.cumsum(np.pad(table["deposited"], ((0, 0), (1, 0))), axis=1)
    radius = np.arange(cumulative.shape[1]) / SHELLS_PER_RANGE
    slow_mev, shares = _shares(spectrum, table["energy_mev"])
    inside = _at_source(slow_mev, edges)
    errors = np.zeros((table["energy_mev"].size, edges.size - 1))
    ranges = csda_range(np.array([energy_mev for energy_mev, _, _ in shares]))
    for (_, row, share_mev), R in zip(shares, ranges, strict=True):
        inside += share_mev * np.interp(edges / R, radius, cumulative[row])
        errors[row] += share_mev * _shared_out(table["u_deposited"][row], radius, edges / R)
    return np.diff(inside), np.sqrt((errors**2).sum(axis=0))


def _photons(spectrum: Spectrum, edges: Numbers) -> tuple[Numbers, Numbers, float]:
    """Energy of photons in the shells, a bound of its standard error, and what passes the outermost edge."""
    table = _table("photons")
    slow_mev, shares = _shares(spectrum, table["energy_mev"])
    inside = _at_source(slow_mev, edges)
    errors = np.zeros((table["energy_mev"].size, edges.size - 1))
    attenuation = cross_sections(WATER, np.array([energy_mev for energy_mev, _, _ in shares]))[:, 0]
    nodes = cross_sections(WATER, table["energy_mev"])[:, 0]
    curves = {row: _photon_curve(table["deposited"][row]) for row in {row for _, row, _ in shares}}
    for (_, row, share_mev), mu in zip(shares, attenuation, strict=True):
        scaled = edges * (mu / nodes[row])
        inside += share_mev * curves[row](scaled)
        errors[row] += share_mev * _shared_out(table["u_deposited"][row, 1:], EDGES_CM, scaled)
    return np.diff(inside), np.sqrt((errors**2).sum(axis=0)), max(spectrum.total_mev - float(inside[-1]), 0.0)


def _at_source(energy_mev: float, edges: Numbers) -> Numbers:
    """Energy within each edge of what does not leave the source."""
    return np.where(edges > 0.0, energy_mev, 0.0)


def _photon_curve(deposited: Numbers) -> Callable[[Numbers], Numbers]:
    """Part of the energy within a radius: a smooth power of it between the tabulated edges, ∝ r below them."""
    inside = np.maximum(np.cumsum(deposited), 1e-12)
    curve = PchipInterpolator(np.log(EDGES_CM), np.log(inside))

    def within(radius_cm: Numbers) -> Numbers:
        ln_r = np.log(np.clip(radius_cm, EDGES_CM[0], EDGES_CM[-1]))
        return np.asarray(np.exp(curve(ln_r)) * np.minimum(radius_cm / EDGES_CM[0], 1.0))

    return within


def _shared_out(errors: Numbers, radius: Numbers, edges: Numbers) -> Numbers:
    """Standard errors of tabulated shells shared out among the shells between `edges`, by the part they overlap."""
    summed = np.concatenate([[0.0], np.cumsum(errors[: radius.size - 1])])
    return np.diff(np.interp(edges, radius, summed))


def _both(one: Spectrum, other: Spectrum) -> Spectrum:
    energy_mev = np.concatenate([one.energy_mev, other.energy_mev])
    return Spectrum(energy_mev, np.concatenate([one.per_decay, other.per_decay]))
