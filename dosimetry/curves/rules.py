"""Curves that follow a rule on request rather than a least-squares fit: one scan, or straight lines between scans.

The equations are those of `kinetics.few_points`; here they become the curves of structures and the maps of voxels.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from dosimetry.curves.points import OrganPoints, VoxelPoints
from dosimetry.kinetics import (
    FitStatus,
    OrganFit,
    ScanTimes,
    VoxelFit,
    fit_organ,
    fit_voxels,
    haenscheid,
    population_half_life,
    trapezoid,
    trapezoid_phases,
)
from dosimetry.kinetics.few_points import HAENSCHEID_RANGE
from nufitdose.types import F64, PerVoxel

_STATUS = {"population": FitStatus.POPULATION, "haenscheid": FitStatus.HAENSCHEID}
_LATEST = HAENSCHEID_RANGE[1]  # physical half-lives from which Hänscheid's error leaves -12 ... +6.1 % at any T_eff


def organ_from_one_scan(method: str, points: OrganPoints) -> OrganFit:
    """The curve of "physical", "haenscheid" or "population" through one value.

    `u_tia_mbq_h` holds what the uncertainty of the activity does, not that of the half-life taken for granted.
    """
    fit = _fit_mono(points)
    if fit.status is not FitStatus.ONE_POINT or method == "physical":
        return fit
    time_h, activity = float(fit.times_h[0]), float(fit.activity_mbq[0])
    tia, taken_h = (float(x) for x in _integrate(method, activity, time_h, points.half_life_h, points.population_h))
    flag = f"one point: effective half-life of {taken_h:.4g} h taken from a population"
    if method == "haenscheid":
        flag = "one point, Hänscheid 2018: the integral is within -12 to +6.1 % where 0.75 < t/T_eff < 2.5"
        if time_h > _LATEST * points.half_life_h:
            flag += "; the scan is later than that for any T_eff"
    return replace(
        fit,
        model=method,
        status=_STATUS[method],
        amplitudes_mbq=np.array([activity * 2.0 ** (time_h / taken_h)]),
        rates_per_h=np.array([np.log(2.0) / taken_h]),
        tia_mbq_h=tia,
        u_tia_mbq_h=fit.u_tia_mbq_h / fit.tia_mbq_h * tia,
        u_teff_h=float("nan"),
        before_first_fraction=1.0 - 2.0 ** (-time_h / taken_h),
        extrapolated_fraction=2.0 ** (-time_h / taken_h),
        u_extrapolated_fraction=float("nan"),
        flags=(flag,),
    )


def voxels_from_one_scan(method: str, points: VoxelPoints) -> VoxelFit:
    """The same for voxels; a voxel without a positive value keeps what the fit of one point says of it."""
    (time_h,) = points.times_h
    fit = fit_voxels(points.activity, ScanTimes.from_scans(points.times_h), points.half_life_h)
    if method == "physical":
        return fit
    column = points.activity[:, 0]
    activity = np.where(np.isfinite(column), column, 0.0).astype(np.float64)
    tia, taken_h = _integrate(method, activity, time_h, points.half_life_h, points.population_h)
    later = np.exp2(-time_h / taken_h)
    seen = fit.status == FitStatus.ONE_POINT

    def where_seen(values: ArrayLike, otherwise: PerVoxel) -> PerVoxel:
        return np.where(seen, values, otherwise).astype(np.float32)

    return replace(
        fit,
        tia=where_seen(tia, fit.tia),
        u_tia=np.full_like(fit.u_tia, np.nan),  # one value without σ leaves none to be known
        amplitude=where_seen(activity / later, fit.amplitude),
        teff_h=where_seen(np.nan if method == "haenscheid" else taken_h, fit.teff_h),
        before=where_seen(1.0 - later, fit.before),
        extrapolated=where_seen(later, fit.extrapolated),
        status=np.where(seen, np.uint8(_STATUS[method]), fit.status),
    )


def organ_by_trapezoid(points: OrganPoints) -> OrganFit:
    """Linear from zero, straight lines between the points, physical decay after the last; missing values drop out."""
    fit = _fit_mono(points)
    known = np.isfinite(fit.activity_mbq)
    if not known.any():
        return fit
    t, y, rate = fit.times_h[known], fit.activity_mbq[known], np.log(2.0) / points.half_life_h
    weights = trapezoid(np.eye(t.size), t, points.half_life_h)  # the integral is linear in the values
    tia = float(weights @ y)
    if tia <= 0.0:
        return fit
    u = points.u_activity_mbq
    return replace(
        fit,
        model="trapezoid",
        status=FitStatus.TRAPEZOID,
        amplitudes_mbq=np.array([y[-1] * np.exp(rate * t[-1])]),
        rates_per_h=np.array([rate]),
        covariance=np.full((2, 2), np.nan),
        fitted_mbq=fit.activity_mbq,
        tia_mbq_h=tia,
        u_tia_mbq_h=float("nan") if u is None else float(np.hypot.reduce(weights * u[known])),
        u_teff_h=float("nan"),
        chi2=0.0,
        dof=0,
        before_first_fraction=0.5 * float(y[0] * t[0]) / tia,
        extrapolated_fraction=float(y[-1]) / rate / tia,
        u_extrapolated_fraction=float("nan"),
        rising_share=1.0,
        flags=(),
    )


def voxels_by_trapezoid(points: VoxelPoints) -> VoxelFit:
    """The same for voxels; NaN values drop out for that voxel alone.

    A voxel whose integral is not positive gets 0, as a fitted one does.
    """
    found = trapezoid_phases(points.activity, points.times_h, points.half_life_h)
    positive = found.tia > 0.0
    whole = np.where(positive, found.tia, 1.0)
    lit = np.where(np.isfinite(points.activity), points.activity != 0.0, False).any(axis=1)
    unknown = np.full(positive.size, np.nan, dtype=np.float32)
    otherwise = np.where(lit, FitStatus.NOT_POSITIVE, FitStatus.NOTHING)
    return VoxelFit(
        tia=np.where(positive, found.tia, 0.0).astype(np.float32),
        u_tia=unknown,
        teff_h=np.where(positive, points.half_life_h, np.nan).astype(np.float32),
        amplitude=np.where(positive, found.amplitude, 0.0).astype(np.float32),
        rmse=unknown.copy(),
        before=np.where(positive, found.before / whole, np.nan).astype(np.float32),
        extrapolated=np.where(positive, found.after / whole, np.nan).astype(np.float32),
        status=np.where(positive, FitStatus.TRAPEZOID, otherwise).astype(np.uint8),
    )


def _fit_mono(points: OrganPoints) -> OrganFit:
    return fit_organ(points.times_h, points.activity_mbq, points.half_life_h, u_activity_mbq=points.u_activity_mbq)


def _integrate(
    method: str, activity: float | F64, time_h: float | PerVoxel, half_life_h: float, population_h: float | None
) -> tuple[F64, float | PerVoxel]:
    """Ã from one value by a method, and the effective half-life that it takes for granted, T = t for Hänscheid's."""
    if method == "haenscheid":
        return haenscheid(activity, time_h), time_h
    if population_h is None:
        raise ValueError("the method 'population' needs a half-life")
    return population_half_life(activity, time_h, population_h, half_life_h), population_h
