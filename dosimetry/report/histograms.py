"""Dose-volume histograms as drawings within the page, whose curves a script can show, hide and read out."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from dosimetry.findings import Findings
from dosimetry.metrics import DoseVolume
from dosimetry.report.drawing import Plot, Scale, dashes, drawing, text
from dosimetry.report.palette import Look, Looks
from dosimetry.results import DerivedResult, StructureResult
from nufitdose.types import F64

_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 460, 270, 50, 10, 14, 44
_LINE = 1.8  # its width, as in report.css
_MARKS_PERCENT = (98.0, 50.0, 2.0)
_STEP = 5  # points of the cumulative curve in a bar of the differential one: 40 bars
_TITLES = {"organ": "organs", "tumour": "tumours", "derived": "derived structures"}


@dataclass(frozen=True)
class Histogram:
    """One drawing and the numbers behind it for the script; `kind` is "cumulative" or "differential"."""

    kind: str
    drawing: Markup
    data: Markup


@dataclass(frozen=True)
class HistogramPanel:
    """The curves of one role: its title, the looks of its structures, and the histograms of both kinds."""

    title: str
    looks: Mapping[str, Look]
    histograms: tuple[Histogram, ...]


def histogram_panels(results: Findings, looks: Looks) -> list[HistogramPanel]:
    """Organs, tumours and derived structures on their own scales, the points those of dvh.csv."""
    found: dict[str, list[StructureResult | DerivedResult]] = {role: [] for role in _TITLES}
    for structure in results.structures:
        found[structure.role].append(structure)
    found["derived"] += results.derived
    return [_panel(_TITLES[role], some, looks) for role, some in found.items() if some]


def _panel(title: str, found: Sequence[StructureResult | DerivedResult], looks: Looks) -> HistogramPanel:
    highest = max(s.dose["dose_max_gy"] for s in found)
    end_gy = min(1.03 * highest, 1.25 * max(s.dose["dose_d2_gy"] for s in found)) or 1.0
    own = {s.name: looks[s.name] for s in found}
    cumulative = {s.name: s.histogram.curve() for s in found}
    differential = {s.name: _steps(s.histogram) for s in found}
    top = 1.05 * max(float(share.max(initial=0.0)) for _, share in differential.values()) or 1.0
    both = (
        _histogram("cumulative", title, cumulative, own, Scale(0.0, end_gy), Scale(0.0, 102.0)),
        _histogram("differential", title, differential, own, Scale(0.0, end_gy), Scale(0.0, top)),
    )
    return HistogramPanel(title, own, both)


def _steps(histogram: DoseVolume) -> tuple[F64, F64]:
    """-dV/dD in percent per Gy as steps: what the cumulative curve loses over every `_STEP` of its points."""
    dose_gy, percent = histogram.curve()
    edges, left = np.append(dose_gy[::_STEP], dose_gy[-1]), np.append(percent[::_STEP], 0.0)
    width = np.diff(edges)
    share = np.divide(-np.diff(left), width, out=np.zeros_like(width), where=width > 0)
    return np.repeat(edges, 2), np.concatenate([[0.0], np.repeat(share, 2), [0.0]])


def _histogram(
    kind: str, title: str, curves: Mapping[str, tuple[F64, F64]], looks: Mapping[str, Look], across: Scale, up: Scale
) -> Histogram:
    plot = Plot(_LEFT, _TOP, _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM, across, up)
    lines = [_line(plot, name, *points, looks[name]) for name, points in curves.items()]
    marks = _MARKS_PERCENT if kind == "cumulative" else ()
    parts = [
        *plot.axes(),
        *(f'<path class="mark" d="M{_LEFT} {float(plot.y(share)):.1f}H{plot.right:g}"/>' for share in marks),
        plot.within(lines),
        text(plot.left + plot.width / 2, _HEIGHT - 8, "dose in Gy", "middle"),
        _upright(plot, "volume in %" if kind == "cumulative" else "volume in % per Gy"),
        f'<line class="cursor" y1="{plot.top:g}" y2="{plot.bottom:g}" visibility="hidden"/>',
    ]
    label = f"{kind.capitalize()} dose-volume histograms of {title}"
    data = {
        "kind": kind,
        "end_gy": across.high,
        "left": plot.left,
        "right": plot.right,
        "curves": {name: [np.round(axis, 6).tolist() for axis in points] for name, points in curves.items()},
    }
    drawn = drawing(_WIDTH, _HEIGHT, parts, label, class_="dvh", tabindex="0")
    return Histogram(kind, drawn, json_for_page(data))


def _upright(plot: Plot, words: str) -> str:
    middle = plot.top + plot.height / 2
    return text(0, 0, words, "middle", transform=f"translate(13 {middle:g}) rotate(-90)")


def _line(plot: Plot, name: str, dose_gy: F64, share: F64, look: Look) -> str:
    return plot.line(dose_gy, share, data_structure=name, stroke=look.colour, **dashes(look.dash, _LINE))


def json_for_page(content: object) -> Markup:
    """JSON that may stand in a script element: nothing in it can end that."""
    written = json.dumps(content, allow_nan=False)
    return Markup(written.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))  # noqa: S704
