"""What other programs take and give: images and masks in LPS, displacements back in RAS+."""

from typing import NamedTuple

import numpy as np

from nufitdose.anatomy.body import body_mask, near_body
from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.io.lps import RAS_LPS
from nufitdose.registration.field import DisplacementField
from nufitdose.study import TimePoint
from nufitdose.types import Image32
from nufitdose.volume import Volume


class Geometry(NamedTuple):
    """Where a grid lies, in the words of ITK: mm, LPS; columns of `direction` are the axes of the array."""

    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: np.ndarray


def lps_geometry(grid: Grid) -> Geometry:
    """The geometry of a grid for ITK and what is built on it."""
    flip = RAS_LPS[:3, :3]
    origin = tuple(float(c) for c in flip @ grid.affine[:3, 3])
    return Geometry(tuple(float(s) for s in grid.spacing_mm), origin, np.ascontiguousarray(flip @ grid.directions))


def field_from_lps(displacement_lps_mm: np.ndarray, grid: Grid) -> DisplacementField:
    """A vector image of ITK `[k, j, i, 3]` on `grid`."""
    lps = displacement_lps_mm.transpose(3, 2, 1, 0).astype(np.float32)
    signs = np.diag(RAS_LPS)[:3].astype(np.float32)
    return DisplacementField(lps * signs[:, None, None, None], grid)


def compared_region(fixed: TimePoint, grid: Grid) -> Image32:
    """1 within 12 mm of the fixed body, where this program's engines compare images too, on `grid`; 0 beyond."""
    return (near_body(body_mask(fixed)).resampled_to(grid).data > 0.5).astype(np.float32)


def ct_of(scan: TimePoint) -> Volume:
    """The CT that an engine needs and was checked to be there."""
    if scan.ct is None:
        raise InputError(f"there is no CT on {scan.id}")
    return scan.ct


def root_activity(scan: TimePoint, onto: Grid) -> Image32:
    """The square root of the activity, in which no organ outweighs all others, on the grid of the scan's CT."""
    return np.sqrt(np.maximum(scan.activity.resampled_to(onto).data, 0.0))
