"""The lights of each structure: curve, recovery, registration, view, activity balance, photons.

The limits are guide values of this program without published authority: they point to what to look at, they accept
nothing.
"""

import logging
import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from dosimetry.findings import Findings
from dosimetry.kinetics import FitStatus
from dosimetry.kinetics.averaged_curve import START_LIMIT
from dosimetry.lights.values import Light, State, graded, worst
from dosimetry.results import PatientResults, StructureResult
from dosimetry.uncertainty.budget import NOT_KNOWN, RECOVERY, Part, Source
from dosimetry.uncertainty.chain import diameter_of_sphere_mm
from nufitdose.emissions import chain_spectra
from nufitdose.nuclides import half_life_h
from nufitdose.study import LEAST_OF_ADMINISTERED, MOST_OF_ADMINISTERED

Found = PatientResults | Findings  # lights need no images

log = logging.getLogger(__name__)

CURVE_PERCENT = (10.0, 20.0)
TAIL_PERCENT = (20.0, 50.0)
RECOVERY_PERCENT = (10.0, 25.0)
REGISTRATION_PERCENT = (5.0, 15.0)
CENTROID_MM = 6.0
OUTSIDE_PERCENT = (1.0, 10.0)
LEAST_IN_VIEW = 0.3  # of what decay leaves: below, much is out of view, excreted, or not counted
PHOTONS_PERCENT = (5.0, 15.0)
_RISE_PERCENT = 5.0  # of administered x decay, from one scan to the next
_ABSORBED_CM2_G = 0.03  # μ_en/ρ of water, within 15 % from 60 keV to 1.5 MeV
_MEAN_WAY_OUT = 0.75  # of the radius: mean distance to the surface of a sphere, from all points in all directions


def structure_lights(results: Found, structure: StructureResult) -> tuple[Light, ...]:
    """All lights of one structure in reading order."""
    return (
        _curve(structure),
        _recovery(structure),
        _registration(results, structure),
        _view(structure),
        activity_balance(results),
        _photons(results, structure),
    )


def judge(results: Found) -> dict[str, Light]:
    """The worst light of every structure, tumours first."""
    return {found.name: worst(structure_lights(results, found)) for found in tumours_first(results)}


def warn_of_curves(structures: Sequence[StructureResult]) -> None:
    """Say which structures still rose when they were last seen, and of which most of Ã lies after the last scan."""
    rising = [found.name for found in structures if _rises(found)]
    if rising:
        log.warning(
            "activity still rises at the last scan in %s: what follows is not measured, do not rely on its Ã and dose",
            ", ".join(rising),
        )
    most = TAIL_PERCENT[1]
    shares = {found.name: 100.0 * found.fit.extrapolated_fraction for found in structures}
    tails = [f"{name} ({share:.0f} %)" for name, share in shares.items() if share > most]
    if tails:
        log.warning("more than %.0f %% of Ã lies after the last scan in %s", most, ", ".join(tails))


def _rises(structure: StructureResult) -> bool:
    average = structure.curve.average
    return structure.fit.status is FitStatus.RISING if average is None else average.rising


def tumours_first(results: Found) -> list[StructureResult]:
    """The structures in the order in which they are to be read."""
    return sorted(results.structures, key=lambda found: found.role != "tumour")


def activity_balance(results: Found) -> Light:
    """How much of what decay leaves of the administered activity the scans hold."""
    low, high = 100.0 * LEAST_IN_VIEW, 100.0 * MOST_OF_ADMINISTERED
    given, physical_h = results.study.administration, half_life_h(results.study.nuclide)
    shares = [100.0 * frame.total_mbq / given.left_mbq(frame.time_h, physical_h) for frame in results.frames]
    listed = ", ".join(f"{share:.2g} %" if share < 9.95 else f"{share:.0f} %" for share in shares)
    state, found = State.GOOD, f"field of view holds {listed} of administered × decay"
    if max(shares) > high:
        state, found = State.BAD, f"{found}: check calibration and units"
    elif min(shares) < 100.0 * LEAST_OF_ADMINISTERED:
        state, found = State.BAD, f"{found}: hardly any, check calibration, units and dates"
    elif max(shares) < low:
        state, found = State.LOOK, f"{found}: the rest is out of view, excreted, or not counted"
    elif max(np.diff(shares), default=0.0) > _RISE_PERCENT:
        state, found = State.LOOK, f"{found}: the share rises, the views may differ"
    guide = f"at most {high:.0f} % of administered × decay, at least {low:.0f} % on one scan"
    return Light("Activity balance", state, found, guide)


