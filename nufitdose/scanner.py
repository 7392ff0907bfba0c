"""What is known of an emission scanner: resolution, recovery by volume, calibration. Values and their checks; no files.

The digital patient's `SimulatedScanner` makes images; this one describes what is known of the one that made them.
"""

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nufitdose.errors import InputError

_MOST_FWHM_MM = 60.0  # of any emission scanner; a larger number is a mistake of units
_MOST_U_FWHM_PERCENT = 50.0
_MOST_DEPTH_MM = 500.0  # below the surface of a body
_LEAST_APART_MM = 10.0  # of two depths between which a resolution can be told to change
_MOST_FACTOR = 100.0  # a calibration factor beyond it, or beneath its inverse, is a mistake of units


@dataclass(frozen=True)
class RecoveryCurve:
    """Recovery coefficient by volume, R(V) = 1 - 1/(1 + (V/β1)^β2), with β1 = `beta1_ml` and β2 = `beta2`.

    `covariance` is that of (β1, β2). The form is that of Gear et al. 2018 (doi:10.1007/s00259-018-4136-7).
    Raises `InputError` on what is not a curve that rises from 0 to 1, or no covariance.
    """

    beta1_ml: float
    beta2: float
    covariance: tuple[tuple[float, float], tuple[float, float]]

    def __post_init__(self) -> None:
        for name, value in (("beta1_ml", self.beta1_ml), ("beta2", self.beta2)):
            if not (math.isfinite(value) and value > 0):
                raise InputError(f"a recovery curve with {name} = {value} was given, wanted a positive number")
        v = np.asarray(self.covariance, dtype=np.float64)
        if v.shape != (2, 2) or not np.isfinite(v).all() or abs(v[0, 1] - v[1, 0]) > 1e-6 * np.abs(v).max():
            raise InputError(
                f"a covariance {v.tolist()} of the recovery curve was given, wanted a symmetric [[a, c], [c, b]]"
            )
        if v[0, 0] < 0 or v[1, 1] < 0 or v[0, 1] ** 2 > v[0, 0] * v[1, 1] * (1 + 1e-6):
            raise InputError(f"the covariance {v.tolist()} of the recovery curve is none: it has a negative variance")

    def value(self, volume_ml: float) -> float:
        """R(V), between 0 and 1."""
        x = self._power(volume_ml)
        return x / (1.0 + x)

    def slope_per_ml(self, volume_ml: float) -> float:
        """dR/dV = (β2/V) R (1 - R), 1/mL."""
        r = self.value(volume_ml)
        return self.beta2 / volume_ml * r * (1.0 - r)

    def u(self, volume_ml: float) -> float:
        """Standard uncertainty of R(V) by that of the fitted curve, √(gᵀ cov g)."""
        r = self.value(volume_ml)
        g = r * (1.0 - r) * np.array([-self.beta2 / self.beta1_ml, math.log(volume_ml / self.beta1_ml)])
        return float(np.sqrt(max(g @ np.asarray(self.covariance) @ g, 0.0)))

    def _power(self, volume_ml: float) -> float:
        if not (math.isfinite(volume_ml) and volume_ml > 0):
            raise InputError(f"recovery was asked for a volume of {volume_ml} mL, wanted a positive number")
        return float(math.exp(min(self.beta2 * math.log(volume_ml / self.beta1_ml), 500.0)))


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """`factor` multiplies the activity of the images; its relative standard uncertainty is common to all scans.

    `u_percent` is that of the factor itself, `u_cross_calibration_percent` that of the agreement between the scanner
    and the meter that measured the administered activity; `u_scan_percent` is what each scan errs by itself beyond
    counting noise (attenuation, scatter, dead time), None: not known; `date` is when it was made.
    """

    factor: float = 1.0
    u_percent: float
    date: datetime.date | None = None
    u_cross_calibration_percent: float = 0.0
    u_scan_percent: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.factor) and 1.0 / _MOST_FACTOR <= self.factor <= _MOST_FACTOR):
            raise InputError(
                f"a calibration factor of {self.factor} was given, wanted a number near 1: "
                "it multiplies images that are in Bq/mL already"
            )
        for name, value in (
            ("u_percent", self.u_percent),
            ("u_cross_calibration_percent", self.u_cross_calibration_percent),
            ("u_scan_percent", self.u_scan_percent or 0.0),
        ):
            if not (math.isfinite(value) and 0 <= value <= 100):
                raise InputError(f"a calibration with {name} = {value} was given, wanted 0 to 100 %")

    @property
    def relative_u(self) -> float:
        """Relative standard uncertainty of every activity by calibration, both parts together."""
        return math.hypot(self.u_percent, self.u_cross_calibration_percent) / 100.0


