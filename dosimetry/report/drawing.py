"""Drawings within the page: axes, lines and areas as SVG, in the page's own colours, light or dark, and its own text.

Lengths are in units of the drawing's view box, whose origin is the upper left corner.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape
from matplotlib.ticker import LogLocator, MaxNLocator
from numpy.typing import ArrayLike

from dosimetry.report.numbers import tick
from nufitdose.types import F64

_FEW_DECADES = 50.0  # a logarithmic axis that spans less has ticks at 2 and 5 too
_BEYOND = 0.5  # of the axis: values further out are drawn there, which is out of sight


@dataclass(frozen=True)
class Scale:
    """What an axis spans."""

    low: float
    high: float
    logarithmic: bool = False

    def share(self, values: ArrayLike) -> F64:
        """Where values lie, 0 at `low` and 1 at `high`."""
        found = np.asarray(values, dtype=np.float64)
        low, high = self.low, self.high
        if self.logarithmic:
            low, high = float(np.log(low)), float(np.log(high))
            found = np.log(np.maximum(found, 1e-300))
        return np.asarray(np.clip((found - low) / (high - low), -_BEYOND, 1.0 + _BEYOND), dtype=np.float64)

    def ticks(self, most: int) -> list[float]:
        """Round values within."""
        if self.logarithmic:
            subs = (1.0, 2.0, 5.0) if self.high / self.low < _FEW_DECADES else (1.0,)
            found = LogLocator(subs=subs, numticks=12).tick_values(self.low, self.high)
        else:
            found = MaxNLocator(most).tick_values(self.low, self.high)
        slack = 1e-9 * (self.high - self.low)
        return [float(value) for value in found if self.low - slack <= value <= self.high + slack]


@dataclass(frozen=True)
class Plot:
    """A rectangle of a drawing and its two axes."""

    left: float
    top: float
    width: float
    height: float
    across: Scale
    up: Scale

    def x(self, values: ArrayLike) -> F64:
        """Where values lie from left to right."""
        return np.asarray(self.left + self.width * self.across.share(values))

    def y(self, values: ArrayLike) -> F64:
        """Where values lie from top to bottom."""
        return np.asarray(self.top + self.height * (1.0 - self.up.share(values)))

    @property
    def right(self) -> float:
        """The right edge."""
        return self.left + self.width

    @property
    def bottom(self) -> float:
        """The lower edge."""
        return self.top + self.height

    def axes(self, *, most_across: int = 6, most_up: int = 5, numbered: bool = True) -> list[str]:
        """Grid, numbers and lines; without numbers across where another plot beneath has them."""
        parts = []
        for value in self.up.ticks(most_up):
            level = float(self.y(value))
            parts.append(f'<path class="grid" d="M{self.left:g} {level:.1f}H{self.right:g}"/>')
            parts.append(text(self.left - 4, level + 3.8, tick(value), "end"))
        for value in self.across.ticks(most_across) if numbered else ():
            parts.append(text(float(self.x(value)), self.bottom + 14, tick(value), "middle"))
        return [*parts, f'<path class="axis" d="M{self.left:g} {self.top:g}V{self.bottom:g}H{self.right:g}"/>']

    def line(self, across: ArrayLike, up: ArrayLike, **attributes: str) -> str:
        """A line through points."""
        return line(self.x(across), self.y(up), **attributes)

    def area(self, across: F64, low: F64, high: F64, **attributes: str) -> str:
        """What lies between two lines."""
        around = np.concatenate([across, across[::-1]]), np.concatenate([high, low[::-1]])
        return f'<polygon points="{_points(self.x(around[0]), self.y(around[1]))}"{_written(attributes)}/>'

    def within(self, parts: Sequence[str]) -> str:
        """Parts of which nothing beyond the rectangle shows."""
        box = f"{self.left:g} {self.top:g} {self.width:g} {self.height:g}"
        size = f'x="{self.left:g}" y="{self.top:g}" width="{self.width:g}" height="{self.height:g}"'
        return f'<svg {size} viewBox="{box}">{"".join(parts)}</svg>'


def line(x: Iterable[float], y: Iterable[float], **attributes: str) -> str:
    """A line through places."""
    return f'<polyline points="{_points(x, y)}"{_written(attributes)}/>'


def text(x: float, y: float, words: str, anchor: str = "start", **attributes: str) -> str:
    """Words at a place."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{_written(attributes)}>{escape(words)}</text>'


def drawing(width: int, height: int, parts: Sequence[str], label: str, **attributes: str) -> Markup:
    """The whole drawing, named `label` for those who hear the page."""
    named = f' viewBox="0 0 {width} {height}" role="img"{_written({"aria-label": label, **attributes})}'
    return Markup(f"<svg{named}>{''.join(parts)}</svg>")  # noqa: S704 - words and attributes are escaped


def swatch(width: int, height: int, *parts: str) -> Markup:
    """A small drawing beside the name of what it shows."""
    return Markup(f'<svg class="swatch" viewBox="0 0 {width} {height}" aria-hidden="true">{"".join(parts)}</svg>')  # noqa: S704


def dashes(lengths: Sequence[float], width: float) -> dict[str, str]:
    """The attribute of a dash in line widths; none for a whole line."""
    return {"stroke_dasharray": " ".join(f"{width * length:g}" for length in lengths)} if lengths else {}


def _points(x: Iterable[float], y: Iterable[float]) -> str:
    return " ".join(f"{across:.1f},{down:.1f}" for across, down in zip(x, y, strict=True))


def _written(attributes: dict[str, str]) -> str:
    names = {name: name.removesuffix("_").replace("_", "-") for name in attributes}
    return "".join(f' {names[name]}="{escape(value)}"' for name, value in attributes.items())
