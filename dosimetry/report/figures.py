"""Matplotlib figures as data that a page carries in itself.

Figures hold colours and numbers only; names that users or patients supply stand in the page, where
they are escaped and any script can be shown.
"""

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from PIL import Image

from dosimetry.report.palette import FAINT, INK

PAGE_WIDTH_IN = 7.1  # A4 less its margins
_PIXELS_PER_INCH, _QUALITY = 150, 88

_STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.use_mathtext": True,
    "axes.unicode_minus": True,
    "grid.color": "#e6e9ed",
    "grid.linewidth": 0.6,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "lines.linewidth": 1.5,
    "lines.dash_capstyle": "butt",
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "figure.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "nufitdose",
}


@contextmanager
def house_style() -> Iterator[None]:
    """The look of every figure while the block runs; matplotlib's own settings come back after it."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def new_figure(height_in: float, width_in: float = PAGE_WIDTH_IN) -> Figure:
    """An empty figure, by default as wide as the page."""
    return Figure(figsize=(width_in, height_in))


def axes_at(figure: Figure, left_in: float, top_in: float, width_in: float, height_in: float) -> Axes:
    """Axes placed in inches from the upper left corner of the figure."""
    whole_width, whole_height = figure.get_size_inches()
    bottom = whole_height - top_in - height_in
    return figure.add_axes(
        (left_in / whole_width, bottom / whole_height, width_in / whole_width, height_in / whole_height)
    )


@dataclass(frozen=True)
class Picture:
    """A figure as a data address, and how wide it stands on the page."""

    address: str
    width_in: float


def save_jpeg(figure: Figure, path: Path) -> None:
    """Write the figure as JPEG with full colour resolution, for images."""
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(_PIXELS_PER_INCH)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])  # type: ignore[no-untyped-call]
    inch = (_PIXELS_PER_INCH, _PIXELS_PER_INCH)
    pixels.save(path, format="jpeg", quality=_QUALITY, subsampling=0, dpi=inch)


def read_jpeg(path: Path) -> Picture:
    """A picture that `save_jpeg` wrote."""
    content = path.read_bytes()
    with Image.open(io.BytesIO(content)) as image:
        width_in = image.width / _PIXELS_PER_INCH
    return Picture(f"data:image/jpeg;base64,{base64.b64encode(content).decode('ascii')}", width_in)


def as_svg(figure: Figure) -> Picture:
    """The figure as SVG, for curves."""
    FigureCanvasSVG(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    address = f"data:image/svg+xml;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
    return Picture(address, float(figure.get_size_inches()[0]))
