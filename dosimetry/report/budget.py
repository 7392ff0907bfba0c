"""What the ± of each structure is made of: the first table with its light, the parts as bars and as a table."""

from dataclasses import dataclass

import numpy as np

from dosimetry.findings import Findings
from dosimetry.lights.structures import judge, tumours_first
from dosimetry.lights.values import Light
from dosimetry.report.figures import PAGE_WIDTH_IN, Picture, as_svg, axes_at, new_figure
from dosimetry.report.numbers import gray, percent
from dosimetry.report.palette import Look, Looks
from dosimetry.report.tables import Row, Table, recovery_cell
from dosimetry.results import StructureResult
from dosimetry.uncertainty.budget import Source, interval

#: Colours of the parts, in their order in a budget; colour-blind safe (Okabe and Ito, and two greys).
_COLOURS = ("#0072B2", "#56B4E9", "#009E73", "#F0E442", "#E69F00", "#D55E00", "#CC79A7", "#c5cbd3", "#8a94a0")
_BAR_IN, _LEFT_IN = 0.19, 0.3


@dataclass(frozen=True)
class FrontRow:
    """A structure on the first page: its dose with all that it errs by, what blur takes of it, its light, and why."""

    name: str
    role: str
    look: Look
    dose: str
    within: str
    recovery: str
    light: Light


def front_rows(results: Findings, looks: Looks) -> list[FrontRow]:
    """Tumours first; mean dose ± total standard uncertainty, its 95 % interval, the worst light."""
    judged = judge(results)
    rows = []
    for found in tumours_first(results):
        mean = found.dose["dose_mean_gy"]
        low, high = interval(mean, found.budget.relative_u_dose, 0.95)
        rows.append(
            FrontRow(
                found.name,
                found.role,
                looks[found.name],
                gray(mean, found.u_dose_mean_gy),
                f"{gray(low)} – {gray(high)}",
                recovery_cell(found.name, results.recovery),
                judged[found.name],
            )
        )
    return rows


def assumed_words(results: Findings) -> str:
    """Which parts of the ± are assumed, in one sentence; "" where none is."""
    names = dict.fromkeys(name for found in results.structures for name in found.budget.assumed)
    return f"Assumed, for want of anything said or measured: {', '.join(names)}." if names else ""


def budget_table(results: Findings, looks: Looks) -> Table | None:
    """Relative u of the mean dose by part, %, a star where it is assumed, and of Ã and mean dose together."""
    if not results.structures:
        return None
    parts = [part.name for part in results.structures[0].budget.parts]
    rows = []
    for found in tumours_first(results):
        cells = [
            percent(100.0 * abs(part.dose)).removesuffix(" %") + ("*" if part.source is Source.ASSUMED else "")
            for part in found.budget.parts
        ]
        whole = found.budget.relative_u_tia, found.budget.relative_u_dose
        rows.append(Row(found.name, [*cells, *(percent(100.0 * u) for u in whole)], looks[found.name]))
    return Table(("structure", *parts, "TIA", "mean dose"), rows)


def budget_bars(results: Findings) -> Picture | None:
    """A bar per structure as long as its total u, divided as the parts share in u²."""
    found = tumours_first(results)
    if not found:
        return None
    figure = new_figure(0.85 + _BAR_IN * len(found))
    axes = axes_at(figure, _LEFT_IN, 0.42, PAGE_WIDTH_IN - _LEFT_IN - 0.1, _BAR_IN * len(found))
    places = np.arange(len(found))[::-1]
    left = np.zeros(len(found))
    for number, part in enumerate(found[0].budget.parts):
        widths = np.array([_share_percent(structure, number) for structure in found])
        colour = _COLOURS[number % len(_COLOURS)]
        axes.barh(places, widths, 0.72, left=left, color=colour, linewidth=0, label=part.name)
        left += widths
    axes.set_yticks(places, [f"{number}" for number in range(1, len(found) + 1)])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.6, len(found) - 0.4)
    axes.grid(False, axis="y")
    axes.set_xlabel("standard uncertainty of the mean dose in %", labelpad=2)
    columns = -(-len(found[0].budget.parts) // 2)
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=columns, handlelength=1.0, borderaxespad=0.1)
    return as_svg(figure)


def _share_percent(structure: StructureResult, number: int) -> float:
    share = list(structure.budget.shares())[number][1]
    return 100.0 * structure.budget.relative_u_dose * share
