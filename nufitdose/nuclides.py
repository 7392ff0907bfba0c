"""Half-lives, decay chains and emissions of radionuclides (ICRP Publication 107).

Half-lives and chains come from `radioactivedecay` (see `nufitdose.decay_data`), emissions from `icrp107-database`;
their notice is in docs/explanation/decay_data.md.
"""

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from nufitdose.decay_data import Decay, find_decay, known_nuclides
from nufitdose.errors import InputError

JOULE_PER_MEV = 1.602176634e-13
DECAYS_PER_MBQ_H = 3.6e9
_KINDS = {
    "electron": ("beta-", "beta+", "betaD", "IE", "auger"),
    "photon": ("gamma", "X", "annihilation"),
    "alpha": ("alpha",),
    "recoil": ("alpha recoil",),
}


@dataclass(frozen=True)
class Emissions:
    """Mean energy per decay by kind of radiation, MeV."""

    electron_mev: float
    photon_mev: float
    alpha_mev: float
    recoil_mev: float

    @property
    def local_mev(self) -> float:
        """Energy of what stops within a voxel: electrons, alphas and recoils."""
        return self.electron_mev + self.alpha_mev + self.recoil_mev

    @property
    def local_gy_g_per_mbq_h(self) -> float:
        """Mean dose constant without photons, Δ = E·κ·3.6e9·1e3 in Gy·g/(MBq·h), κ in J/MeV (MIRD)."""
        return self.local_mev * JOULE_PER_MEV * DECAYS_PER_MBQ_H * 1e3

    def scaled(self, factor: float) -> "Emissions":
        """The emissions of `factor` decays."""
        return Emissions(*(factor * e for e in (self.electron_mev, self.photon_mev, self.alpha_mev, self.recoil_mev)))

    def __add__(self, other: "Emissions") -> "Emissions":
        return Emissions(
            self.electron_mev + other.electron_mev,
            self.photon_mev + other.photon_mev,
            self.alpha_mev + other.alpha_mev,
            self.recoil_mev + other.recoil_mev,
        )


@lru_cache
def canonical_name(name: str) -> str:
    """The nuclide as 'Lu-177', from 'Lu-177', 'Lu177', '177Lu' or 'lu-177m'; `InputError` if unknown."""
    text = name.strip()
    match = re.fullmatch(r"([A-Za-z]{1,2})[- ^]*(\d{1,3})([mnopq]?)", text) or re.fullmatch(
        r"(?P<mass>\d{1,3})(?P<state>[mnopq]?)[- ^]*(?P<symbol>[A-Za-z]{1,2})", text
    )
    if match:
        parts = match.groupdict() or dict(zip(("symbol", "mass", "state"), match.groups(), strict=True))
        candidate = f"{parts['symbol'].capitalize()}-{parts['mass']}{parts['state'] or ''}"
        if find_decay(candidate) is not None:
            return candidate
    near = difflib.get_close_matches(text.capitalize(), known_nuclides(), n=3, cutoff=0.5)
    raise InputError(
        f"the nuclide {name!r} is not in ICRP Publication 107",
        remedy=f"Write it as in {', '.join(near) if near else 'Lu-177, I-131, Tc-99m'}",
    )


@lru_cache
def half_life_h(name: str) -> float:
    """Physical half-life in hours."""
    hours = _half_life_h(canonical_name(name))
    if not math.isfinite(hours):
        raise InputError(f"the nuclide {name!r} is stable, a radionuclide is wanted")
    return hours


def decay_constant_per_h(name: str) -> float:
    """λ = ln 2 / T, 1/h."""
    return math.log(2.0) / half_life_h(name)


@lru_cache
def emissions(name: str) -> Emissions:
    """Mean energies per decay of this nuclide alone, MeV; electrons are beta, conversion and Auger together."""
    from icrp107_database import get_icrp107_spectrum

    canonical = canonical_name(name)
    energy = {}
    for kind, sources in _KINDS.items():
        spectra = [get_icrp107_spectrum(canonical, source) for source in sources]
        energy[f"{kind}_mev"] = float(sum((s["energies"] * s["weights"]).sum() for s in spectra))
    return Emissions(**energy)


@lru_cache
def progeny_decays(name: str) -> Mapping[str, float]:
    """Decays of each included progeny per decay of the parent, all of them having decayed.

    Included is what is reached through half-lives shorter than the parent's, so that the progeny's dose
    is given in the parent's time; it is taken to decay where the parent did.
    """
    canonical = canonical_name(name)
    limit_h, decays = half_life_h(canonical), dict[str, float]()

    def follow(parent: str, share: float) -> None:
        for daughter, branching in _branches(parent):
            if _half_life_h(daughter) < limit_h:
                decays[daughter] = decays.get(daughter, 0.0) + share * branching
                follow(daughter, share * branching)

    follow(canonical, 1.0)
    return decays


@lru_cache
def long_lived_progeny(name: str) -> tuple[str, ...]:
    """Radioactive progeny that `progeny_decays` leaves out because they outlive the parent."""
    canonical = canonical_name(name)
    included = {canonical, *progeny_decays(canonical)}
    daughters = {daughter for parent in included for daughter, _ in _branches(parent)}
    return tuple(sorted(d for d in daughters - included if math.isfinite(_half_life_h(d))))


@lru_cache
def chain_emissions(name: str) -> Emissions:
    """Mean energies per decay of the parent with its included progeny, MeV."""
    total = emissions(name)
    for daughter, decays in progeny_decays(name).items():
        total += emissions(daughter).scaled(decays)
    return total


def _half_life_h(canonical: str) -> float:
    return _decay(canonical).half_life_h


def _branches(canonical: str) -> tuple[tuple[str, float], ...]:
    return _decay(canonical).branches


def _decay(canonical: str) -> Decay:
    found = find_decay(canonical)
    assert found is not None, canonical
    return found
