"""Counting noise: how noisy voxels are, how far their noise reaches, and what is left of it in a structure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from dosimetry.kinetics import NoiseModel
from nufitdose.anatomy.regions import Region
from nufitdose.psf import FWHM_PER_SIGMA
from nufitdose.registration.series import Frame
from nufitdose.types import F64
from nufitdose.volume import Volume

_ASSUMED_PERCENT = 30.0  # of a voxel's activity, where the scans are too few to tell
_ASSUMED_FWHM_MM = 8.0  # of the filter that the noise went through, where it cannot be told
_LEAST = 1e-3  # correlation of neighbours that is told from none
_WHOLE = 0.99  # share of a voxel that makes it wholly a structure's
_FEWEST = 50  # pairs of neighbours from which noise is told
USUAL_FWHM_MM = 12.0  # of a scanner that is not described
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


def measure_noise(frames: Sequence[Frame], regions: Iterable[Region], widest_mm: float = USUAL_FWHM_MM) -> ImageNoise:
    """The noise of voxels, σ² = gain · A, from how neighbours within structures differ; assumed where too few do.

    From every voxel's curve its structure's, A_i of its own size, is taken; of the rest, over √A_i and less what the
    size takes, γ(h) = ½⟨(e(x+h) - e(x))²⟩ = gain (1 - e^(-h²/4s²)) at one and two voxels gives gain and filter s.
    Differences of neighbours leave out what varies slowly, as clearance does within an organ. No noise is smoother than
    the image: s is that of `widest_mm` at most.
    """
    grid = frames[0].activity.grid
    found = [_variogram(frames, region) for region in regions if region.index.size]
    sums = np.sum([total for total, _ in found], axis=0) if found else np.zeros((2, 3))
    pairs = np.sum([count for _, count in found], axis=0) if found else np.zeros((2, 3))
    if pairs.min() < _FEWEST:
        return _assumed(frames, regions)
    if not sums.all():
        return ImageNoise(NoiseModel(0.0, 0.0), _isotropic(_ASSUMED_FWHM_MM), assumed=False)
    near, far = sums / pairs
    steps = np.array(grid.spacing_mm)
    most = np.exp(-((steps * FWHM_PER_SIGMA / (2.0 * widest_mm)) ** 2))
    rho = np.array([_neighbour_correlation(ratio, high) for ratio, high in zip(far / near, most, strict=True)])
    i, j, k = (float(s) for s in steps / np.sqrt(-4.0 * np.log(rho)))
    return ImageNoise(NoiseModel(0.0, float(np.mean(near / (1.0 - rho)))), (i, j, k), assumed=False)


def _assumed(frames: Sequence[Frame], regions: Iterable[Region]) -> ImageNoise:
    largest = max((region.mean(frames[0].activity) for region in regions), default=0.0)
    gain = (_ASSUMED_PERCENT / 100.0) ** 2 * max(largest, 0.0)
    return ImageNoise(NoiseModel(0.0, gain), _isotropic(_ASSUMED_FWHM_MM), assumed=True)


def _isotropic(fwhm_mm: float) -> tuple[float, float, float]:
    return (fwhm_mm / FWHM_PER_SIGMA,) * 3


def _neighbour_correlation(ratio: float, most: float) -> float:
    """ρ of neighbours from γ(2)/γ(1) = (1 - ρ⁴)/(1 - ρ) = 1 + ρ + ρ² + ρ³."""
    roots = np.roots([1.0, 1.0, 1.0, 1.0 - ratio])
    real = float(roots[np.abs(roots.imag) < 1e-9].real.max())
    return float(np.clip(real, _LEAST, most))


def _variogram(frames: Sequence[Frame], region: Region) -> tuple[F64, F64]:
    """Σ ½(e(x+h) - e(x))² and the number of pairs, [one and two voxels, axes], within the whole voxels of a region."""
    grid = frames[0].activity.grid
    whole = region.part_ml > _WHOLE * grid.voxel_volume_ml
    index, empty = region.index[whole], np.zeros((2, 3))
    seen = [frame.inside is None or bool(frame.inside.reshape(-1)[region.index].all()) for frame in frames]
    curves = np.array([f.activity.data.reshape(-1)[index] for f, s in zip(frames, seen, strict=True) if s], np.float64)
    if len(curves) < 2 or index.size < 2 or not (curves.mean(axis=1) > 0).all():
        return empty, empty
    shape = curves.mean(axis=1)
    size = curves.sum(axis=0) / shape.sum()  # least squares weighted 1/A_i
    expected = shape[:, None] * np.maximum(size, 1e-3)
    leverage = shape / shape.sum()
    excess = (curves - expected) / np.sqrt(expected * (1.0 - leverage)[:, None])
    where = np.array(np.unravel_index(index, grid.shape))
    low = where.min(axis=1)
    box = np.full((len(curves), *(where.max(axis=1) - low + 1)), np.nan)
    box[(slice(None), *(where - low[:, None]))] = excess
    sums, pairs = np.zeros((2, 3)), np.zeros((2, 3))
    for lag in (1, 2):
        for axis in range(3):
            there = np.moveaxis(box, axis + 1, 0)
            squares = 0.5 * (there[lag:] - there[:-lag]) ** 2
            sums[lag - 1, axis], pairs[lag - 1, axis] = np.nansum(squares), np.isfinite(squares).sum()
    return sums, pairs
