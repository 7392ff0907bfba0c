"""Pictures in three planes: scans before and after registration, dose over the anatomy."""

from collections.abc import Callable, Sequence

import matplotlib as mpl
import numpy as np
from contourpy import contour_generator
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy import ndimage

from dosimetry.report.figures import PAGE_WIDTH_IN, Picture, as_png, axes_at, new_figure
from dosimetry.report.palette import FIXED_RGB, MOVING_RGB, Look
from dosimetry.report.planes import ORIENTATIONS, Box, Orientation, cut
from dosimetry.results import PatientResults
from nufitdose.registration import DisplacementField, Registration
from nufitdose.study import Structures, TimePoint
from nufitdose.types import Points
from nufitdose.volume import Volume

F32 = NDArray[np.float32]
Rgb = NDArray[np.float32]
Looks = dict[str, Look]
Paint = Callable[[Axes, Points], None]
Stage = tuple[str, Paint]

_PIXEL_MM = 1.3
_CT_COLOURS = 256  # enough for the noise of a CT; smooth activity alone would show steps
_COLOURS = "plasma"
_CT_WINDOW_HU = (-160.0, 240.0)
_GAP_IN, _LABEL_IN = 0.06, 0.22
_TALLEST_IN, _TALLEST_ALONE_IN = 2.0, 2.8


def fused_activity(reference: TimePoint, moving: TimePoint, found: Registration, box: Box, looks: Looks) -> Picture:
    """Reference and moving scan before (upper row), moved rigidly where the engine bends, and after, in three planes.

    On CT where the reference has one: CT in grey, the moving scan's activity in colour. Without CT both
    activities: reference orange, moving blue, white where they agree. Outlines: structures of the
    reference, and dashed those drawn on the moving scan.
    """
    moving_top, fixed_top = _display_maximum(moving.activity), _display_maximum(reference.activity)

    def painter(field: DisplacementField | None) -> Paint:
        def paint(axes: Axes, points: Points) -> None:
            share = cut(moving.activity, _move(points, field)) / moving_top
            if reference.ct is not None:
                rgb = _over(_grey(cut(reference.ct, points)), share)
            else:
                rgb = _two_colours(cut(reference.activity, points) / fixed_top, share)
            _show(axes, rgb, points)
            if reference.structures is not None:
                _draw_structures(axes, points, reference.structures, looks)
            if moving.structures is not None:
                _draw_structures(axes, _move(points, field), moving.structures, looks, dashed=True)

        return paint

    colours = _CT_COLOURS if reference.ct is not None else None
    return as_png(_rows(_before_and_after(found, painter), box), colours=colours)


def fused_ct(reference: TimePoint, moving: TimePoint, found: Registration, box: Box) -> Picture | None:
    """The two CTs before, moved rigidly where the engine bends, and after; None without both.

    Reference orange, moving blue, grey where they agree.
    """
    fixed_ct, moving_ct = reference.ct, moving.ct
    if fixed_ct is None or moving_ct is None:
        return None

    def painter(field: DisplacementField | None) -> Paint:
        def paint(axes: Axes, points: Points) -> None:
            first, second = _window(cut(fixed_ct, points)), _window(cut(moving_ct, _move(points, field)))
            _show(axes, _two_colours(first, second, gamma=1.0), points)

        return paint

    return as_png(_rows(_before_and_after(found, painter), box), colours=_CT_COLOURS)


