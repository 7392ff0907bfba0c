"""Dose-volume histograms as drawings within the page, whose curves a script can show, hide and read out."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape
from matplotlib.ticker import MaxNLocator

from dosimetry.findings import Findings
from dosimetry.report.numbers import tick
from dosimetry.report.palette import Looks
from dosimetry.results import StructureResult

_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 460, 270, 50, 10, 14, 44
_MARKS_PERCENT = (98.0, 50.0, 2.0)
_TITLES = {"organ": "organs", "tumour": "tumours"}


@dataclass(frozen=True)
class HistogramPanel:
    """The curves of one role: its title, the drawing, and the numbers behind it for the script."""

    title: str
    names: tuple[str, ...]
    drawing: Markup
    data: Markup


def histogram_panels(results: Findings, looks: Looks) -> list[HistogramPanel]:
    """Cumulative dose-volume histograms, organs and tumours on their own scales, the points those of dvh.csv."""
    by_role = {role: [s for s in results.structures if s.role == role] for role in _TITLES}
    return [_panel(_TITLES[role], found, looks) for role, found in by_role.items() if found]


def _panel(title: str, found: Sequence[StructureResult], looks: Looks) -> HistogramPanel:
    highest = max(s.dose["dose_max_gy"] for s in found)
    end_gy = min(1.03 * highest, 1.25 * max(s.dose["dose_d2_gy"] for s in found)) or 1.0
    curves = {s.name: [np.round(axis, 6).tolist() for axis in s.histogram.curve()] for s in found}
    parts = [*_axes(end_gy), *(_line(s, looks, end_gy) for s in found)]
    cursor = f'<line class="cursor" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}" visibility="hidden"/>'
    label = f"Cumulative dose-volume histograms of {title}"
    drawing = (
        f'<svg class="dvh" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}" tabindex="0">'
        f"{''.join(parts)}{cursor}</svg>"
    )
    data = {"end_gy": end_gy, "left": _LEFT, "right": _WIDTH - _RIGHT, "curves": curves}
    return HistogramPanel(title, tuple(curves), Markup(drawing), json_for_page(data))  # noqa: S704 - names are escaped in _line


def json_for_page(content: object) -> Markup:
    """JSON that may stand in a script element: nothing in it can end that."""
    text = json.dumps(content, allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))  # noqa: S704


def _x(dose_gy: float, end_gy: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * min(dose_gy / end_gy, 1.0)


def _y(percent: float) -> float:
    return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1.0 - percent / 102.0)


def _axes(end_gy: float) -> list[str]:
    low, high = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = [f'<path class="axis" d="M{_LEFT} {_TOP}V{low}H{high}"/>']
    for share in (0, 20, 40, 60, 80, 100):
        parts.append(f'<text x="{_LEFT - 5}" y="{_y(share) + 4.5:.1f}" text-anchor="end">{share}</text>')
        parts.append(f'<path class="grid" d="M{_LEFT} {_y(share):.1f}H{high}"/>')
    for dose in MaxNLocator(6).tick_values(0.0, end_gy):
        if 0 <= dose <= end_gy:
            parts.append(f'<text x="{_x(dose, end_gy):.1f}" y="{low + 16}" text-anchor="middle">{tick(dose)}</text>')
    parts += [f'<path class="mark" d="M{_LEFT} {_y(share):.1f}H{high}"/>' for share in _MARKS_PERCENT]
    middle = (_LEFT + high) / 2
    parts.append(f'<text x="{middle:.0f}" y="{_HEIGHT - 8}" text-anchor="middle">dose in Gy</text>')
    across = (_TOP + low) / 2
    turned = f'x="13" y="{across}" transform="rotate(-90 13 {across})"'
    parts.append(f'<text {turned} text-anchor="middle">volume in %</text>')
    return parts


def _line(found: StructureResult, looks: Looks, end_gy: float) -> str:
    shown = [(dose, share) for dose, share in zip(*found.histogram.curve(), strict=True) if dose <= end_gy]
    path = " ".join(f"{_x(dose, end_gy):.1f},{_y(share):.1f}" for dose, share in shown)
    look = looks[found.name]
    dash = f' stroke-dasharray="{" ".join(f"{1.8 * length:g}" for length in look.dash)}"' if look.dash else ""
    return f'<polyline data-structure="{escape(found.name)}" points="{path}" stroke="{look.colour}"{dash}/>'
