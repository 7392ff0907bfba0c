"""What would be known of the scanner that made a digital patient: the description its study carries."""

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np

from nufitdose.anatomy.regions import region_on
from nufitdose.grid import Grid
from nufitdose.phantom.scanner import CENTRE_DEPTH_MM, SimulatedScanner, scan
from nufitdose.scanner import Calibration, RecoveryCurve, ResolutionAtDepth, Scanner
from nufitdose.spheres import fit_recovery, read_spheres
from nufitdose.volume import Quantity, Volume

#: Spheres of the NEMA NU 2 image quality phantom, mm, with a larger one for organs.
_DIAMETERS_MM = (10.0, 13.0, 17.0, 22.0, 28.0, 37.0, 60.0)
_TANK = Grid.from_spacing((64, 64, 32), (4.0, 4.0, 4.0))
_DRAWN = Grid.from_spacing((128, 128, 64), (2.0, 2.0, 2.0))
_CIRCLE_MM = 80.0  # on which the spheres lie, in order of size


def describe_scanner(
    simulated: SimulatedScanner, deep_share: float, calibration_error: float, *, scans_err: bool = False
) -> Scanner:
    """The description of a simulated scanner for structures of which `deep_share` lies as deep as resolution follows.

    Where resolution follows depth it is described at the surface and at the depth from which it stays, which is all
    there is to know of a simulated one: its widths are exact, and said to be so unless there is a halo, which no width
    holds. Beside it the Gaussian of the mean variance stands for all depths, FWHM² = s F_centre² + (1 - s) F_edge², s =
    `deep_share`. The recovery curve is fitted to spheres that this scanner sees without noise at the depth of that
    share. The calibration factor is 1 and its uncertainty the relative standard deviation that the simulation draws its
    error from, 0 where it draws none. A scan by itself errs by noise alone, unless `scans_err`: then it is not known by
    how much.
    """
    variance = deep_share * simulated.centre_fwhm_mm**2 + (1.0 - deep_share) * simulated.edge_fwhm_mm**2
    fwhm_mm = math.sqrt(variance)
    return Scanner(
        name=f"simulated {simulated.name}",
        fwhm_mm=_alike(fwhm_mm),
        by_depth=_by_depth(simulated),
        u_fwhm_percent=0.0 if simulated.background == 0.0 else None,
        recovery=_recovery_curve(replace(simulated, events_per_mbq=1.0), round(20.0 * deep_share) / 20.0),
        calibration=Calibration(u_percent=100.0 * calibration_error, u_scan_percent=None if scans_err else 0.0),
    )


def _by_depth(simulated: SimulatedScanner) -> tuple[ResolutionAtDepth, ResolutionAtDepth] | None:
    if simulated.edge_fwhm_mm == simulated.centre_fwhm_mm:
        return None
    edge, centre = _alike(simulated.edge_fwhm_mm), _alike(simulated.centre_fwhm_mm)
    return ResolutionAtDepth(0.0, edge), ResolutionAtDepth(CENTRE_DEPTH_MM, centre)


def _alike(fwhm_mm: float) -> tuple[float, float, float]:
    return fwhm_mm, fwhm_mm, fwhm_mm


@lru_cache(maxsize=64)
def _recovery_curve(simulated: SimulatedScanner, deep_share: float) -> RecoveryCurve:
    """The curve of spheres in an empty tank, all at one depth."""
    points = _DRAWN.world(np.argwhere(np.ones(_DRAWN.shape))).reshape(*_DRAWN.shape, 3) - _DRAWN.centre_mm
    regions, true = {}, np.zeros(_TANK.size, dtype=np.float32)
    for number, diameter in enumerate(_DIAMETERS_MM):
        angle = 2.0 * math.pi * number / len(_DIAMETERS_MM)
        centre = _CIRCLE_MM * np.array([math.cos(angle), math.sin(angle), 0.0])
        region = region_on(np.linalg.norm(points - centre, axis=-1) < diameter / 2.0, _DRAWN, _TANK)
        regions[f"{diameter:g} mm"] = region
        true[region.index] += region.part_ml / _TANK.voxel_volume_ml
    depth_mm = np.full(_TANK.shape, CENTRE_DEPTH_MM * deep_share, dtype=np.float32)
    seen = scan(true.reshape(_TANK.shape), depth_mm, _TANK, simulated, np.random.default_rng(0), noise=False)
    return fit_recovery(read_spheres(Volume(seen, _TANK, Quantity.ACTIVITY), regions, 1.0, 0.0)).curve
