"""A structure's activity over time as drawings within the page: points, curves, tail, and what the curve leaves."""

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from dosimetry.curves.structures import u_of_curve_mbq
from dosimetry.findings import Findings
from dosimetry.kinetics.models import MODELS
from dosimetry.report.drawing import Plot, Scale, dashes, drawing, line, swatch, text
from dosimetry.report.numbers import three
from dosimetry.report.palette import DASHES, Look
from dosimetry.results import CurveResult
from nufitdose.kinetics import value
from nufitdose.types import F64

_WIDTH, _HEIGHT, _LEFT, _ACROSS = 262, 220, 42, 212
_TOP, _HIGH, _RESIDUAL_TOP, _RESIDUAL_HIGH = 15, 118, 155, 34
_POINTS = 120
_MODEL_WIDTH, _CURVE_WIDTH = 1.1, 1.8  # as in report.css
_SHOWN_WEIGHT = 0.01  # of a model: the axes hold those above
_LEAST_RESIDUAL = 1e-3  # of the largest activity, and of the curve: axes of residuals span no less


@dataclass(frozen=True)
class CurveDrawing:
    """The same curve on a linear axis, with residuals in MBq, and on a logarithmic one, with residuals in percent."""

    linear: Markup
    logarithmic: Markup


@dataclass(frozen=True, eq=False)
class _Shown:
    """What both drawings show: times and values of all lines, MBq."""

    result: CurveResult
    look: Look
    end_h: float
    fine_h: F64
    curve: F64
    band: tuple[F64, F64] | None
    models: dict[str, F64]
    decay_h: F64
    decay: F64
    times_h: F64
    activity: F64
    u: F64
    fitted: F64

    @property
    def top(self) -> float:
        """The largest activity of what the axes are to hold."""
        weighed = [self.models[name] for name in self.models if self.result.curve.weights[name] >= _SHOWN_WEIGHT]
        return float(np.concatenate([self.curve, self.activity, self.decay, *weighed]).max(initial=0.0))


def last_shown_h(results: Findings) -> float:
    """Where all time axes end: two of the longest effective half-lives after the last scan."""
    last = float(results.times_h.max())
    half_lives = [row.fit.teff_h for row in results.rows if np.isfinite(row.fit.teff_h)]
    return max(1.25 * last, last + 2.0 * max(half_lives, default=0.0), 1.0)


def draw_curve(result: CurveResult, physical_h: float, end_h: float, look: Look) -> CurveDrawing:
    """One structure's points, its curve with its error, the models it was weighed against, and physical decay."""
    shown = _gather(result, physical_h, end_h, look)
    return CurveDrawing(_draw(shown, logarithmic=False), _draw(shown, logarithmic=True))


def model_swatch(name: str) -> Markup:
    """A short line as this model's thin one in the drawings."""
    return swatch(26, 10, line((0.0, 26.0), (5.0, 5.0), class_="model", **_model_dash(name)))


def _model_dash(name: str) -> dict[str, str]:
    lengths = DASHES[list(MODELS).index(name) % len(DASHES)] if name in MODELS else ()
    return dashes(lengths, _MODEL_WIDTH)


def _gather(result: CurveResult, physical_h: float, end_h: float, look: Look) -> _Shown:
    curve = result.curve
    measured = np.isfinite(curve.activity_mbq)
    times_h, activity = curve.times_h[measured], curve.activity_mbq[measured]
    first_h = float(times_h.min(initial=end_h))
    early_h = first_h * np.linspace(0.0, 1.0, 24) ** 2  # uptake is steep at its start
    fine_h = np.unique(np.concatenate([np.linspace(0.0, end_h, _POINTS), early_h, times_h]))
    own = result.fit.curve(fine_h)
    decay_h = fine_h[fine_h >= first_h] if times_h.size else np.empty(0)
    decay = value([activity[0]], [np.log(2.0) / physical_h], decay_h - first_h) if times_h.size else np.empty(0)
    return _Shown(
        result=result,
        look=look,
        end_h=end_h,
        fine_h=fine_h,
        curve=own,
        band=_band_mbq(result, fine_h, own),
        models={name: model.curve(fine_h) for name, model in curve.compared.items() if name != result.fit.model},
        decay_h=decay_h,
        decay=decay,
        times_h=times_h,
        activity=activity,
        u=curve.u_activity_mbq[measured],
        fitted=result.fit.curve(times_h),
    )


def _band_mbq(result: CurveResult, fine_h: F64, curve: F64) -> tuple[F64, F64] | None:
    """The curve ± its standard uncertainty; the 68 % interval of curves where models are averaged."""
    if result.curve.average is not None:
        return result.curve.average.band_mbq(fine_h)
    spread = u_of_curve_mbq(result.fit, fine_h)
    return None if spread is None else (curve - spread, curve + spread)


