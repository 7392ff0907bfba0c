"""Whether the study has what the curves asked for need: scans, structures, half-lives."""

import difflib
import logging
from collections.abc import Collection, Iterable

from dosimetry.config import REST, WHOLE_BODY, KineticsSettings
from dosimetry.curves.methods import METHODS, find_method, methods_for
from dosimetry.kinetics.priors import tracer_in
from nufitdose.errors import InputError

log = logging.getLogger(__name__)

_GUIDED_FROM = 3


def check_methods(settings: KineticsSettings, structures: Collection[str], scans: int, half_life_h: float) -> None:
    """Refuse curves that cannot be had from `scans` scans of these structures (`InputError`)."""
    names = [*structures, REST]
    for taken, meaning in ((REST, "the voxels of no structure"), (WHOLE_BODY, "all voxels that every scan sees")):
        if taken in structures:
            raise InputError(
                f"a structure is called {taken!r}, which stands for {meaning}",
                remedy="Give the structure another name in study.yaml",
            )
    _check_names("kinetics.models", settings.models, [*names, WHOLE_BODY])
    for name in names:
        _check_scans(name, settings.method(name), scans)
    _check_half_lives(settings, names, half_life_h)
    _check_scans(WHOLE_BODY, settings.method(WHOLE_BODY), scans)
    if settings.averaged and not any(find_method(settings.method(name)).chooses(scans) for name in names):
        raise InputError(
            "kinetics.averaged is set, but no structure's model is chosen by AICc, so there is nothing to weigh",
            remedy="Set kinetics.model=aicc, or leave kinetics.averaged out",
        )
    if settings.tracer is not None and not any(find_method(settings.method(name)).averages for name in names):
        raise InputError(
            f"kinetics.tracer is {settings.tracer!r}, but no structure's model is 'auto' or 'bayes'",
            remedy="Set kinetics.model=auto, or leave kinetics.tracer out",
        )
    _check_shared_rates(settings, structures)
    if settings.intervals == "bootstrap" and settings.u_activity_percent is None:
        raise InputError(
            "kinetics.intervals is 'bootstrap', which redraws the points within their uncertainty, and none is given",
            remedy="Give kinetics.u_activity_percent, or set kinetics.intervals=profile",
        )
    if settings.guided and "guided" in settings.model_fields_set and scans < _GUIDED_FROM:
        log.warning("kinetics.guided needs %d scans to tell the noise: voxels are fitted on their own", _GUIDED_FROM)


def with_tracer(settings: KineticsSettings, named: str | None) -> KineticsSettings:
    """The settings with the tracer that the study names, where they give none and there are half-lives of it."""
    if settings.tracer is not None or not named:
        return settings
    tracer = tracer_in(named)
    if tracer is None:
        log.info("no half-lives are known for the tracer %r of the study: the wide prior is used", named)
    return settings.model_copy(update={"tracer": tracer})


def _check_names(key: str, given: Iterable[str], names: Collection[str]) -> None:
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise InputError(
                f"{key} names {name!r}, which is no structure of this study",
                remedy=f"{hint}Known here: {', '.join(names)}",
            )


def _check_scans(name: str, asked: str, scans: int) -> None:
    named = {REST: "the voxels of no structure", WHOLE_BODY: "the whole body"}
    whose = named.get(name, f"structure {name!r}")
    method = find_method(asked)
    if method.one_scan_only and scans > 1:
        *most, last = (other.name for other in METHODS.values() if not other.one_scan_only)
        raise InputError(
            f"the model {asked!r} was asked for {whose}: it takes one scan, and the study has {scans}",
            remedy=f"Use {', '.join(most)} or {last}, or a study.yaml that lists the one scan to use",
        )
    if scans < method.fewest_scans:
        count = "one scan" if scans == 1 else f"{scans} scans"
        raise InputError(
            f"the model {asked!r} was asked for {whose}: it needs {method.fewest_scans} scans, and the study has "
            f"{count}",
            remedy=f"With {count} there are: {', '.join(methods_for(scans))} (docs/how-to/curves.md)",
        )


def _check_shared_rates(settings: KineticsSettings, structures: Collection[str]) -> None:
    """Groups of two structures or more, each in one group, all of one group with one model that is fitted."""
    together = [name for group in settings.shared_rates for name in group]
    _check_names("kinetics.shared_rates", together, structures)
    twice = sorted({name for name in together if together.count(name) > 1})
    if twice:
        raise InputError(
            f"kinetics.shared_rates names {', '.join(twice)} twice", remedy="Name a structure in one group, once"
        )
    for group in settings.shared_rates:
        methods = {settings.method(name) for name in group}
        if len(group) < 2:
            raise InputError(
                f"kinetics.shared_rates has a group of {len(group)} structures, wanted two or more",
                remedy="Write groups such as [[kidney_left, kidney_right]]",
            )
        if len(methods) > 1 or not all(find_method(name).fixed_model for name in methods):
            fitted = ", ".join(name for name, method in METHODS.items() if method.fixed_model)
            raise InputError(
                f"{' and '.join(group)} are to share their rates, with the model {' and '.join(sorted(methods))}",
                remedy=f"Give them one and the same of {fitted} in kinetics.models",
            )


def _check_half_lives(settings: KineticsSettings, names: Collection[str], half_life_h: float) -> None:
    takers = [name for name in (*names, WHOLE_BODY) if find_method(settings.method(name)).needs_half_life]
    _check_names("kinetics.half_lives_h", settings.half_lives_h, [*names, WHOLE_BODY])
    unused = sorted(set(settings.half_lives_h) - set(takers))
    if unused:
        raise InputError(
            f"kinetics.half_lives_h gives {', '.join(unused)} a half-life, but the model there is not 'population'",
            remedy="Set kinetics.model=population (or kinetics.models for these), or leave the half-life out",
        )
    missing = [name for name in takers if settings.population_h(name) is None]
    if missing:
        raise InputError(
            f"the model 'population' needs an effective half-life for {', '.join(missing)}; none is assumed",
            remedy=f"Give kinetics.half_lives_h: {{{missing[0]}: HOURS}}, or another model in kinetics.models "
            f"({REST} stands for the voxels of no structure)",
        )
    for name in takers:
        hours = settings.population_h(name) or 0.0
        if hours > half_life_h * (1 + 1e-9):
            raise InputError(
                f"kinetics.half_lives_h gives {name} {hours:g} h, longer than the physical {half_life_h:.5g} h",
                remedy="Give the effective, not the biological, half-life in hours",
            )
