"""The voxel curves of a run: every voxel by itself, or with what its structure knows."""

import numpy as np

from dosimetry.config import KineticsSettings
from dosimetry.frames import Frame
from dosimetry.kinetics import VoxelFit, fit_by_structure, fit_voxels
from dosimetry.metrics import Region
from nufitdose.types import Curves


def fit_frames(
    frames: tuple[Frame, ...], half_life_h: float, settings: KineticsSettings, regions: tuple[Region, ...]
) -> VoxelFit:
    """Fit every voxel of the frames; where `settings.guided`, those of each region borrow from one another.

    A voxel that a scan does not see lacks that time. Regions later in order win where two share a voxel.
    """
    curves = voxel_curves(frames)
    times_h = np.array([frame.time_h for frame in frames])
    if not settings.guided:
        return fit_voxels(curves, times_h, half_life_h, model=settings.model)
    structure = np.zeros(curves.shape[0], dtype=np.int32)
    for number, region in enumerate(regions, start=1):
        structure[region.index] = number
    return fit_by_structure(curves, times_h, half_life_h, structure).fit


def voxel_curves(frames: tuple[Frame, ...]) -> Curves:
    """Activity of every voxel at every time, `[voxels, times]` Bq/mL, NaN where a scan does not see the voxel."""
    curves = np.empty((len(frames), frames[0].activity.grid.size), dtype=np.float32)
    for curve, frame in zip(curves, frames, strict=True):
        curve[:] = frame.activity.data.reshape(-1)
        if frame.inside is not None:
            curve[~frame.inside.reshape(-1)] = np.nan
    return curves.T
