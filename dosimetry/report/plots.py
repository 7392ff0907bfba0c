"""Plots of the report: activity over time, activity balance."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from dosimetry.curves.structures import u_of_curve_mbq
from dosimetry.findings import Findings
from dosimetry.findings.balance import Balance
from dosimetry.report.figures import Picture, as_svg, axes_at, new_figure
from dosimetry.report.numbers import tick
from dosimetry.report.palette import FAINT, INK, Look
from dosimetry.results import StructureResult
from nufitdose.kinetics import value
from nufitdose.types import F64

_CURVE_POINTS = 240
_VIEW_COLOUR = "#b8c0c9"


def last_shown_h(results: Findings) -> float:
    """Where all time axes end: two of the longest effective half-lives after the last scan."""
    last = float(results.times_h.max())
    half_lives = [s.fit.teff_h for s in results.structures if np.isfinite(s.fit.teff_h)]
    return max(1.25 * last, last + 2.0 * max(half_lives, default=0.0), 1.0)


def time_activity(result: StructureResult, physical_h: float, end_h: float, style: Look) -> Picture:
    """One structure's points and fitted curve with their errors, and physical decay, linear and semilogarithmic."""
    figure = new_figure(1.85, 4.75)
    for left, logarithmic in ((0.5, False), (2.95, True)):
        axes = axes_at(figure, left, 0.18, 1.75, 1.27)
        _draw_time_activity(axes, result, physical_h, end_h, style, logarithmic=logarithmic)
        axes.set_xlabel("h after administration", labelpad=2)
        axes.set_title("MBq", loc="left", fontsize=7.5, pad=3, color=INK)
    return as_svg(figure)


def _draw_time_activity(
    axes: Axes,
    result: StructureResult,
    physical_h: float,
    end_h: float,
    style: Look,
    *,
    logarithmic: bool,
) -> None:
    measured, times_h = np.isfinite(result.curve.activity_mbq), result.curve.times_h
    t, a = times_h[measured], result.curve.activity_mbq[measured]
    fine_h = np.union1d(np.linspace(0.0, end_h, _CURVE_POINTS), t)
    curve = result.fit.curve(fine_h)
    shown = [curve, a]
    axes.axvspan(float(times_h.max()), end_h, color="#f3f4f6", linewidth=0, zorder=0)
    if t.size:
        later = fine_h[fine_h >= t[0]]
        decay = value([a[0]], [np.log(2.0) / physical_h], later - t[0])
        axes.plot(later, decay, color=FAINT, linewidth=1.0, linestyle=(0, (3, 2)))
        shown.append(decay)
    axes.plot(fine_h, curve, color=style.colour, linestyle=style.linestyle)
    _draw_errors(axes, result, fine_h, curve, style)
    axes.plot(
        t, a, "o", color=style.colour, markersize=5.5, markeredgecolor="white", markeredgewidth=0.8, clip_on=False
    )
    axes.set_xlim(0.0, end_h)
    everything = np.concatenate(shown)
    everything = everything[np.isfinite(everything)]
    top = float(everything.max(initial=0.0))
    if logarithmic and top > 0:
        floor = float(everything[everything > 0].min())
        axes.set_yscale("log")
        low = max(floor, float(a[a > 0].min(initial=top)) / 30.0) / 1.4
        axes.set_ylim(low, 1.5 * top)
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if top / low < 50 else (1.0,), numticks=12))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(0.0, 1.08 * top if top > 0 else 1.0)
        axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(tick))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))


def _draw_errors(axes: Axes, result: StructureResult, fine_h: F64, curve: F64, style: Look) -> None:
    """Standard uncertainty of the points, where given, and of the curve, where known."""
    activity, u = result.curve.activity_mbq, result.curve.u_activity_mbq
    least = 1e-6 * float(np.nanmax(np.abs(activity), initial=0.0))  # above zero for the logarithmic axis
    band = _band_mbq(result, fine_h, curve)
    if band is not None:
        low, high = (np.maximum(side, least) for side in band)
        axes.fill_between(fine_h, low, high, color=style.colour, alpha=0.2, linewidth=0)
    given = np.isfinite(u) & np.isfinite(activity)
    if given.any():
        bars = np.stack([np.minimum(u, np.maximum(activity - least, 0.0)), u])[:, given]
        times_h, points = result.curve.times_h[given], activity[given]
        axes.errorbar(times_h, points, bars, fmt="none", ecolor=style.colour, elinewidth=0.9, capsize=2)


def _band_mbq(result: StructureResult, fine_h: F64, curve: F64) -> tuple[F64, F64] | None:
    """The curve ± its standard uncertainty; the 68 % interval of curves where models are averaged."""
    if result.curve.average is not None:
        return result.curve.average.band_mbq(fine_h)
    spread = u_of_curve_mbq(result.fit, fine_h)
    return None if spread is None else (curve - spread, curve + spread)


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
