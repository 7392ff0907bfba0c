"""Plots of the report that are pictures: the activity balance."""

from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator

from dosimetry.findings.balance import Balance
from dosimetry.report.figures import Picture, as_svg, axes_at, new_figure
from dosimetry.report.numbers import tick
from dosimetry.report.palette import FAINT, INK, Look
from nufitdose.types import F64

_CURVE_POINTS = 240
_VIEW_COLOUR = "#b8c0c9"


def balance(times_h: F64, held: Balance, looks: Sequence[Look]) -> Picture:
    """Per scan: field of view (grey) in what decay leaves of the administered (outline); structures in the former."""
    figure = new_figure(1.9, 3.6 if looks else 1.9)
    places = np.arange(times_h.size, dtype=np.float64)
    outer = axes_at(figure, 0.62, 0.22, 1.2, 1.35)
    outer.bar(places, held.administered_mbq, 0.8, facecolor="none", edgecolor=FAINT, linestyle=(0, (3, 2)))
    outer.bar(places, held.whole_mbq, 0.56, color=_VIEW_COLOUR)
    outer.set_title("MBq: field of view", loc="left", color=INK)
    if looks:
        inner = axes_at(figure, 2.38, 0.22, 1.2, 1.35)
        inner.set_title("MBq: structures", loc="left", color=INK)
        inner.bar(places, held.whole_mbq, 0.8, color=_VIEW_COLOUR)
        bottom = np.zeros(times_h.size)
        for part, style in zip(np.nan_to_num(held.parts_mbq), looks, strict=True):
            inner.bar(places, part, 0.56, bottom=bottom, color=style.colour, linewidth=0)
            bottom += part
    for axes in figure.axes:
        axes.set_xticks(places, [f"{t:.3g}" for t in times_h])
        axes.set_xlim(-0.6, max(times_h.size, 2) - 0.4)
        axes.set_xlabel("h", labelpad=1)
        axes.tick_params(axis="x", length=0)
        axes.grid(False, axis="x")
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_formatter(FuncFormatter(tick))
    return as_svg(figure)
