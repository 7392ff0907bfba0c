"""What a radionuclide emits, energy by energy: the source term of every dose kernel (ICRP Publication 107).

Beta spectra are tabulated densities; they are integrated on fine bins and then made to carry the tabulated
yield and mean energy exactly, because the published densities integrate to 1.000-1.002 of the yield.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.typing import NDArray

from nufitdose.errors import InputError
from nufitdose.nuclides import canonical_name, half_life_h, progeny_decays

_BINS_PER_SPECTRUM = 240


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Particles of one kind: energies in MeV and particles per decay."""

    energy_mev: Float[ndarray, " n"]
    per_decay: Float[ndarray, " n"]

    @property
    def total_mev(self) -> float:
        """Energy per decay, Σ E·y in MeV."""
        return float(self.energy_mev @ self.per_decay)

    @property
    def number(self) -> float:
        """Particles per decay."""
        return float(self.per_decay.sum())

    def scaled(self, factor: float) -> "Spectrum":
        """The particles of `factor` decays."""
        return Spectrum(self.energy_mev, self.per_decay * factor)


@dataclass(frozen=True, eq=False)
class EmissionSpectra:
    """All particles of one decay; `beta` holds electrons and positrons, `photon` X and annihilation quanta too."""

    beta: Spectrum
    conversion: Spectrum
    auger: Spectrum
    photon: Spectrum
    alpha: Spectrum
    recoil: Spectrum

    @property
    def electron(self) -> Spectrum:
        """Beta particles, conversion and Auger electrons together."""
        return _joined([self.beta, self.conversion, self.auger])

    @property
    def total_mev(self) -> float:
        """Energy per decay without neutrinos, MeV."""
        return sum(getattr(self, kind).total_mev for kind in _KINDS)


def emission_spectra(nuclide: str) -> EmissionSpectra:
    """Emissions of this nuclide alone, per decay; `InputError` if ICRP-107 does not list it."""
    return _spectra(canonical_name(nuclide))


def chain_spectra(nuclide: str, within_h: float | None = None) -> EmissionSpectra:
    """Emissions of the nuclide with its progeny, per decay of the nuclide, all decaying where it did.

    Without `within_h` the progeny that the parent outlives have decayed completely (`progeny_decays`). With it,
    every member of the chain counts with the decays it undergoes in that time, by Bateman's equations, per
    decay of the parent in that time; progeny that outlive the parent are then included.
    """
    parent = canonical_name(nuclide)
    decays = dict(progeny_decays(parent)) if within_h is None else decays_within(parent, within_h)
    own = decays.pop(parent, 1.0)
    members = [(emission_spectra(parent), 1.0)]
    members += [(emission_spectra(daughter), n / own) for daughter, n in decays.items() if n > 0.0]
    return EmissionSpectra(
        **{kind: _joined([getattr(spectra, kind).scaled(n) for spectra, n in members]) for kind in _KINDS}
    )


def decays_within(nuclide: str, hours: float) -> dict[str, float]:
    """Decays of each member of the chain within `hours`, per nucleus of the parent at the start (Bateman)."""
    import radioactivedecay as rd

    if not (np.isfinite(hours) and hours > 0.0):
        raise InputError(f"a time of decay of {hours!r} h was given, a positive number of hours is wanted")
    parent = canonical_name(nuclide)
    half_life_h(parent)
    start = rd.Inventory({parent: 1.0}, "num")
    return {str(member): float(n) for member, n in start.cumulative_decays(hours, "h").items()}


_KINDS = ("beta", "conversion", "auger", "photon", "alpha", "recoil")


@lru_cache
def _spectra(canonical: str) -> EmissionSpectra:
    lines = {
        kind: _joined([_lines(canonical, source) for source in sources])
        for kind, sources in {
            "conversion": ("IE", "betaD"),
            "auger": ("auger",),
            "photon": ("gamma", "X", "annihilation"),
            "alpha": ("alpha",),
            "recoil": ("alpha recoil",),
        }.items()
    }
    return EmissionSpectra(beta=_beta(canonical), **lines)


def _read(canonical: str, source: str) -> Any:
    from icrp107_database import get_icrp107_spectrum

    return get_icrp107_spectrum(canonical, source)


def _lines(canonical: str, source: str) -> Spectrum:
    table = _read(canonical, source)
    return Spectrum(np.asarray(table["energies"], float), np.asarray(table["weights"], float))


def _beta(canonical: str) -> Spectrum:
    """Beta- and beta+ spectrum on fine bins, with the yield and the energy of the tabulated branches."""
    branches = _joined([_lines(canonical, sign) for sign in ("beta-", "beta+")])
    density = _lines(canonical, "b-spectra")
    if branches.number <= 0.0:
        return branches
    if density.energy_mev.size < 3:
        return branches
    energy_mev, per_decay = _integrated(density.energy_mev, density.per_decay)
    return _matched(Spectrum(energy_mev, per_decay), branches.number, branches.total_mev)


def _integrated(energy_mev: NDArray[np.float64], density: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Mean energy and number of particles in each of equal bins, the density a monotone cubic between its nodes."""
    from scipy.interpolate import PchipInterpolator

    curve = PchipInterpolator(energy_mev, density)
    edges = np.linspace(energy_mev[0], energy_mev[-1], _BINS_PER_SPECTRUM + 1)
    nodes = np.polynomial.legendre.leggauss(4)
    middle, half = (edges[1:] + edges[:-1]) / 2, np.diff(edges) / 2
    points = middle[:, None] + half[:, None] * nodes[0]
    weights = half[:, None] * nodes[1] * np.maximum(curve(points), 0.0)
    number = weights.sum(axis=1)
    mean = np.divide((weights * points).sum(axis=1), number, out=middle.copy(), where=number > 0.0)
    return mean, number


def _matched(spectrum: Spectrum, number: float, total_mev: float) -> Spectrum:
    """The spectrum times a + b·E, so that it carries `number` particles and `total_mev`; b is a few per mille."""
    E, y = spectrum.energy_mev, spectrum.per_decay
    moments = [float((y * E**k).sum()) for k in range(3)]
    a, b = np.linalg.solve([[moments[0], moments[1]], [moments[1], moments[2]]], [number, total_mev])
    return Spectrum(E, np.maximum(y * (a + b * E), 0.0))


def _joined(parts: list[Spectrum]) -> Spectrum:
    return Spectrum(np.concatenate([p.energy_mev for p in parts]), np.concatenate([p.per_decay for p in parts]))
