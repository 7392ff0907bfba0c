"""When each scan saw a structure, the whole body or its remainder, and what activity each held then."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from dosimetry.metrics import Region
from nufitdose.registration.series import Frame
from nufitdose.types import Image32

_COVERED = 0.99  # share of a structure a field of view must hold for its activity to count
_SLIVER = 1e-5  # of a voxel: what rounding of parts leaves, no volume


def observe_region(region: Region, frame: Frame, half_life_h: float) -> tuple[float, float]:
    """When a scan saw the structure, h, and its activity then, MBq; NaN where the field of view cuts it."""
    if frame.inside is not None:
        held = float(frame.inside.reshape(-1)[region.index] @ region.part_ml) / region.volume_ml
        if held < _COVERED:
            return frame.time_h, float("nan")
    return _mean_time_and_sum(region.values(frame.activity) * region.part_ml, frame, region.index, half_life_h)


def observe_voxels(part_ml: Image32, frame: Frame, half_life_h: float) -> tuple[float, float]:
    """The same for `part_ml` [i, j, k] of each voxel, which the scan sees."""
    activity_bq = frame.activity.data.reshape(-1) * part_ml.reshape(-1)
    return _mean_time_and_sum(activity_bq, frame, slice(None), half_life_h)


def common_ml(frames: Sequence[Frame]) -> Image32:
    """The volume of each voxel, mL, 0 where a scan does not see it."""
    grid = frames[0].activity.grid
    whole = np.full(grid.shape, grid.voxel_volume_ml, dtype=np.float32)
    for frame in frames:
        if frame.inside is not None:
            whole[~frame.inside] = 0.0
    return whole


def leftover_ml(whole_ml: Image32, regions: Iterable[Region]) -> Image32:
    """`whole_ml` less what the regions claim of each voxel, together at most all of it."""
    left = whole_ml.reshape(-1).astype(np.float32)
    for region in regions:
        left[region.index] -= region.part_ml.astype(np.float32)
    left[left < _SLIVER * whole_ml.max(initial=0.0)] = 0.0
    return left.reshape(whole_ml.shape)


def _mean_time_and_sum(
    activity_bq: NDArray[np.floating], frame: Frame, index: NDArray[np.int64] | slice, half_life_h: float
) -> tuple[float, float]:
    """Σ A at the mean time of its voxels, weighted by their activity, so that it is exact to first order."""
    if frame.offset_h is None or not activity_bq.size:
        return frame.time_h, 1e-6 * float(activity_bq.sum(dtype=np.float64))
    offset_h = frame.offset_h.reshape(-1)[index]
    own = activity_bq * 2.0 ** (-offset_h / half_life_h)
    total = float(own.sum(dtype=np.float64))
    mean_h = float(np.dot(own, offset_h)) / total if total > 0.0 else 0.0
    return frame.time_h + float(np.clip(mean_h, offset_h.min(), offset_h.max())), 1e-6 * total
