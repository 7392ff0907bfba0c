"""Pictures in three planes: scans before and after registration, dose over the anatomy."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from contourpy import contour_generator
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy import ndimage

from dosimetry.findings.file import PLACE
from dosimetry.report.colouring import COLOURS, Rgb, dim, grey, lay_over, two_colours, window
from dosimetry.report.figures import PAGE_WIDTH_IN, axes_at, house_style, new_figure, save_jpeg
from dosimetry.report.numbers import tick
from dosimetry.report.palette import Looks, looks_of
from dosimetry.report.planes import ORIENTATIONS, Box, Orientation, box_of, cut, planes_in_words
from dosimetry.results import PatientResults
from nufitdose.registration import DisplacementField, Registration
from nufitdose.study import Structures, TimePoint
from nufitdose.types import F64, Points
from nufitdose.volume import Volume

F32 = NDArray[np.float32]
Figures = dict[str, Figure]
Paint = Callable[[Axes, Points], None]
Stage = tuple[str, Paint]

SAID = "pictures.json"

_PIXEL_MM = 1.3
_FIELD_COLOURS, _JACOBIAN_COLOURS = "viridis", "RdBu_r"
_GAP_IN, _BAR_IN, _TALLEST_IN = 0.06, 0.62, 2.8


def write_pictures(results: PatientResults, folder: Path) -> None:
    """report/: the pictures of every registered scan and of the dose, and pictures.json, what is to be said of them."""
    looks = looks_of(found.name for found in results.structures)
    box, place = box_of(results), folder / PLACE
    place.mkdir(exist_ok=True)
    reference = results.study.reference
    with house_style():
        for frame, timepoint in zip(results.frames, results.study.timepoints, strict=True):
            if frame.registration is not None:
                pair = Pair(reference, timepoint, frame.registration, box, looks)
                for name, figure in {**fused_activity(pair), **fused_ct(pair), **field_pictures(pair)}.items():
                    save_jpeg(figure, place / f"{frame.id}_{name}.jpg")
        overlay, isodoses = dose_overlay(results, box, looks)
    save_jpeg(overlay, place / "dose.jpg")
    said = {"planes": planes_in_words(box), "isodoses_gy": isodoses}
    (place / SAID).write_text(json.dumps(said) + "\n", encoding="utf-8")


@dataclass(frozen=True, eq=False)
class Pair:
    """What a picture of a registration is made of."""

    reference: TimePoint
    moving: TimePoint
    found: Registration
    box: Box
    looks: Looks


def fused_activity(pair: Pair) -> Figures:
    """Reference and moving scan before, moved rigidly where the engine bends, and after, each in three planes.

    On CT where the reference has one: CT in grey, the moving scan's activity in colour. Without CT both
    activities: reference orange, moving blue, white where they agree. Outlines: structures of the
    reference, and dashed those drawn on the moving scan.
    """
    reference, moving = pair.reference, pair.moving
    moving_top, fixed_top = display_maximum(moving.activity), display_maximum(reference.activity)

    def painter(field: DisplacementField | None) -> Paint:
        def paint(axes: Axes, points: Points) -> None:
            share = cut(moving.activity, _move(points, field)) / moving_top
            if reference.ct is not None:
                rgb = lay_over(grey(cut(reference.ct, points)), share)
            else:
                rgb = two_colours(cut(reference.activity, points) / fixed_top, share)
            _show(axes, rgb, points)
            if reference.structures is not None:
                _draw_structures(axes, points, reference.structures, pair.looks)
            if moving.structures is not None:
                _draw_structures(axes, _move(points, field), moving.structures, pair.looks, dashed=True)

        return paint

    bar = Bar("kBq/mL", COLOURS, Normalize(0.0, 1e-3 * moving_top)) if reference.ct is not None else None
    return {f"activity_{stage}": _row(paint, pair.box, bar) for stage, paint in _stages(pair.found, painter)}


def fused_ct(pair: Pair) -> Figures:
    """The two CTs before, moved rigidly where the engine bends, and after; nothing without both.

    Reference orange, moving blue, grey where they agree.
    """
    fixed_ct, moving_ct = pair.reference.ct, pair.moving.ct
    if fixed_ct is None or moving_ct is None:
        return {}

    def painter(field: DisplacementField | None) -> Paint:
        def paint(axes: Axes, points: Points) -> None:
            first, second = window(cut(fixed_ct, points)), window(cut(moving_ct, _move(points, field)))
            _show(axes, two_colours(first, second, gamma=1.0), points)

        return paint

    return {f"ct_{stage}": _row(paint, pair.box) for stage, paint in _stages(pair.found, painter)}


def field_pictures(pair: Pair) -> Figures:
    """How far the field displaces, mm, and its Jacobian, local volume on the moving scan over that on the reference."""
    field = pair.found.field
    if pair.found.engine == "none":
        return {}
    jacobian, length = field.jacobian_determinant(), field.magnitude
    longest = max(float(np.quantile(length, 0.999)), 1.0)

    def paint_length(axes: Axes, points: Points) -> None:
        _paint_scalar(axes, np.linalg.norm(field.at(points), axis=-1), mpl.colormaps[_FIELD_COLOURS], 0.0, longest)

    def paint_jacobian(axes: Axes, points: Points) -> None:
        index = np.moveaxis(field.grid.index(points), -1, 0)
        here = ndimage.map_coordinates(jacobian, index, np.float64, order=1, mode="nearest")
        _paint_scalar(axes, np.log2(np.maximum(here, 1e-3)), mpl.colormaps[_JACOBIAN_COLOURS], -1.0, 1.0)

    scales = {
        "displacement": (paint_length, Bar("mm", _FIELD_COLOURS, Normalize(0.0, longest))),
        "jacobian": (
            paint_jacobian,
            Bar("J", _JACOBIAN_COLOURS, Normalize(-1.0, 1.0), {-1.0: "½", 0.0: "1", 1.0: "2"}),
        ),
    }
    return {name: _row(_outlined(paint, pair), pair.box, bar) for name, (paint, bar) in scales.items()}


def _outlined(paint: Paint, pair: Pair) -> Paint:
    def paint_both(axes: Axes, points: Points) -> None:
        paint(axes, points)
        if pair.reference.structures is not None:
            _draw_structures(axes, points, pair.reference.structures, pair.looks)

    return paint_both


def _paint_scalar(axes: Axes, values: F64, colours: Colormap, low: float, high: float) -> None:
    share = np.clip((values - low) / (high - low), 0.0, 1.0)
    _show(axes, colours(share)[..., :3].astype(np.float32), values)


def dose_overlay(results: PatientResults, box: Box, looks: Looks) -> tuple[Figure, tuple[float, ...]]:
    """Dose in colour over CT (or over the reference activity) with isodoses, and those in Gy."""
    reference, dose = results.study.reference, results.maps.dose
    top = _dose_maximum(results)
    levels = isodose_levels(top)
    back_top = display_maximum(reference.activity)

    def paint(axes: Axes, points: Points) -> None:
        here = cut(dose, points)
        back = grey(cut(reference.ct, points)) if reference.ct else dim(cut(reference.activity, points) / back_top)
        _show(axes, lay_over(back, here / top), points)
        shown = [level for level in levels if here.min() < level < here.max()]
        if shown:
            axes.contour(here, shown, colors="white", linewidths=0.5, alpha=0.9)
        if reference.structures is not None:
            _draw_structures(axes, points, reference.structures, looks)

    ticks = {0.0: "0", **{level: tick(level) for level in levels}}
    return _row(paint, box, Bar("Gy", COLOURS, Normalize(0.0, top), ticks, lines=levels)), levels


def _stages(found: Registration, painter: Callable[[DisplacementField | None], Paint]) -> list[Stage]:
    if found.engine == "none":
        return [("before", painter(None))]
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


@dataclass(frozen=True, eq=False)
class Bar:
    """A colour scale beside a picture: unit, colours, ends, and its ticks and white lines where they are given."""

    unit: str
    colours: str
    norm: Normalize
    ticks: Mapping[float, str] | None = None
    lines: Sequence[float] = ()


def _row(paint: Paint, box: Box, bar: Bar | None = None) -> Figure:
    """Three planes in a row on one scale of millimetres, with letters; room for a bar even without one."""
    sizes = [box.extent_mm(plane) for plane in ORIENTATIONS]
    usable = PAGE_WIDTH_IN - _BAR_IN - _GAP_IN * (len(sizes) - 1)
    inch_per_mm = min(usable / sum(width for width, _ in sizes), _TALLEST_IN / max(height for _, height in sizes))
    row_in = max(height for _, height in sizes) * inch_per_mm
    width_in = inch_per_mm * sum(width for width, _ in sizes) + _GAP_IN * (len(sizes) - 1) + _BAR_IN
    figure, left = new_figure(row_in, width_in), 0.0
    for plane, (width, height) in zip(ORIENTATIONS, sizes, strict=True):
        drop = (row_in - height * inch_per_mm) / 2
        axes = axes_at(figure, left, drop, width * inch_per_mm, height * inch_per_mm)
        paint(axes, box.points(plane, _PIXEL_MM))
        _finish(axes, plane)
        left += width * inch_per_mm + _GAP_IN
    if bar is not None:
        _draw_bar(figure, bar)
    return figure


def _draw_bar(figure: Figure, bar: Bar) -> None:
    width_in, height_in = figure.get_size_inches()
    axes = axes_at(figure, width_in - _BAR_IN + 0.12, 0.26, 0.11, height_in - 0.34)
    scale = figure.colorbar(ScalarMappable(bar.norm, mpl.colormaps[bar.colours]), cax=axes)
    if bar.ticks is not None:
        scale.set_ticks(list(bar.ticks), labels=list(bar.ticks.values()))
    scale.outline.set_visible(False)
    for level in bar.lines:
        axes.axhline(level, color="white", linewidth=0.55)
    axes.set_title(bar.unit, fontsize=7.5, pad=6, loc="left")
    axes.grid(False)


def _finish(axes: Axes, plane: Orientation) -> None:
    axes.set_axis_off()
    left, right, top, bottom = plane.letters
    places = ((0.02, 0.5, left), (0.98, 0.5, right), (0.5, 0.98, top), (0.5, 0.02, bottom))
    for x, y, letter in places:
        across = "left" if x < 0.1 else "right" if x > 0.9 else "center"
        along = "bottom" if y < 0.1 else "top" if y > 0.9 else "center"
        box = {"boxstyle": "square,pad=0.12", "facecolor": "black", "alpha": 0.45, "linewidth": 0}
        axes.text(x, y, letter, transform=axes.transAxes, color="white", fontsize=7.5, ha=across, va=along, bbox=box)


def _show(axes: Axes, rgb: Rgb, points: NDArray[np.float64]) -> None:
    axes.imshow(rgb, aspect="auto", interpolation="bilinear", origin="upper")
    axes.set_xlim(-0.5, points.shape[1] - 0.5)
    axes.set_ylim(points.shape[0] - 0.5, -0.5)


def display_maximum(image: Volume) -> float:
    """Where the colour scale of an image ends: the 99.9th percentile of what is above zero, on every third voxel."""
    some = image.data[::3, ::3, ::3]
    top = float(np.quantile(some[some > 0], 0.999)) if (some > 0).any() else 0.0
    return top if top > 0 else 1.0


def _dose_maximum(results: PatientResults) -> float:
    """Where the dose scale ends: the highest near-maximum dose of the structures, else of the map."""
    tops = [result.dose["dose_d2_gy"] for result in results.structures]
    top = max(tops) if tops else float(np.quantile(results.maps.dose.data[::3, ::3, ::3], 0.9995))
    return top if top > 0 else 1.0


def isodose_levels(top_gy: float) -> tuple[float, ...]:
    """Round doses, Gy, that divide a scale which ends at `top_gy`."""
    levels = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(0.0, top_gy)
    return tuple(float(level) for level in levels if 0 < level < 0.97 * top_gy)
