"""The resolution of a study's images as described, or assumed, and one beside it: between the two it is uncertain."""

import logging
import math

import numpy as np

from dosimetry.config import RecoverySettings
from dosimetry.recovery.point_spread import PointSpread, Widths, depth_below_surface_mm, spread_by_depth
from nufitdose.anatomy.prepared import PreparedAnatomy
from nufitdose.emissions import chain_spectra
from nufitdose.grid import Grid
from nufitdose.scanner import Scanner
from nufitdose.study import Study
from nufitdose.types import Image32

log = logging.getLogger(__name__)

# Chosen here, of the order of clinical systems as reconstructed and filtered: FWHM, mm.
_SPECT_MM, _PET_MM, _EITHER_MM = (12.0, 15.0), (5.0, 7.0), (6.0, 15.0)
_EITHER = ("Y-90",)  # imaged both ways
_ANNIHILATION_MEV, _IS_PET = 0.511, 0.1  # quanta per decay from which a nuclide is taken as imaged by PET
# Relative standard uncertainty of a described resolution, chosen here (docs/explanation/recovery.md). What patients
# differ by from the spheres it was measured on, where the description does not say it: iterative reconstruction shows
# activity more or less finely by where it lies. That the response is no Gaussian, however well its width is known. And
# what one width for all depths errs by, rms on digital patients.
U_OF_PATIENTS, _U_OF_SHAPE, _U_OF_DEPTH = 0.05, 0.03, 0.038
# Variance that linear interpolation adds to the resolution, in squares of a voxel's side: f (1 - f) a fraction f of the
# way between two voxels, and all fractions alike.
_INTERPOLATION = 1.0 / 6.0


def find_resolutions(
    study: Study, anatomy: PreparedAnatomy | None, grid: Grid, settings: RecoverySettings
) -> tuple[PointSpread, PointSpread]:
    """The resolution and one beside it: 1 standard uncertainty away, or the ends of what is assumed.

    Where a scanner is described at two depths and no CT shows the body, its one width stands for all depths.
    """
    if study.scanner is not None:
        described = _described(study.scanner, anatomy, grid)
        u = relative_u_fwhm(study.scanner, by_depth=described.ends is not None)
        return described, described.with_widths(lambda fwhm_mm: _scaled(fwhm_mm, 1.0 + u))
    low, high = settings.assumed_fwhm_mm or _usual_fwhm_mm(study.nuclide)
    return PointSpread((low, low, low)), PointSpread((high, high, high))


def relative_u_fwhm(scanner: Scanner, *, by_depth: bool) -> float:
    """Relative standard uncertainty of a described resolution, used at two depths or by one width for all."""
    stated = scanner.u_fwhm_percent
    of_patients = U_OF_PATIENTS if stated is None else stated / 100.0
    return math.hypot(of_patients, _U_OF_SHAPE, 0.0 if by_depth else _U_OF_DEPTH)


def widen_by_interpolation(spread: PointSpread, grid: Grid) -> PointSpread:
    """A resolution after one linear interpolation between voxels of `grid`; scans of one patient have voxels alike."""
    added = 8.0 * np.log(2.0) * _INTERPOLATION * np.square(grid.spacing_mm)

    def widened(fwhm_mm: Widths) -> Widths:
        i, j, k = np.sqrt(np.square(fwhm_mm) + added).tolist()
        return i, j, k

    return spread.with_widths(widened)


def share_of_body(anatomy: PreparedAnatomy | None, grid: Grid) -> Image32:
    """Share of each voxel that may hold activity: the body, and what the CT does not show."""
    if anatomy is None:
        return np.ones(grid.shape, dtype=np.float32)
    unseen = anatomy.takes_dose & (anatomy.body_share == 0)
    return np.where(unseen, np.float32(1.0), anatomy.body_share)


def _described(scanner: Scanner, anatomy: PreparedAnatomy | None, grid: Grid) -> PointSpread:
    if scanner.by_depth is None:
        return PointSpread(scanner.fwhm_mm)
    if anatomy is None:
        log.warning(
            "the scanner %r is described at two depths and no CT shows where the body ends: its fwhm_mm is taken for "
            "all depths",
            scanner.name,
        )
        return PointSpread(scanner.fwhm_mm)
    depth_mm = depth_below_surface_mm(share_of_body(anatomy, grid) >= 0.5, grid.spacing_mm)
    return spread_by_depth(scanner.fwhm_mm, scanner.by_depth, depth_mm)


def _scaled(fwhm_mm: Widths, factor: float) -> Widths:
    i, j, k = (width * factor for width in fwhm_mm)
    return i, j, k


def _usual_fwhm_mm(nuclide: str) -> tuple[float, float]:
    if nuclide in _EITHER:
        return _EITHER_MM
    photons = chain_spectra(nuclide).photon
    quanta = photons.per_decay[np.abs(photons.energy_mev - _ANNIHILATION_MEV) < 1e-3].sum()
    return _PET_MM if quanta > _IS_PET else _SPECT_MM
