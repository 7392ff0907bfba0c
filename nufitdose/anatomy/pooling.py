"""Coarse images: means over whole voxels."""

import numpy as np
import torch
from torch.nn.functional import avg_pool3d

from nufitdose.grid import Grid
from nufitdose.volume import Quantity, Volume


def pool(volume: Volume, spacing_mm: float) -> Volume:
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
