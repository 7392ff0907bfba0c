"""Whether the study has what the curves asked for need: scans, structures, half-lives."""

import difflib
import logging
from collections.abc import Collection, Iterable

from dosimetry.config import REST, KineticsSettings
from dosimetry.curves.rules import ONE_SCAN
from nufitdose.errors import InputError

log = logging.getLogger(__name__)

#: Scans that a method needs at least: as many as it has parameters.
FEWEST_SCANS = {"mono": 2, "trapezoid": 2, "f3": 3, "f3a": 3, "bi": 4}
_GUIDED_FROM = 3


def check_methods(settings: KineticsSettings, structures: Collection[str], scans: int, half_life_h: float) -> None:
    """Refuse curves that cannot be had from `scans` scans of these structures (`InputError`)."""
    names = [*structures, REST]
    if REST in structures:
        raise InputError(
            f"a structure is called {REST!r}, which stands for the voxels of no structure",
            remedy="Give the structure another name in study.yaml",
        )
    _known("kinetics.models", settings.models, names)
    for name in names:
        _enough_scans(name, settings.method(name), scans)
    _half_lives(settings, names, half_life_h)
    if settings.averaged and not any(settings.method(name) == "auto" for name in names):
        raise InputError(
            "kinetics.averaged is set, but no structure's model is 'auto', so there is nothing to average",
            remedy="Set kinetics.model=auto, or leave kinetics.averaged out",
        )
    if settings.guided and scans < _GUIDED_FROM:
        log.warning("kinetics.guided needs %d scans to tell the noise: voxels are fitted on their own", _GUIDED_FROM)


def _known(key: str, given: Iterable[str], names: Collection[str]) -> None:
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise InputError(
                f"{key} names {name!r}, which is no structure of this study",
                remedy=f"{hint}Known here: {', '.join(names)}",
            )


def _enough_scans(name: str, method: str, scans: int) -> None:
    whose = "the voxels of no structure" if name == REST else f"structure {name!r}"
    if method in ONE_SCAN and scans > 1:
        raise InputError(
            f"the model {method!r} was asked for {whose}: it takes one scan, and the study has {scans}",
            remedy="Use auto, mono, bi, f3, f3a or trapezoid, or a study.yaml that lists the one scan to use",
        )
    fewest = FEWEST_SCANS.get(method, 1)
    if scans < fewest:
        possible = ["auto", *ONE_SCAN] if scans == 1 else ["auto", *(m for m, n in FEWEST_SCANS.items() if n <= scans)]
        count = "one scan" if scans == 1 else f"{scans} scans"
        raise InputError(
            f"the model {method!r} was asked for {whose}: it needs {fewest} scans, and the study has {count}",
            remedy=f"With {count} there are: {', '.join(possible)} (docs/explanation/kinetics.md)",
        )


def _half_lives(settings: KineticsSettings, names: Collection[str], half_life_h: float) -> None:
    takers = [name for name in names if settings.method(name) == "population"]
    _known("kinetics.half_lives_h", settings.half_lives_h, names)
    unused = sorted(set(settings.half_lives_h) - set(takers))
    if unused:
        raise InputError(
            f"kinetics.half_lives_h gives {', '.join(unused)} a half-life, but the model there is not 'population'",
            remedy="Set kinetics.model=population (or kinetics.models for these), or leave the half-life out",
        )
    missing = [name for name in takers if name not in settings.half_lives_h]
    if missing:
        raise InputError(
            f"the model 'population' needs an effective half-life for {', '.join(missing)}; none is assumed",
            remedy=f"Give kinetics.half_lives_h: {{{missing[0]}: HOURS}}, or another model in kinetics.models "
            f"({REST} stands for the voxels of no structure)",
        )
    for name in takers:
        hours = settings.half_lives_h[name]
        if hours > half_life_h * (1 + 1e-9):
            raise InputError(
                f"kinetics.half_lives_h gives {name} {hours:g} h, longer than the physical {half_life_h:.5g} h",
                remedy="Give the effective, not the biological, half-life in hours",
            )
