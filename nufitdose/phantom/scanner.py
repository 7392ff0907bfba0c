"""What a scanner makes of the true activity and anatomy: resolution, noise, residual background, CT noise.

SPECT resolution follows the source (the collimator-detector response is best near the surface): the activity
is split by depth between two Gaussians, so that counts are kept exactly. Noise is Poisson in events, then
filtered: `image = G_post ⊛ Poisson(n · G_pre ⊛ c) / n` with `FWHM² = FWHM_pre² + FWHM_post²`, so that it
carries the correlation of the post-filter.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from nufitdose.grid import Grid
from nufitdose.psf import FWHM_PER_SIGMA, blur
from nufitdose.types import Image32

#: Depth below the surface at which resolution is that of the centre, and stays so.
CENTRE_DEPTH_MM = 100.0


@dataclass(frozen=True)
class SimulatedScanner:
    """An emission scanner with its acquisition and reconstruction.

    `events` are noise-equivalent events per MBq in a voxel: sensitivity x time x the share of the counts a voxel's
    estimate profits from (projections overlap; chosen: 0.1 for SPECT, and 0.02 for PET, which gives livers nearly the
    noise of a real FDG scan). `background` is the share of events left, after scatter correction, in a
    broad halo (septal penetration).
    """

    name: str
    centre_fwhm_mm: float
    edge_fwhm_mm: float
    post_filter_fwhm_mm: float
    events_per_mbq: float
    attenuation_per_cm: float  # of water at the emission energy, broad beam
    background: float = 0.0
    background_fwhm_mm: float = 90.0

    def with_counts(self, level: float) -> "SimulatedScanner":
        """The same scanner with `level` times the events."""
        return replace(self, events_per_mbq=self.events_per_mbq * level)

    def with_resolution(self, factor: float) -> "SimulatedScanner":
        """The same scanner with all widths of its resolution, the post-filter's too, `factor` times as large."""
        names = ("centre_fwhm_mm", "edge_fwhm_mm", "post_filter_fwhm_mm")
        return replace(self, **{name: factor * getattr(self, name) for name in names})

    @property
    def reach_mm(self) -> float:
        """How far outside the field of view activity still matters: 2.5 standard deviations."""
        return 2.5 * self.centre_fwhm_mm / FWHM_PER_SIGMA


#: Chosen here, of the order of clinical systems: 25 min at 10 cps/MBq (Lu-177, 208 keV, medium-energy) or 35 cps/MBq
#: (I-131, high-energy); PET 3 min a bed at 6 cps/kBq, Y-90 20 min with 3.2e-5 positrons a decay. Resolutions are those
#: of reconstructed images.
SCANNERS = {
    "Lu-177": SimulatedScanner("SPECT, medium-energy collimator", 12.0, 9.0, 7.0, 10.0 * 1500 * 0.1, 0.115),
    "I-131": SimulatedScanner(
        "SPECT, high-energy collimator", 15.0, 11.0, 8.0, 35.0 * 1500 * 0.05, 0.095, background=0.06
    ),
    "F-18": SimulatedScanner("PET", 6.5, 6.5, 5.5, 6000.0 * 180 * 0.02, 0.096),
    "Ga-68": SimulatedScanner("PET, Ga-68", 7.0, 7.0, 5.5, 5400.0 * 180 * 0.02, 0.096),
    "Y-90": SimulatedScanner("PET, Y-90", 6.5, 6.5, 5.0, 6000.0 * 3.2e-5 * 1200 * 25, 0.096),
}


def scan(
    activity: Image32,
    depth_mm: Image32,
    grid: Grid,
    scanner: SimulatedScanner,
    random: np.random.Generator,
    *,
    noise: bool = True,
) -> Image32:
    """The reconstructed image (Bq/mL) of a true activity; `depth_mm` is the distance from the body surface.

    Activity beyond the rim of `grid` is taken as none: give it with a margin of `reach_mm` and crop.
    """
    blurred = _blur(activity, depth_mm, grid, scanner)
    if not noise:
        return _gaussian(blurred, scanner.post_filter_fwhm_mm, grid)
    events_per_unit = scanner.events_per_mbq * 1e-6 * grid.voxel_volume_ml
    counts = random.poisson(np.maximum(blurred, 0.0).astype(np.float64) * events_per_unit)
    return _gaussian((counts / events_per_unit).astype(np.float32), scanner.post_filter_fwhm_mm, grid)


def _blur(activity: Image32, depth_mm: Image32, grid: Grid, scanner: SimulatedScanner) -> Image32:
    post = scanner.post_filter_fwhm_mm
    centre, edge = (math.sqrt(max(f**2 - post**2, 0.0)) for f in (scanner.centre_fwhm_mm, scanner.edge_fwhm_mm))
    if centre == edge:
        image = _gaussian(activity, centre, grid)
    else:
        deep = deep_share(depth_mm)
        image = _gaussian(activity * deep, centre, grid) + _gaussian(activity * (1 - deep), edge, grid)
    if scanner.background > 0.0:
        halo = _gaussian(image, scanner.background_fwhm_mm, grid)
        image = (1 - scanner.background) * image + scanner.background * halo
    return image


def deep_share(depth_mm: Image32) -> Image32:
    """How much of the activity at a depth is seen with the resolution of the centre; the rest with that of the edge."""
    return np.clip(depth_mm / CENTRE_DEPTH_MM, 0.0, 1.0).astype(np.float32)


def _gaussian(image: Image32, fwhm_mm: float, grid: Grid) -> Image32:
    return blur(image, (fwhm_mm,) * 3, grid.spacing_mm)


def scan_ct(
    hu: Image32,
    grid: Grid,
    random: np.random.Generator,
    *,
    noise_hu: float,
    couch_y_mm: float,
    field_mm: float | None,
) -> Image32:
    """A CT with correlated noise and the couch (a shell of 8 mm, top at `couch_y_mm`) where there is air.

    Outside a circle of diameter `field_mm` there is -1024 HU.
    """
    grain = ndimage.gaussian_filter(random.standard_normal(grid.shape, dtype=np.float32), 0.7)
    image = hu + np.float32(noise_hu / float(grain.std())) * grain
    below = couch_y_mm - grid.world(_axis_points(grid, 1))[:, 1]
    across = np.abs(grid.world(_axis_points(grid, 0))[:, 0] - grid.centre_mm[0])
    shell = np.where(below < 8.0, -350.0, -880.0)
    couch = ((below > 0) & (below < 55.0))[None, :] & (across < 215.0)[:, None]
    place = couch[:, :, None] & (hu < -950.0)
    image += np.where(place, (shell + 1000.0)[None, :, None], 0.0).astype(np.float32)
    if field_mm is not None:
        forward = grid.world(_axis_points(grid, 1))[:, 1] - grid.centre_mm[1]
        outside = across[:, None] ** 2 + forward[None, :] ** 2 > (field_mm / 2.0) ** 2
        image[outside] = -1024.0
    return np.clip(np.rint(image), -1024.0, 3071.0).astype(np.float32)


def _axis_points(grid: Grid, axis: int) -> np.ndarray:
    index = np.zeros((grid.shape[axis], 3))
    index[:, axis] = np.arange(grid.shape[axis])
    return index