def dose_overlay(results: PatientResults, box: Box, looks: Looks) -> tuple[Picture, tuple[float, ...]]:
    """Dose in colour over CT (or over the reference activity) with isodoses, and those in Gy."""
    reference, dose = results.study.reference, results.maps.dose
    top = _dose_maximum(results)
    levels = _isodoses(top)
    colours, norm = mpl.colormaps[_COLOURS], Normalize(0.0, top)
    back_top = _display_maximum(reference.activity)

    def paint(axes: Axes, points: Points) -> None:
        here = cut(dose, points)
        back = _grey(cut(reference.ct, points)) if reference.ct else _plain(cut(reference.activity, points) / back_top)
        _show(axes, _over(back, here / top), points)
        shown = [level for level in levels if here.min() < level < here.max()]
        if shown:
            axes.contour(here, shown, colors="white", linewidths=0.5, alpha=0.9)
        if reference.structures is not None:
            _draw_structures(axes, points, reference.structures, looks)

    figure = _rows([("", paint)], box, colour_bar_in=0.62)
    width_in, height_in = figure.get_size_inches()
    bar = axes_at(figure, width_in - 0.5, 0.2, 0.11, height_in - 0.28)
    scale = figure.colorbar(ScalarMappable(norm, colours), cax=bar)
    scale.set_ticks([0.0, *levels])
    scale.outline.set_visible(False)
    for level in levels:
        bar.axhline(level, color="white", linewidth=0.55)
    bar.set_title("Gy", fontsize=7.5, pad=3)
    bar.grid(False)
    return as_png(figure), levels


def _before_and_after(found: Registration, painter: Callable[[DisplacementField | None], Paint]) -> list[Stage]:
    if found.engine == "none":
        return [("", painter(None))]
    rigid = [] if found.rigid is None else [("rigid", painter(found.rigid.field))]
    return [("before", painter(None)), *rigid, ("after", painter(found.field))]


def _move(points: Points, field: DisplacementField | None) -> Points:
    return points if field is None else points + field.at(points)


def _draw_structures(axes: Axes, points: Points, structures: Structures, looks: Looks, *, dashed: bool = False) -> None:
    """Outline what lies at these points, which need not be those of the picture's own plane."""
    layers = [cut(layer, points) for layer in structures.layers]
    lines, colours = [], []
    for label, name in structures.names.items():
        inside = np.maximum.reduce([layer == label for layer in layers]).astype(np.float32)
        if name in looks and inside.any():
            found = _outline(inside)
            lines += found
            colours += [looks[name].colour] * len(found)
    if not dashed:
        axes.add_collection(LineCollection(lines, colors="white", linewidths=2.0, alpha=0.35), autolim=False)
    style = (0.0, (2.2, 1.6)) if dashed else "solid"
    axes.add_collection(LineCollection(lines, colors=colours, linewidths=1.1, linestyles=[style]), autolim=False)


def _outline(inside: F32) -> list[NDArray[np.float64]]:
    smooth = ndimage.gaussian_filter(np.pad(inside, 1), 0.8)
    level = 0.5 if smooth.max() > 0.55 else 0.5 * float(smooth.max())
    return [np.asarray(line, dtype=np.float64) - 1.0 for line in contour_generator(z=smooth).lines(level)]


def _rows(rows: Sequence[Stage], box: Box, *, colour_bar_in: float = 0.0) -> Figure:
    """One row of three planes per painter, all on one scale of millimetres, letters on every picture."""
    sizes = [box.extent_mm(plane) for plane in ORIENTATIONS]
    label_in = _LABEL_IN if any(name for name, _ in rows) else 0.0
    usable = PAGE_WIDTH_IN - label_in - colour_bar_in - _GAP_IN * (len(sizes) - 1)
    tallest_in = _TALLEST_ALONE_IN if len(rows) == 1 else _TALLEST_IN
    inch_per_mm = min(usable / sum(width for width, _ in sizes), tallest_in / max(height for _, height in sizes))
    row_in = max(height for _, height in sizes) * inch_per_mm
    width_in = label_in + inch_per_mm * sum(width for width, _ in sizes) + _GAP_IN * (len(sizes) - 1) + colour_bar_in
    figure = new_figure(len(rows) * row_in + (len(rows) - 1) * _GAP_IN, width_in)
    for number, (name, paint) in enumerate(rows):
        left, top = label_in, number * (row_in + _GAP_IN)
        if name:
            middle = 1 - (top + row_in / 2) / figure.get_size_inches()[1]
            figure.text(label_in / 2 / width_in, middle, name, rotation=90, va="center", ha="center", fontsize=8.5)
        for plane, (width, height) in zip(ORIENTATIONS, sizes, strict=True):
            drop = (row_in - height * inch_per_mm) / 2
            axes = axes_at(figure, left, top + drop, width * inch_per_mm, height * inch_per_mm)
            paint(axes, box.points(plane, _PIXEL_MM))
            _finish(axes, plane)
            left += width * inch_per_mm + _GAP_IN
    return figure


