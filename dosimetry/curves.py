"""The voxel curves of a run: every voxel by itself, then those of a structure with what the structure knows."""

import logging

import numpy as np
from numpy.typing import NDArray

from dosimetry.config import KineticsSettings
from dosimetry.frames import Frame
from dosimetry.kinetics import VoxelFit, estimate_noise, fit_voxels, fit_voxels_guided
from dosimetry.metrics import Region
from nufitdose.types import Curves

log = logging.getLogger(__name__)

_FEWEST_VOXELS = 50  # from fewer, neither the noise nor the spread of rates can be told
_FEWEST_TIMES = 3  # with two points a curve leaves nothing to tell the noise from


def fit_frames(
    frames: tuple[Frame, ...], half_life_h: float, settings: KineticsSettings, regions: tuple[Region, ...]
) -> VoxelFit:
    """Fit every voxel of the frames; where `settings.guided`, those of each region borrow from one another.

    A voxel that a scan does not see lacks that time. Regions later in order win where two share a voxel. Noise is
    told from the scatter of the region's voxels about their own curves (`estimate_noise`).
    """
    curves = voxel_curves(frames)
    times_h = np.array([frame.time_h for frame in frames])
    fit = fit_voxels(curves, times_h, half_life_h, model=settings.model)
    if settings.guided and len(frames) >= _FEWEST_TIMES:
        for region in regions:
            if region.index.size >= _FEWEST_VOXELS:
                _guide(fit, curves, times_h, half_life_h, region.index)
    return fit


def voxel_curves(frames: tuple[Frame, ...]) -> Curves:
    """Activity of every voxel at every time, `[voxels, times]` Bq/mL, NaN where a scan does not see the voxel."""
    curves = np.empty((len(frames), frames[0].activity.grid.size), dtype=np.float32)
    for curve, frame in zip(curves, frames, strict=True):
        curve[:] = frame.activity.data.reshape(-1)
        if frame.inside is not None:
            curve[~frame.inside.reshape(-1)] = np.nan
    return curves.T


def _guide(
    fit: VoxelFit, curves: Curves, times_h: NDArray[np.float64], half_life_h: float, index: NDArray[np.int64]
) -> None:
    own = np.ascontiguousarray(curves[index])
    noise = estimate_noise(own, times_h, half_life_h)
    teff_h = np.where(fit.teff_h[index] > 0, fit.teff_h[index], half_life_h)
    expected = fit.amplitude[index][:, None] * np.exp2(-times_h / teff_h[:, None])
    guided = fit_voxels_guided(own, times_h, half_life_h, noise.sigma(expected))
    for array, values in zip(fit.arrays(), guided.arrays(), strict=True):
        array[index] = values
