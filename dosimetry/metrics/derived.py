"""Structures made of others: unions, differences, margins, shells, and balls around a point."""

from collections.abc import Sequence

import numpy as np

from dosimetry.config import DerivedSettings
from dosimetry.metrics.shapes import Ball, BoolPoints, Voxels, fill
from nufitdose.anatomy.regions import Region, region_on
from nufitdose.grid import Grid
from nufitdose.study import Structures
from nufitdose.types import Mask, Points

ROLE = "derived"


def derive_region(asked: DerivedSettings, structures: Structures | None, grid: Grid) -> Region:
    """The region of `grid` that `asked` describes; empty where nothing of it is left.

    What it starts from is the union of `of`, or the ball; that is grown by `margin_mm`, or its shell taken; then what
    lies in `without`, grown by `without_margin_mm`, is taken away. Without margins the voxels of structures drawn on
    one grid are brought over as those of a drawn structure are.
    """
    drawn = _as_drawn(asked, structures)
    if drawn is not None:
        return region_on(*drawn, grid)
    inner_mm, outer_mm = asked.shell_mm or (None, asked.margin_mm)
    base = _base(asked, structures, max(abs(outer_mm), abs(inner_mm or 0.0)))
    taken = [_united([name], structures, asked.without_margin_mm) for name in asked.without]

    def contains(points_mm: Points) -> BoolPoints:
        found = base.contains(points_mm, outer_mm)
        if inner_mm is not None:
            found &= ~base.contains(points_mm, inner_mm)
        for other in taken:
            found &= ~other.contains(points_mm, asked.without_margin_mm)
        return found

    finest_mm = min(shape.finest_mm for shape in (base, *taken))
    return fill(contains, base.corners_mm(max(outer_mm, 0.0)), finest_mm, grid)


def _as_drawn(asked: DerivedSettings, structures: Structures | None) -> tuple[Mask, Grid] | None:
    """Union and difference of whole voxels; None where a margin, a shell, a ball or several grids are in it."""
    if structures is None or not asked.of or asked.shell_mm or asked.margin_mm or asked.without_margin_mm:
        return None
    masks, layers = zip(*(structures.mask(name) for name in (*asked.of, *asked.without)), strict=True)
    grid = layers[0].grid
    if not all(layer.grid.matches(grid) for layer in layers):
        return None
    united, taken = masks[: len(asked.of)], masks[len(asked.of) :]
    return np.any(united, axis=0) & ~np.any([np.zeros(grid.shape, dtype=bool), *taken], axis=0), grid


def _base(asked: DerivedSettings, structures: Structures | None, reach_mm: float) -> Ball | Voxels:
    if asked.at_mm is not None and asked.radius_mm is not None:
        return Ball(asked.at_mm, asked.radius_mm)
    return _united(asked.of, structures, reach_mm)


def _united(names: Sequence[str], structures: Structures | None, reach_mm: float) -> Voxels:
    """The voxels of the named structures, on the finest of their grids."""
    if structures is None:
        raise ValueError("a derived structure needs the structures it is made of")
    drawn = [structures.mask(name) for name in names]
    grid = min((layer.grid for _, layer in drawn), key=lambda one: one.voxel_volume_ml)
    whole = np.zeros(grid.shape, dtype=bool)
    for mask, layer in drawn:
        whole |= mask if layer.grid.matches(grid) else _looked_up(mask, layer.grid, grid)
    return Voxels(whole, grid, abs(reach_mm))


def _looked_up(mask: Mask, mask_grid: Grid, grid: Grid) -> Mask:
    """The mask at the centres of the voxels of another grid."""
    index = np.stack(np.meshgrid(*[np.arange(float(n)) for n in grid.shape], indexing="ij"), -1).reshape(-1, 3)
    return Voxels(mask, mask_grid).contains(grid.world(index)).reshape(grid.shape)
