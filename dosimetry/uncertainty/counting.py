"""Counting noise: how noisy voxels are, how far their noise reaches, and what is left of it in a structure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from dosimetry.kinetics import NoiseModel, estimate_noise
from nufitdose.anatomy.regions import Region
from nufitdose.errors import InputError
from nufitdose.psf import FWHM_PER_SIGMA
from nufitdose.registration.series import Frame
from nufitdose.types import F64
from nufitdose.volume import Volume

_ASSUMED_PERCENT = 30.0  # of a voxel's activity, where the scans are too few to tell
_ASSUMED_FWHM_MM = 8.0  # of the filter that the noise went through, where it cannot be told
_LEAST, _MOST = 0.02, 0.98  # correlations of neighbours that are believed
_REACH = 4.0  # standard deviations of the filter beyond which noise is not correlated


@dataclass(frozen=True)
class ImageNoise:
    """Noise of voxels and the standard deviation, mm, of the Gaussian that it was filtered with, along i, j, k.

    Noise that went through a Gaussian of s is correlated as e^(-h²/4s²) over a distance h.
    """

    voxel: NoiseModel
    filter_mm: tuple[float, float, float]
    assumed: bool

    def u_bq(self, region: Region, activity: Volume) -> float:
        """Standard deviation of the activity of a region, Bq: √(Σ_ij σ_i v_i ρ_ij σ_j v_j)."""
        where = np.array(np.unravel_index(region.index, activity.grid.shape))
        low = where.min(axis=1)
        own = np.zeros(where.max(axis=1) - low + 1)
        own[tuple(where - low[:, None])] = self.voxel.sigma(region.values(activity)) * region.part_ml
        spread = own
        for axis, (filter_mm, step) in enumerate(zip(self.filter_mm, activity.grid.spacing_mm, strict=True)):
            reach = max(1, int(np.ceil(_REACH * filter_mm / step)))
            steps = step * np.arange(-reach, reach + 1)
            spread = ndimage.correlate1d(spread, np.exp(-((steps / (2.0 * filter_mm)) ** 2)), axis, mode="constant")
        return float(np.sqrt(max((own * spread).sum(), 0.0)))


def measure_noise(frames: Sequence[Frame], regions: Iterable[Region], half_life_h: float) -> ImageNoise:
    """The noise of the voxels of all structures from their scatter about their curves; assumed where scans are too few.

    Correlation is that of what neighbours of one structure have beyond the shape that all scans share.
    """
    regions = [region for region in regions if region.index.size]
    try:
        if not regions:
            raise InputError("no structures")
        curves = np.concatenate([_curves(frames, region) for region in regions])
        voxel = estimate_noise(curves, [frame.time_h for frame in frames], half_life_h)
    except InputError:
        largest = max((region.mean(frames[0].activity) for region in regions), default=0.0)
        filter_mm = _ASSUMED_FWHM_MM / FWHM_PER_SIGMA
        gain = (_ASSUMED_PERCENT / 100.0) ** 2 * max(largest, 0.0)
        return ImageNoise(NoiseModel(0.0, gain), (filter_mm, filter_mm, filter_mm), assumed=True)
    return ImageNoise(voxel, _filter_mm(frames, regions), assumed=False)


def _curves(frames: Sequence[Frame], region: Region) -> F64:
    """[voxels, times] Bq/mL, NaN where a scan does not see the voxel."""
    curves = np.stack([region.values(frame.activity) for frame in frames], axis=1)
    for number, frame in enumerate(frames):
        if frame.inside is not None:
            curves[~frame.inside.reshape(-1)[region.index], number] = np.nan
    return curves


def _filter_mm(frames: Sequence[Frame], regions: Sequence[Region]) -> tuple[float, float, float]:
    """From the correlation of neighbours along each axis, ρ = e^(-h²/4s²)."""
    grid = frames[0].activity.grid
    products, squares = np.zeros(3), np.zeros(3)
    for region in regions:
        curves = _curves(frames, region)
        means = np.nanmean(curves, axis=0)
        if not (means > 0).all():
            continue
        shapes = curves / means
        excess = np.nan_to_num(shapes - np.nanmean(shapes, axis=1, keepdims=True))
        where = np.array(np.unravel_index(region.index, grid.shape))
        low = where.min(axis=1)
        box = np.zeros((excess.shape[1], *(where.max(axis=1) - low + 1)))
        own = np.zeros(box.shape[1:], dtype=bool)
        place = tuple(where - low[:, None])
        own[place] = True
        box[(slice(None), *place)] = excess.T
        for axis in range(3):
            first = box.take(range(box.shape[axis + 1] - 1), axis + 1)
            second = box.take(range(1, box.shape[axis + 1]), axis + 1)
            both = own.take(range(own.shape[axis] - 1), axis) & own.take(range(1, own.shape[axis]), axis)
            products[axis] += float((first * second * both).sum())
            squares[axis] += 0.5 * float(((first**2 + second**2) * both).sum())
    rho = np.clip(products / np.where(squares > 0, squares, np.inf), _LEAST, _MOST)
    i, j, k = (float(step / np.sqrt(-4.0 * np.log(r))) for step, r in zip(grid.spacing_mm, rho, strict=True))
    return i, j, k
