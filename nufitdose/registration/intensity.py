"""The images as the registration sees them: numbers from 0 to 1, coarse grids."""

import numpy as np
import torch
from torch.nn.functional import avg_pool3d

from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.types import Image32, Mask
from nufitdose.volume import Quantity, Volume

CT_WINDOW_HU = (-300.0, 300.0)
ACTIVITY_PERCENTILE = 99.9


def scaled_ct(ct: Volume) -> Image32:
    """CT clipped to -300 ... 300 HU and brought to 0 ... 1; ours."""
    low, high = CT_WINDOW_HU
    return np.clip((ct.data - np.float32(low)) / np.float32(high - low), 0.0, 1.0)


def activity_scale(activity: Volume, body: Mask | None = None) -> float:
    """The 99.9th percentile of an activity volume in Bq/mL, over `body` or everywhere: what counts as 1.

    Raises `InputError` where that is not positive: no activity, or too little of it to be seen.
    """
    values = activity.data if body is None else activity.data[body]
    top = float(np.percentile(values, ACTIVITY_PERCENTILE)) if values.size else 0.0
    top = top or float(values.max(initial=0.0))
    if top <= 0:
        raise InputError(
            "an activity volume holds no activity, so there is nothing to register",
            remedy="Check the image and its rescale slope or calibration factor",
        )
    return top


def scaled_activity(activity: Volume, scale_bq_ml: float) -> Image32:
    """`sqrt(clip(A / scale, 0, 1))`: the square root stops the hottest organ from outweighing all others; ours."""
    return np.sqrt(np.clip(activity.data / np.float32(scale_bq_ml), 0.0, 1.0))


def pooled(volume: Volume, spacing_mm: float) -> Volume:
    """Means over whole voxels, as many along each axis as bring the spacing nearest to `spacing_mm`.

    The centre of the first voxel moves by `A (s - 1) / 2` with the blocks s of the three axes; what does not fill
    a block at the far end is left out. Labels are not averaged: raises `ValueError`.
    """
    if volume.quantity is Quantity.LABELS:
        raise ValueError("labels have no mean")
    grid = volume.grid
    blocks = [min(n, max(1, round(spacing_mm / s))) for n, s in zip(grid.shape, grid.spacing_mm, strict=True)]
    if max(blocks) == 1:
        return volume
    image = torch.from_numpy(np.ascontiguousarray(volume.data))[None, None]
    data = avg_pool3d(image, blocks)[0, 0].numpy()
    affine = np.array(grid.affine)
    affine[:3, :3] *= blocks
    affine[:3, 3] = grid.world((np.array(blocks, dtype=np.float64) - 1) / 2)
    return Volume(data, Grid(data.shape, affine), volume.quantity)