def _curve(structure: StructureResult) -> Light:
    good, bad = CURVE_PERCENT
    guide = f"Ã told to {good:g} %, at most {TAIL_PERCENT[0]:g} % of it after the last scan"
    u_percent = 100.0 * structure.relative_u_fit
    tail_percent = 100.0 * structure.fit.extrapolated_fraction
    unseen = f"{tail_percent:.0f} % after the last scan{_before_first(structure)}"
    found = f"Ã ± {u_percent:.2g} % by its {_points(structure)} points, {unseen}"
    average = structure.curve.average
    if average is not None and average.red:
        return Light("Curve", State.BAD, f"{average.red}; {unseen}", guide)
    if _rises(structure):
        found = f"activity still rises at the last scan: what follows is not measured; {unseen}"
        return Light("Curve", State.BAD, found, guide)
    states = graded(u_percent, good, bad), graded(tail_percent, *TAIL_PERCENT)
    if not math.isfinite(u_percent):
        found = f"{structure.fit.status.meaning}; error of the curve assumed, {unseen}"
        states = State.LOOK, states[1] if _points(structure) > 1 else State.LOOK
    return worst([Light("Curve", state, found, guide) for state in states])


def _before_first(structure: StructureResult) -> str:
    """Of an averaged curve, how much of Ã no scan saw coming; its error is in that of Ã."""
    average = structure.curve.average
    if average is None or average.before_first_fraction <= START_LIMIT:
        return ""
    share, u = 100.0 * average.before_first_fraction, 100.0 * average.u_before_first_fraction
    return f", {share:.0f} ± {u:.0f} % before the first"


def _points(structure: StructureResult) -> int:
    return int(np.isfinite(structure.curve.activity_mbq).sum())


def _recovery(structure: StructureResult) -> Light:
    good, bad = RECOVERY_PERCENT
    part = _part(structure, RECOVERY)
    guide = f"dose known to {good:g} % for the scanner's resolution"
    if part is None or part.basis == NOT_KNOWN:
        return Light("Recovery", State.UNKNOWN, "the scanner is not described", guide)
    return Light("Recovery", graded(100.0 * abs(part.dose), good, bad), part.basis, guide)


def _registration(results: Found, structure: StructureResult) -> Light:
    good, bad = REGISTRATION_PERCENT
    guide = f"dose changes by at most {good:g} % if scans lie as far off as they may"
    part = _part(structure, "registration")
    if len(results.frames) < 2 or part is None:
        return Light("Registration", State.GOOD, "one scan", guide)
    percent = 100.0 * abs(part.dose)
    source = "" if part.source is Source.MEASURED else " (assumed)"
    found = f"scans may be off by {part.basis}{source}: dose ± {percent:.2g} %"
    apart = [
        row.centroid_after_mm
        for frame in results.frames
        for row in frame.agreement
        if row.structure == structure.name and row.centroid_after_mm > max(CENTROID_MM, row.centroid_before_mm)
    ]
    if apart:
        return Light("Registration", State.BAD, f"made it worse: centroids {max(apart):.1f} mm apart", guide)
    return Light("Registration", graded(percent, good, bad), found, guide)


def _view(structure: StructureResult) -> Light:
    good, bad = OUTSIDE_PERCENT
    guide = f"at least {100 - good:g} % of it on every scan"
    outside = 100.0 * structure.region.outside_ml / (structure.region.outside_ml + structure.region.volume_ml)
    cut = int(np.isnan(structure.curve.activity_mbq).sum())
    state, found = graded(outside, good, bad), f"{outside:.0f} % beyond the reference scan"
    if cut and state is State.GOOD:
        state, found = State.LOOK, f"cut by the view of {cut} scan{'s' if cut > 1 else ''}, left out of the curve"
    return Light("View", state, found, guide)


def _photons(results: Found, structure: StructureResult) -> Light:
    """What photons of its own activity would add: their energy times what a sphere of its mass takes of it."""
    good, bad = PHOTONS_PERCENT
    guide = f"at most {good:g} % of the self-dose left out"
    if results.settings.dose.engine != "local":
        left = results.left_the_field
        more = "" if left is None else f", {100 * left:.0f} % of all energy leaves the view"
        return Light("Photons", State.GOOD, f"in the dose{more}", guide)
    photons, charged = _energies_mev(results.study.nuclide)
    radius_cm = 0.05 * diameter_of_sphere_mm(structure.mass_g)
    share = photons * -math.expm1(-_ABSORBED_CM2_G * _MEAN_WAY_OUT * radius_cm)
    percent = 100.0 * share / (share + charged)
    found = f"left out, about {percent:.2g} % of the self-dose, and what other organs send"
    return Light("Photons", graded(percent, good, bad), found, guide)


@lru_cache
def _energies_mev(nuclide: str) -> tuple[float, float]:
    spectra = chain_spectra(nuclide)
    return spectra.photon.total_mev, spectra.total_mev - spectra.photon.total_mev


def _part(structure: StructureResult, name: str) -> Part | None:
    return next((part for part in structure.budget.parts if part.name == name), None)
