"""What a scan laid a few millimetres off, or stretched, does to a structure's activity as it is read from the image."""

import itertools

import numpy as np
from scipy import ndimage

from dosimetry.recovery import Reading
from nufitdose.anatomy.regions import Region
from nufitdose.volume import Volume

_MARGIN = 2  # voxels around what a shift reaches, for the interpolation


def relative_u_of_shift(region: Region, activity: Volume, u_mm: float, reading: Reading | None = None) -> float:
    """u(A)/A where each component of the displacement errs by `u_mm`, the structure standing and the image moved.

    A is the sum over the region, or `reading`, of a correction that takes off what neighbours spill in. u² is the sum
    over the three axes of the mean square of A(+u) - A and A(-u) - A; both count, as activity falls to either side of a
    hot structure. 0 without an error or activity.
    """
    read = _usable(reading) or read_region(region, activity)
    if not u_mm > 0 or not read.activity_bq > 0:
        return 0.0
    box, room = _widened(read, activity, u_mm)
    weights = np.pad(read.weights, room)
    image = np.nan_to_num(activity.data[box].astype(np.float64))
    spline = ndimage.spline_filter(image, order=3, mode="nearest")
    axes = np.linalg.inv(activity.grid.affine[:3, :3])  # columns: voxels per mm of world axis
    stands, variance = float((image * weights).sum()), 0.0
    for axis, sign in itertools.product(range(3), (1.0, -1.0)):
        moved = ndimage.shift(spline, sign * u_mm * axes[:, axis], order=3, mode="nearest", prefilter=False)
        variance += 0.5 * (float((moved * weights).sum()) - stands) ** 2
    return float(np.sqrt(variance)) / read.activity_bq


def relative_change_of_stretch(
    region: Region, activity: Volume, volume_change: float, reading: Reading | None = None
) -> float:
    """dA/A where the image is stretched by dV/V about the structure, which stands: -(1/3) dV/V Σ w (x - c)·∇I / A.

    For an even structure by itself that is (1 - edge) dV/V lost, edge what its surface shows over its mean.
    """
    read = _usable(reading) or read_region(region, activity)
    if not read.activity_bq > 0:
        return 0.0
    box, room = _widened(read, activity, 0.0)
    image = np.nan_to_num(activity.data[box].astype(np.float64))
    where = np.array(np.unravel_index(region.index, activity.grid.shape))
    centre = (where * region.part_ml).sum(axis=1) / region.part_ml.sum()
    outward = np.zeros_like(image)
    for axis, side in enumerate(box):
        away = np.arange(side.start, side.stop) - centre[axis]
        outward += np.gradient(image, axis=axis) * np.expand_dims(away, [n for n in range(3) if n != axis])
    return -volume_change / 3.0 * float((np.pad(read.weights, room) * outward).sum()) / read.activity_bq


def u_of_axis_mm(centroid_mm: float) -> float:
    """Standard uncertainty of each component where centroids lie `centroid_mm` apart, d² = 3 u²."""
    return centroid_mm / np.sqrt(3.0)


def read_region(region: Region, activity: Volume) -> Reading:
    """The plain sum over a region: its volume in each voxel."""
    where = np.array(np.unravel_index(region.index, activity.grid.shape))
    low, high = where.min(axis=1), where.max(axis=1) + 1
    weights = np.zeros(high - low)
    weights[tuple(where - low[:, None])] = region.part_ml
    box = slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1])), slice(int(low[2]), int(high[2]))
    return Reading(region.integral(activity), box, weights)


def _usable(reading: Reading | None) -> Reading | None:
    """None where nothing is left of a structure once its neighbours' share is taken off."""
    return reading if reading is not None and reading.activity_bq > 0 else None


def _widened(read: Reading, activity: Volume, u_mm: float) -> tuple[tuple[slice, ...], list[tuple[int, int]]]:
    """The box of a reading with room for a shift, and by how much it is wider at either end of each axis."""
    grid = activity.grid
    reach = _MARGIN + np.ceil(u_mm / np.array(grid.spacing_mm)).astype(int)
    room = [
        (min(side.start, int(n)), min(size - side.stop, int(n)))
        for side, n, size in zip(read.box, reach, grid.shape, strict=True)
    ]
    box = tuple(slice(side.start - a, side.stop + b) for side, (a, b) in zip(read.box, room, strict=True))
    return box, room
