"""cohort.html: failures first, then what to look at, then the doses of every structure across patients."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from dosimetry.burden import NAME as ALL_TUMOURS
from dosimetry.cohort.values import MemberResult, Status, number
from dosimetry.config import REST, WHOLE_BODY
from dosimetry.lights.values import tally
from dosimetry.report.figures import Picture, as_svg, house_style, new_figure
from dosimetry.report.numbers import three, tick
from dosimetry.report.palette import COLOURS, FAINT
from dosimetry.report.templates import find_template
from nufitdose.files import write_whole
from nufitdose.registration.lights import PairState
from nufitdose.run import RunRecord, versions

PAGE = "cohort.html"
_DECADE = 10.0  # doses that spread further are drawn on a logarithmic axis
_MOST_DRAWN = 40  # structures in the picture, those of most patients
_LAMPS = {"red": "far outside", "amber": "outside guide", "green": "within guide"}
_LOOK_FIRST = ("red", "amber", "grey", "green", "")
_APART = (REST, WHOLE_BODY, ALL_TUMOURS)


@dataclass(frozen=True)
class Doses:
    """Mean doses of one structure, a value a patient: Gy, and Gy per GBq administered."""

    structure: str
    role: str
    dose_gy: tuple[float, ...]
    per_gbq: tuple[float, ...]

    @property
    def cells(self) -> tuple[str, ...]:
        """Patients, median, quartiles, least and most, median per GBq."""
        low, median, high = np.percentile(self.dose_gy, [25, 50, 75])
        known = [value for value in self.per_gbq if np.isfinite(value)]
        return (
            str(len(self.dose_gy)),
            three(median),
            f"{three(low)} to {three(high)}",
            f"{three(min(self.dose_gy))} to {three(max(self.dose_gy))}",
            three(float(np.median(known))) if known else three(float("nan")),
        )


def write_page(members: Sequence[MemberResult], record: RunRecord, folder: Path) -> Path:
    """Write `folder`/cohort.html, one page that needs nothing beside it but the patients' own for its links."""
    doses = doses_of(members)
    with house_style():
        picture = _draw([one for one in doses if one.role != "tumour"])
        tumours = _draw([one for one in doses if one.role == "tumour"])
    done = [member for member in members if member.status is not Status.FAILED]
    content = {
        "facts": _facts(members, record),
        "failed": [(member.study, member.fault, member.outcome.tries) for member in members if member.fault],
        "looked_at": [_line(member) for member in sorted(done, key=_order)],
        "doses": doses,
        "picture": picture,
        "tumours": tumours,
    }
    return write_whole(folder / PAGE, find_template("dosimetry.cohort", "cohort.html.j2").render(content))


def doses_of(members: Sequence[MemberResult]) -> list[Doses]:
    """The mean doses of every structure, those of most patients first; patients without it are left out of it."""
    found: dict[tuple[str, str], list[dict[str, str]]] = {}
    for member in members:
        for row in member.structures:
            if row["structure"] not in _APART and np.isfinite(number(row, "dose_mean_gy")):
                found.setdefault((row["structure"], row["role"]), []).append(row)
    return [
        Doses(
            name,
            role,
            tuple(number(row, "dose_mean_gy") for row in rows),
            tuple(number(row, "dose_mean_gy_per_gbq") for row in rows),
        )
        for (name, role), rows in sorted(found.items(), key=lambda item: (item[0][1], -len(item[1]), item[0][0]))
    ]


def _facts(members: Sequence[MemberResult], record: RunRecord) -> list[tuple[str, str]]:
    counts = {status: sum(member.status is status for member in members) for status in Status}
    lights = [member.light[0] for member in members]
    return [
        ("Patients", f"{len(members)}: {', '.join(f'{count} {status.value}' for status, count in counts.items())}"),
        ("Lights", ", ".join(f"{lights.count(colour)} {colour}" for colour in _LOOK_FIRST if colour)),
        ("Begun", record.started),
        ("Program", f"nufitdose {versions().get('nufitdose', '')}"),
    ]


def _line(member: MemberResult) -> dict[str, str]:
    light, because = member.light
    return {
        "study": member.study,
        "patient": member.patient,
        "lamp": _LAMPS.get(light, "not known"),
        "light": light,
        "tally": tally(member.judged),
        "because": "; ".join([*_failed_pairs(member), because]),
        "pairs": member.pair_light,
        "warnings": str(len(member.warnings)),
    }


def _failed_pairs(member: MemberResult) -> list[str]:
    return [f"{row['timepoint']}: {row['why']}" for row in member.pairs if row.get("light") == PairState.FAILED]


def _order(member: MemberResult) -> tuple[bool, int, int, int, str]:
    """Failed registrations first, then by light, then by how many tumours and how many structures have it."""
    light = member.light[0]
    roles = [role for role, colour in member.judged if colour == light]
    failed = member.pair_light == PairState.FAILED
    return not failed, _LOOK_FIRST.index(light), -roles.count("tumour"), -len(roles), member.study


def _draw(doses: Sequence[Doses]) -> tuple[Picture, list[str]] | None:
    """A row a structure, numbered as in the list beside it: one point a patient, a box from quartile to quartile."""
    shown = sorted(doses, key=lambda one: -len(one.dose_gy))[:_MOST_DRAWN]
    if not shown:
        return None
    figure: Figure = new_figure(0.6 + 0.19 * len(shown))
    axes = figure.add_axes((0.05, 0.42 / figure.get_figheight(), 0.93, 1.0 - 0.5 / figure.get_figheight()))
    for row, one in enumerate(shown):
        low, median, high = np.percentile(one.dose_gy, [25, 50, 75])
        axes.barh(row, high - low, left=low, height=0.62, color=COLOURS[4], alpha=0.35)
        axes.plot([median, median], [row - 0.31, row + 0.31], color=COLOURS[0], linewidth=1.6)
        axes.plot(one.dose_gy, np.full(len(one.dose_gy), row), "o", markersize=2.4, color=FAINT, alpha=0.8)
    least, most = (end(value for one in shown for value in one.dose_gy) for end in (min, max))
    if 0 < least < most / _DECADE:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(tick))
    axes.set_yticks(range(len(shown)), [str(row + 1) for row in range(len(shown))])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlabel("mean absorbed dose, Gy")
    return as_svg(figure), [one.structure for one in shown]
