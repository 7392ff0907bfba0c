"""What a scan laid a few millimetres off does to a structure's activity."""

import itertools

import numpy as np
from scipy import ndimage

from nufitdose.anatomy.regions import Region
from nufitdose.types import F64
from nufitdose.volume import Volume

_MARGIN = 2  # voxels around what a shift reaches, for the interpolation


def relative_u_of_shift(region: Region, activity: Volume, u_mm: float) -> float:
    """u(A)/A where each component of the displacement errs by `u_mm`, the structure standing and the image moved.

    u² is the sum over the three axes of the mean square of A(+u) - A and A(-u) - A; both count, as activity falls to
    either side of a hot structure. 0 without an error or activity.
    """
    own_mbq = region.integral(activity)
    if not u_mm > 0 or not own_mbq > 0:
        return 0.0
    box, weights = _box_around(region, activity, u_mm)
    image = np.nan_to_num(activity.data[box].astype(np.float64))
    spline = ndimage.spline_filter(image, order=3, mode="nearest")
    axes = np.linalg.inv(activity.grid.affine[:3, :3])  # columns: voxels per mm of world axis
    variance = 0.0
    for axis, sign in itertools.product(range(3), (1.0, -1.0)):
        moved = ndimage.shift(spline, sign * u_mm * axes[:, axis], order=3, mode="nearest", prefilter=False)
        variance += 0.5 * (float((moved * weights).sum()) - own_mbq) ** 2
    return float(np.sqrt(variance)) / own_mbq


def u_of_axis_mm(centroid_mm: float) -> float:
    """Standard uncertainty of each component where centroids lie `centroid_mm` apart, d² = 3 u²."""
    return centroid_mm / np.sqrt(3.0)


def _box_around(region: Region, activity: Volume, u_mm: float) -> tuple[tuple[slice, ...], F64]:
    """A box with room for the shift, and the structure's volume in each of its voxels, mL."""
    grid = activity.grid
    where = np.array(np.unravel_index(region.index, grid.shape))
    room = _MARGIN + np.ceil(u_mm / np.array(grid.spacing_mm)).astype(int)
    low = np.maximum(where.min(axis=1) - room, 0)
    high = np.minimum(where.max(axis=1) + room + 1, grid.shape)
    weights = np.zeros(high - low)
    weights[tuple(where - low[:, None])] = region.part_ml
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True)), weights