def _draw(shown: _Shown, *, logarithmic: bool) -> Markup:
    across = Scale(0.0, shown.end_h)
    main = Plot(_LEFT, _TOP, _ACROSS, _HIGH, across, _up(shown, logarithmic))
    kind = "logarithmic" if logarithmic else "linear"
    residual, u, unit = _residuals(shown, relative=logarithmic)
    least = _LEAST_RESIDUAL * (100.0 if logarithmic else shown.top)
    reach = max(1.15 * float((np.abs(residual) + np.nan_to_num(u)).max(initial=0.0)), least) or 1.0
    below = Plot(_LEFT, _RESIDUAL_TOP, _ACROSS, _RESIDUAL_HIGH, across, Scale(-reach, reach))
    parts = [
        text(2, 10, "MBq"),
        *main.axes(most_across=4, most_up=4, numbered=False),
        main.within([_after(shown, main), *_lines(shown, main)]),
        *_points(shown, main, shown.activity, shown.u, told=True),
        text(2, _RESIDUAL_TOP - 8, f"measured − curve, {unit}"),
        *below.axes(most_across=4, most_up=2),
        below.within([_after(shown, below)]),
        below.line([0.0, shown.end_h], [0.0, 0.0], class_="axis"),
        *_points(shown, below, residual, u),
        text(_LEFT + _ACROSS, _HEIGHT - 4, "h after administration", "end"),
    ]
    return drawing(_WIDTH, _HEIGHT, parts, f"Time-activity curve of {shown.result.name}, {kind}", class_=f"tac {kind}")


def _up(shown: _Shown, logarithmic: bool) -> Scale:
    top = shown.top
    if not logarithmic or top <= 0:
        return Scale(0.0, 1.08 * top if top > 0 else 1.0)
    everything = np.concatenate([shown.curve, shown.activity, shown.decay])
    positive = shown.activity[shown.activity > 0]
    floor = float(everything[everything > 0].min())
    return Scale(max(floor, float(positive.min(initial=top)) / 30.0) / 1.4, 1.5 * top, logarithmic=True)


def _residuals(shown: _Shown, *, relative: bool) -> tuple[F64, F64, str]:
    """Measured less curve and the standard uncertainty of the former: MBq, or percent of the curve."""
    residual = shown.activity - shown.fitted
    if not relative:
        return residual, shown.u, "MBq"
    scale = np.divide(100.0, shown.fitted, out=np.full_like(residual, np.nan), where=shown.fitted > 0)
    return np.nan_to_num(scale * residual), scale * shown.u, "%"


def _after(shown: _Shown, plot: Plot) -> str:
    """The time after the last scan."""
    left = float(plot.x(shown.result.curve.times_h.max()))
    size = f'x="{left:.1f}" y="{plot.top:g}" width="{plot.right - left:.1f}" height="{plot.height:g}"'
    return f'<rect class="after" {size}/>'


def _lines(shown: _Shown, plot: Plot) -> list[str]:
    look, parts = shown.look, []
    if shown.band is not None:
        parts.append(plot.area(shown.fine_h, *shown.band, fill=look.colour, class_="band"))
    parts.append(plot.line(shown.decay_h, shown.decay, class_="decay"))
    for name, curve in shown.models.items():
        parts.append(plot.line(shown.fine_h, curve, class_="model", **_model_dash(name)))
    own = plot.line(shown.fine_h, shown.curve, class_="own", stroke=look.colour, **dashes(look.dash, _CURVE_WIDTH))
    return [*parts, own]


def _points(shown: _Shown, plot: Plot, values: F64, u: F64, *, told: bool = False) -> list[str]:
    """The points with their standard uncertainty, where given; `told` says their numbers to the pointer."""
    parts = []
    for n, (time_h, middle) in enumerate(zip(shown.times_h, values, strict=True)):
        x, y = float(plot.x(time_h)), float(plot.y(middle))
        if np.isfinite(u[n]):
            ends = np.clip(plot.y([middle - u[n], middle + u[n]]), plot.top, plot.bottom)
            bar = f'<path class="error" d="M{x:.1f} {ends[0]:.1f}V{ends[1]:.1f}" stroke="{shown.look.colour}"/>'
            parts.append(bar)
        said = f"{three(time_h)} h: {three(middle)} MBq, curve {three(shown.fitted[n])} MBq"
        title = f"<title>{said}</title>" if told else ""
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" fill="{shown.look.colour}">{title}</circle>')
    return parts
