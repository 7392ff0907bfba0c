"""Recovery of structures by their volume alone: by the scanner's curve, or by a sphere seen with a Gaussian."""

from collections.abc import Mapping, Sequence

import numpy as np

from dosimetry.recovery.point_spread import PointSpread
from nufitdose.anatomy.regions import Region
from nufitdose.psf import sphere_recovery
from nufitdose.scanner import RecoveryCurve

_STEP = 1.02  # of the volume, for its derivative


def recovery_by_curve(
    curve: RecoveryCurve, spread: PointSpread, regions: Mapping[str, Region], names: Sequence[str]
) -> dict[str, tuple[float, float]]:
    """R and its relative uncertainty by the scanner's curve.

    Where resolution follows depth, the curve is multiplied by what a sphere of that volume keeps with the width at the
    structure's own depth, over what it keeps with the one that stands for all depths.
    """
    found = {}
    for name in names:
        volume_ml = regions[name].volume_ml
        value = curve.value(volume_ml)
        own, usual = (
            sphere_recovery(volume_ml, fwhm) for fwhm in (spread.mean_fwhm_mm(regions[name]), spread.usual_mm)
        )
        found[name] = (min(value * (own / usual), 1.0), curve.u(volume_ml) / value)
    return found


def recovery_by_sphere(
    spread: PointSpread, beside: PointSpread, regions: Mapping[str, Region], names: Sequence[str]
) -> dict[str, tuple[float, float]]:
    """R of a sphere with the resolution `spread`, and what that of one standard uncertainty `beside` makes of it."""
    found = {}
    for name in names:
        value, wider = (_sphere(regions[name], width) for width in (spread, beside))
        found[name] = (value, abs(float(np.log(wider / value))))
    return found


def recovery_between(
    fine: PointSpread, wide: PointSpread, regions: Mapping[str, Region], names: Sequence[str]
) -> dict[str, tuple[float, float]]:
    """R of a sphere, the geometric mean over both ends of an assumed resolution, and the spread between them."""
    found = {}
    for name in names:
        low, high = (_sphere(regions[name], width) for width in (wide, fine))
        found[name] = (float(np.sqrt(low * high)), abs(float(np.log(high / low))) / float(np.sqrt(12.0)))
    return found


def volume_slope(volume_ml: float, fwhm_mm: float) -> float:
    """d ln R / d ln V of a sphere of this volume."""
    ratio = sphere_recovery(volume_ml * _STEP, fwhm_mm) / sphere_recovery(volume_ml / _STEP, fwhm_mm)
    return float(np.log(ratio) / (2.0 * np.log(_STEP)))


def _sphere(region: Region, spread: PointSpread) -> float:
    return sphere_recovery(region.volume_ml, spread.mean_fwhm_mm(region))
