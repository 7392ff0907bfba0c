"""What a body's outline, lungs and bones do to photons: a short transport beside the kernel of water.

On a grid of about 9 mm some hundred thousand photons are followed through the body (`transport.voxel_photons`). Their
dose, by Compton's and by the photoelectric effect apart, over that of the photon kernel in water changes slowly from
place to place: both are smoothed alike, and the ratios are spread onto the volume's own grid. So the kernel keeps the
detail, free of noise, and transport says what the tissue lets through and scatters. Every call draws the same numbers.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numba
import numpy as np
from scipy.ndimage import gaussian_filter

from dosimetry.dose.convolution import ONE_THREAD, EvenSpectrum, Resources, convolved, even_spectrum, pooled, spread
from dosimetry.dose.kernels.radial import EDGES_G_CM2, radial_kernel
from dosimetry.dose.kernels.voxel import octant_kernel
from dosimetry.dose.medium import PhotonMedium, medium_of, photon_lines
from dosimetry.dose.transport.tissue_parts import scoring_water, tissue_parts
from dosimetry.dose.transport.tissues import TissueTables
from dosimetry.dose.transport.voxel_photons import photon_batch
from nufitdose.emissions import chain_spectra
from nufitdose.nuclides import JOULE_PER_MEV
from nufitdose.types import F64, Image32, Labels

_COARSE_MM = 9.0
_SMOOTHED_MM = 14.0  # standard deviation
_HISTORIES = 40_000  # in a batch
_BATCHES = (12, 4)  # that score Compton's and the photoelectric dose
_SEED = 20
_LARGEST_SHARE = 20.0
_BODY_G_ML = 0.05  # voxels of more are body where the grid cuts it
_MGY_PER_MEV_G = JOULE_PER_MEV * 1e6

Sides = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Surroundings:
    """Density of every voxel, air outside the body included, and its row of `SCHNEIDER_PERCENT`."""

    density_g_ml: Image32
    tissue: Labels | None = None


@dataclass(frozen=True, eq=False)
class BodyEffect:
    """Dose to water in the body by Compton's and by the photoelectric effect, over that of the kernel in water."""

    compton: Image32
    photo: Image32

    def to_tissue(self, tissue: Labels | None) -> Image32:
        """Photon dose to the tissue of each voxel over that of the kernel."""
        if tissue is None:
            return self.compton + self.photo
        alpha, beta = (part.astype(np.float32)[tissue] for part in tissue_parts())
        return alpha * self.compton + beta * self.photo


def body_effect(
    bq_h: Image32,
    nuclide: str,
    sides_mm: Sides,
    density_g_ml: float,
    surroundings: Surroundings,
    resources: Resources = ONE_THREAD,
) -> BodyEffect:
    """What the body does to its photon dose; `density_g_ml` is that of the kernel's water."""
    by = max(1, round(_COARSE_MM / min(sides_mm)))
    coarse_mm: Sides = tuple(side * by for side in sides_mm)  # type: ignore[assignment]
    activity = pooled(bq_h, by)
    medium, tables = _coarse_medium(surroundings, by, coarse_mm)
    doses = _transported(activity, nuclide, medium, tables)
    spectrum = _spectrum(nuclide, coarse_mm, density_g_ml, activity.shape)
    width = [_SMOOTHED_MM / side for side in coarse_mm]
    in_water = convolved(activity, spectrum, resources)
    in_water = np.maximum(in_water, 1e-9 * in_water.max())
    # Ratios are smoothed, not doses: those of a hot spot would speak for what is beside it.
    ratios = (_smoothed((dose / in_water).astype(np.float32), width) for dose in doses)
    compton, photo = (spread(np.clip(ratio, 0.0, _LARGEST_SHARE), by, bq_h.shape) for ratio in ratios)
    return BodyEffect(compton, photo)


def _smoothed(values: Image32, width: list[float]) -> Image32:
    """Gaussian smoothing, and once more of what it took away: what bends over its width is kept."""
    once = gaussian_filter(values, width)
    return np.asarray(once + gaussian_filter(values - once, width))


def _coarse_medium(surroundings: Surroundings, by: int, sides_mm: Sides) -> tuple[PhotonMedium, TissueTables]:
    """Mean density of the coarse voxels, and for tissue the row whose β/α is nearest to that of all within."""
    density = surroundings.density_g_ml
    counted = pooled(np.ones(density.shape, np.float32), by)
    coarse, tissue = pooled(density, by), None
    if surroundings.tissue is not None:
        alpha, beta = (part.astype(np.float32) for part in tissue_parts())
        absorbing, electrons = (pooled(density * part[surroundings.tissue], by) for part in (beta, alpha))
        by_ratio = np.argsort(beta / alpha)
        between = ((beta / alpha)[by_ratio][1:] + (beta / alpha)[by_ratio][:-1]) / 2
        tissue = by_ratio[np.searchsorted(between, absorbing / electrons)].astype(np.uint8)
    coarse /= counted
    medium, tables = medium_of(coarse, tissue, sides_mm, coarse > _BODY_G_ML)
    return _with_air_around(medium, sides_mm), tables


def _with_air_around(medium: PhotonMedium, sides_mm: Sides) -> PhotonMedium:
    """Transport goes on in the air beside the body as far as smoothing takes ratios from it."""
    density, tissue, majorant, sides, low, high = medium
    reach = 4.0 * _SMOOTHED_MM / np.array(sides_mm)
    low, high = np.minimum(low, np.maximum(low - reach, 0.0)), np.maximum(high, np.minimum(high + reach, density.shape))
    return density, tissue, majorant, sides, low, high


def _transported(activity: Image32, nuclide: str, medium: PhotonMedium, tables: TissueTables) -> tuple[F64, F64]:
    """Dose to water by Compton's and by the photoelectric effect, mGy per MBq·s of a unit of activity."""
    lines = photon_lines(chain_spectra(nuclide))
    source = _drawn_from(activity)

    def batch(number: int, scored: TissueTables) -> F64:
        tally = np.zeros(activity.shape)
        photon_batch(number * (_HISTORIES + 1), _HISTORIES, _SEED, source, lines, medium, scored, tally)
        return tally

    with ThreadPoolExecutor(numba.get_num_threads()) as pool:
        first = 0
        doses = []
        for count, scored in zip(_BATCHES, scoring_water(tables), strict=True):
            tallies = pool.map(lambda number, scored=scored: batch(number, scored), range(first, first + count))
            doses.append(sum(tallies, np.zeros(activity.shape)) * (_MGY_PER_MEV_G * 1e6 / count))
            first += count
    return doses[0], doses[1]


def _drawn_from(activity: Image32) -> tuple[F64, np.ndarray, F64]:
    """Where photons are started, as `medium.source_of`: half by activity, half by its root.

    So places of little activity, whose dose comes from their own, are not left to a few photons.
    """
    flat = activity.ravel().astype(float)
    voxels = np.flatnonzero(flat)
    decays = flat[voxels]
    chance = decays / decays.sum() + np.sqrt(decays) / np.sqrt(decays).sum()
    return np.cumsum(chance), voxels, decays / chance


@lru_cache(maxsize=2)
def _spectrum(nuclide: str, sides_mm: Sides, density: float, shape: tuple[int, ...]) -> EvenSpectrum:
    """Of the photon dose in water."""
    size_mm = max(n * side for n, side in zip(shape, sides_mm, strict=True))
    return even_spectrum(
        octant_kernel(EDGES_G_CM2, radial_kernel(nuclide).photon_mev, sides_mm, density, size_mm), shape
    )
