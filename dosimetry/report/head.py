"""The head of the page: who was treated with what, seen when and where, calculated by what; and its worst light."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from dosimetry.findings import Findings
from dosimetry.lights.values import Light, State, worst
from dosimetry.report.budget import FrontRow
from dosimetry.report.numbers import three
from dosimetry.report.recovery_words import recovery_fact
from nufitdose.nuclides import canonical_name, half_life_h
from nufitdose.study import Details

_SEX = {"F": "female", "M": "male", "O": "other"}


def worst_light(front: Sequence[FrontRow], checks: Sequence[Light]) -> tuple[State, str]:
    """The worst light of the page, and its sentence with the structure it speaks of."""
    told = [(row.light, f"{row.name}: {row.light.sentence}") for row in front]
    told += [(light, light.sentence) for light in checks if light.state is not State.UNKNOWN]
    if not told:
        return State.UNKNOWN, "nothing could be judged"
    found = worst([light for light, _ in told])
    return found.state, next(words for light, words in told if light is found)


def head_facts(results: Findings, record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What stands above everything else, name and value; what nobody said is left out."""
    study, given = results.study, results.study.administration
    when = clock(given.time) if given.time else "time of day not given"
    tracer = f"{study.tracer}, " if study.tracer else ""
    nuclide = f"{canonical_name(study.nuclide)}, half-life {half_life_in_words(study.nuclide)} (ICRP Publication 107)"
    return [
        ("Patient", "; ".join([study.patient, *_person(study.details, study.sex)])),
        ("Nuclide", f"{tracer}{nuclide}"),
        ("Administered", f"{three(given.activity_mbq / 1e3, 4)} GBq, {when}"),
        ("Scans", "; ".join(_scan(results, frame.id, frame.time_h) for frame in results.frames)),
        *([("Scanner", study.scanner.name)] if study.scanner else []),
        ("Activity", f"Bq/mL at each acquisition, decay corrections of the files undone; {recovery_fact(results)}"),
        *_answerable(results),
        ("Calculated", f"{datetime.fromisoformat(record['started']):%Y-%m-%d %H:%M %Z}, {program_of(record)}"),
    ]


def program_of(record: Mapping[str, Any]) -> str:
    """Name and version of the program that made the run."""
    return f"nufitdose {record['versions'].get('nufitdose', '')}".strip()


def _person(details: Details, sex: str | None) -> list[str]:
    said = details.sex or sex
    return [
        *([_SEX.get(said, said)] if said else []),
        *([f"{three(details.weight_kg)} kg"] if details.weight_kg is not None else []),
        *([f"cycle {details.cycle}"] if details.cycle is not None else []),
    ]


def _answerable(results: Findings) -> list[tuple[str, str]]:
    """Site and operator; the settings of the run go before what the study says."""
    details, asked = results.study.details, results.settings.report
    found = (("Site", asked.site or details.site), ("Operator", asked.operator or details.operator))
    return [(name, value) for name, value in found if value]


def half_life_in_words(nuclide: str) -> str:
    """The physical half-life in hours, and in days or minutes where these say more."""
    hours = half_life_h(nuclide)
    if hours >= 72:
        return f"{three(hours / 24.0, 4)} d ({three(hours, 4)} h)"
    return f"{three(hours, 4)} h" if hours >= 3 else f"{three(hours * 60.0, 4)} min"


def _scan(results: Findings, name: str, time_h: float) -> str:
    given = results.study.administration.time
    seen = f" ({clock(given + timedelta(hours=time_h))})" if given else ""
    mark = ", reference" if name == results.study.reference_id and len(results.frames) > 1 else ""
    return f"{name} at {three(time_h)} h{seen}{mark}"


def clock(time: datetime) -> str:
    """Date and time of day."""
    return f"{time:%Y-%m-%d %H:%M} {time:%z}".strip()