def _finish(axes: Axes, plane: Orientation) -> None:
    axes.set_axis_off()
    left, right, top, bottom = plane.letters
    places = ((0.02, 0.5, left), (0.98, 0.5, right), (0.5, 0.98, top), (0.5, 0.02, bottom))
    for x, y, letter in places:
        across = "left" if x < 0.1 else "right" if x > 0.9 else "center"
        along = "bottom" if y < 0.1 else "top" if y > 0.9 else "center"
        box = {"boxstyle": "square,pad=0.12", "facecolor": "black", "alpha": 0.45, "linewidth": 0}
        axes.text(x, y, letter, transform=axes.transAxes, color="white", fontsize=7.5, ha=across, va=along, bbox=box)


def _show(axes: Axes, rgb: Rgb, points: Points) -> None:
    axes.imshow(rgb, aspect="auto", interpolation="bilinear", origin="upper")
    axes.set_xlim(-0.5, points.shape[1] - 0.5)
    axes.set_ylim(points.shape[0] - 0.5, -0.5)


def _window(hu: F32) -> F32:
    low, high = _CT_WINDOW_HU
    return np.clip((hu - low) / (high - low), 0.0, 1.0)


def _grey(hu: F32) -> Rgb:
    return np.repeat(0.85 * _window(hu)[..., None], 3, axis=-1)


def _plain(share: F32) -> Rgb:
    return np.repeat(0.55 * np.clip(share, 0.0, 1.0)[..., None] ** 0.6, 3, axis=-1)


def _over(back: Rgb, share: F32) -> Rgb:
    """Colour over grey, the more opaque the higher the value; nothing below 3 % of the scale."""
    share = np.clip(share, 0.0, 1.0)
    colour = mpl.colormaps[_COLOURS](share)[..., :3].astype(np.float32)
    alpha = np.clip((share - 0.03) / 0.25, 0.0, 0.85)[..., None]
    return (1 - alpha) * back + alpha * colour


def _two_colours(fixed: F32, moving: F32, gamma: float = 0.6) -> Rgb:
    first, second = (np.clip(share, 0.0, 1.0)[..., None] ** gamma for share in (fixed, moving))
    return np.clip(first * np.array(FIXED_RGB, np.float32) + second * np.array(MOVING_RGB, np.float32), 0.0, 1.0)


def _display_maximum(activity: Volume) -> float:
    """Where the colour scale of an activity ends: the 99.9th percentile of what is active, on every third voxel."""
    some = activity.data[::3, ::3, ::3]
    top = float(np.quantile(some[some > 0], 0.999)) if (some > 0).any() else 0.0
    return top if top > 0 else 1.0


def _dose_maximum(results: PatientResults) -> float:
    """Where the dose scale ends: the highest near-maximum dose of the structures, else of the map."""
    tops = [result.dose["dose_d2_gy"] for result in results.structures]
    top = max(tops) if tops else float(np.quantile(results.maps.dose.data[::3, ::3, ::3], 0.9995))
    return top if top > 0 else 1.0


def _isodoses(top_gy: float) -> tuple[float, ...]:
    levels = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(0.0, top_gy)
    return tuple(float(level) for level in levels if 0 < level < 0.97 * top_gy)