@dataclass(frozen=True)
class ResolutionAtDepth:
    """FWHM (mm) along the axes i, j, k of the images of what lies `depth_mm` below the surface of the body."""

    depth_mm: float
    fwhm_mm: tuple[float, float, float]

    def __post_init__(self) -> None:
        if not (math.isfinite(self.depth_mm) and 0 <= self.depth_mm <= _MOST_DEPTH_MM):
            raise InputError(
                f"a resolution at a depth of {self.depth_mm} mm was given, wanted 0 to {_MOST_DEPTH_MM:g} mm below the "
                "surface of the body"
            )
        _check_widths(self.fwhm_mm, f"at a depth of {self.depth_mm:g} mm")


@dataclass(frozen=True)
class Scanner:
    """A scanner as reconstructed: FWHM (mm) along the axes i, j, k of the activity images, recovery, calibration.

    `by_depth` is the resolution at two depths, the shallow one first, where it follows depth as that of a collimator
    does; `fwhm_mm` then stands for the mean depth. `u_fwhm_percent` is the relative standard uncertainty of all these
    widths in patients. What is None is not known. Raises `InputError` on a resolution that cannot be.
    """

    name: str
    fwhm_mm: tuple[float, float, float]
    recovery: RecoveryCurve | None = None
    calibration: Calibration | None = None
    by_depth: tuple[ResolutionAtDepth, ResolutionAtDepth] | None = None
    u_fwhm_percent: float | None = None

    def __post_init__(self) -> None:
        _check_widths(self.fwhm_mm, f"for the scanner {self.name!r}")
        if not 0 <= (self.u_fwhm_percent or 0.0) <= _MOST_U_FWHM_PERCENT:
            raise InputError(
                f"a resolution with u_fwhm_percent = {self.u_fwhm_percent} was given, wanted 0 to "
                f"{_MOST_U_FWHM_PERCENT:g} %"
            )
        if self.by_depth is not None:
            _check_depths(self.by_depth, self.fwhm_mm)

    @property
    def factor(self) -> float:
        """What the activity of its images is multiplied by; 1 without a calibration."""
        return 1.0 if self.calibration is None else self.calibration.factor

    def with_factor_applied(self) -> "Scanner":
        """The same scanner for images that have been multiplied by its factor."""
        return self if self.calibration is None else replace(self, calibration=replace(self.calibration, factor=1.0))


def _check_widths(fwhm_mm: tuple[float, float, float], where: str) -> None:
    if len(fwhm_mm) != 3 or not all(math.isfinite(f) and 0 < f <= _MOST_FWHM_MM for f in fwhm_mm):
        raise InputError(
            f"a resolution of {list(fwhm_mm)} mm was given {where}, wanted the FWHM along the three axes of the "
            f"images, each above 0 and at most {_MOST_FWHM_MM:g} mm"
        )


def _check_depths(by_depth: Sequence[ResolutionAtDepth], fwhm_mm: tuple[float, float, float]) -> None:
    if len(by_depth) != 2 or by_depth[1].depth_mm - by_depth[0].depth_mm < _LEAST_APART_MM:
        raise InputError(
            f"resolutions at depths of {[at.depth_mm for at in by_depth]} mm were given, wanted two, the shallow one "
            f"first, at least {_LEAST_APART_MM:g} mm apart"
        )
    shallow, deep = (float(np.mean(at.fwhm_mm)) for at in by_depth)
    if not shallow <= deep:
        raise InputError(
            f"a resolution of {shallow:.3g} mm near the surface and of {deep:.3g} mm in depth was given, wanted one "
            "that is no finer in depth",
            remedy="Leave the depths out where the reconstruction models the collimator, and for PET",
        )
    if not shallow * (1 - 1e-6) <= float(np.mean(fwhm_mm)) <= deep * (1 + 1e-6):
        raise InputError(
            f"a resolution fwhm_mm of {np.mean(fwhm_mm):.3g} mm was given beside {shallow:.3g} mm near the surface and "
            f"{deep:.3g} mm in depth, wanted one between them: it stands for the mean depth"
        )
