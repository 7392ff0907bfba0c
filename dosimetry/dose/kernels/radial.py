"""The radial dose kernel of a nuclide in water, composed of mono-energetic ones.

Electrons are looked up at the radius over their range, r/R(E), photons at the radius in mean free paths, r·μ(E),
so that between two tabulated energies only what changes slowly is interpolated.
"""

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.typing import NDArray

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
    charged, u_charged, radiated = _electrons(spectra.electron, edges_g_cm2)
    charged[0] += spectra.alpha.total_mev + spectra.recoil.total_mev
    deposited, u_photon, escaped_mev = _photons(_both(spectra.photon, radiated), edges_g_cm2)
    return RadialKernel(name, edges_g_cm2, charged, deposited, u_charged, u_photon, spectra.total_mev, escaped_mev)


@lru_cache
def _table(kind: str) -> dict[str, Numbers]:
    with (resources.files("dosimetry.dose.kernels") / f"data/{kind}.npz").open("rb") as file:
        return {name: values.astype(float) for name, values in np.load(file).items()}


def _rows(energy_mev: Numbers, nodes_mev: Numbers) -> tuple[NDArray[np.int64], Numbers]:
    """Lower row and the part of the way to the next, in ln E; below the table the first row, beyond it the last."""
    place = np.interp(np.log(energy_mev), np.log(nodes_mev), np.arange(nodes_mev.size, dtype=float))
    lower = np.minimum(place.astype(np.int64), nodes_mev.size - 2)
    return lower, place - lower


def _electrons(spectrum: Spectrum, edges: Numbers) -> tuple[Numbers, Numbers, Spectrum]:
    """Energy of electrons in the shells, its standard error, and the photons that they radiate."""
    table = _table("electrons")
    cumulative = np.cumsum(np.pad(table["deposited"], ((0, 0), (1, 0))), axis=1)
    radius = np.arange(cumulative.shape[1]) / SHELLS_PER_RANGE
    energy_mev = spectrum.energy_mev * spectrum.per_decay
    followed = (spectrum.energy_mev >= table["energy_mev"][0]) & (energy_mev > 0.0)
    inside = np.full(edges.size, energy_mev[~followed].sum())
    inside[0] = 0.0
    variance = np.zeros(edges.size - 1)
    radiated = np.zeros(table["radiated"].shape[1])
    if followed.any():
        E, share = spectrum.energy_mev[followed], energy_mev[followed]
        lower, part = _rows(E, table["energy_mev"])
        ranges = csda_range(E)
        errors = np.zeros((table["energy_mev"].size, variance.size))
        for row, f, w, R in zip(lower, part, share, ranges, strict=True):
            for neighbour, weight in ((row, (1 - f) * w), (row + 1, f * w)):
                inside += weight * np.interp(edges / R, radius, cumulative[neighbour])
                radiated += weight * table["radiated"][neighbour]
                errors[neighbour] += weight * _spread(table["u_deposited"][neighbour], edges / R, radius)
        variance = (errors**2).sum(axis=0)
    middle = np.sqrt(PHOTON_EDGES_MEV[1:] * PHOTON_EDGES_MEV[:-1])
    return np.diff(inside), np.sqrt(variance), Spectrum(middle, radiated / middle)


def _photons(spectrum: Spectrum, edges: Numbers) -> tuple[Numbers, Numbers, float]:
    """Energy of photons in the shells, its standard error, and what passes the outermost edge."""
    table = _table("photons")
    energy_mev = spectrum.energy_mev * spectrum.per_decay
    followed = (spectrum.energy_mev >= table["energy_mev"][0]) & (energy_mev > 0.0)
    inside = np.full(edges.size, energy_mev[~followed].sum())
    inside[0] = 0.0
    errors = np.zeros((table["energy_mev"].size, edges.size - 1))
    if followed.any():
        E, share = spectrum.energy_mev[followed], energy_mev[followed]
        lower, part = _rows(E, table["energy_mev"])
        free_path = cross_sections(WATER, E)[:, 0]
        nodes = cross_sections(WATER, table["energy_mev"])[:, 0]
        cumulative = np.cumsum(table["deposited"], axis=1)
        for row, f, w, mu in zip(lower, part, share, free_path, strict=True):
            for neighbour, weight in ((row, (1 - f) * w), (row + 1, f * w)):
                scaled = edges * (mu / nodes[neighbour])
                inside += weight * _within(scaled, cumulative[neighbour])
                errors[neighbour] += weight * _spread(table["u_deposited"][neighbour, 1:], scaled, EDGES_CM)
    return np.diff(inside), np.sqrt((errors**2).sum(axis=0)), float(energy_mev.sum() - inside[-1])


def _within(radius_cm: Numbers, cumulative: Numbers) -> Numbers:
    """Part of the energy within a radius, a power of it between the tabulated edges and ∝ r below them."""
    floor = 1e-12
    ln_c = np.interp(np.log(np.maximum(radius_cm, 1e-9)), np.log(EDGES_CM), np.log(np.maximum(cumulative, floor)))
    below = cumulative[0] * radius_cm / EDGES_CM[0]
    return np.where(radius_cm < EDGES_CM[0], below, np.exp(ln_c))


def _spread(errors: Numbers, edges: Numbers, radius: Numbers) -> Numbers:
    """Standard errors of tabulated shells shared out among the shells between `edges`, by the part they overlap."""
    summed = np.concatenate([[0.0], np.cumsum(errors[: radius.size - 1])])
    return np.diff(np.interp(edges, radius, summed))


def _both(one: Spectrum, other: Spectrum) -> Spectrum:
    pairs: list[Any] = [np.concatenate([getattr(one, k), getattr(other, k)]) for k in ("energy_mev", "per_decay")]
    return Spectrum(*pairs)
