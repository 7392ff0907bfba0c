"""Curves that follow a rule on request rather than a least-squares fit: one scan, or straight lines between scans.

From one value A(t) every rule takes an effective half-life T for granted, Ã = A(t) 2^(t/T) T/ln2: the physical one,
that of a population (Madsen 2018, doi:10.1002/mp.12886), or T = t, which is Hänscheid's Ã = 2 t A(t)/ln2 (2018,
doi:10.2967/jnumed.117.193706).
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dosimetry.kinetics import FitStatus, OrganFit, ScanTimes, VoxelFit, fit_organ, fit_voxels, trapezoid
from nufitdose.types import Curves, PerVoxel

F64 = NDArray[np.float64]

ONE_SCAN = ("physical", "haenscheid", "population")
_STATUS = {"population": FitStatus.POPULATION, "haenscheid": FitStatus.HAENSCHEID}
_LATEST = 2.5  # physical half-lives from which Hänscheid's error leaves -12 ... +6.1 % at any T_eff


def half_life_taken_h(
    method: str, time_h: float | PerVoxel, half_life_h: float, population_h: float | None
) -> float | PerVoxel:
    """The effective half-life that a method of `ONE_SCAN` takes for granted for a scan at `time_h`."""
    taken_h = {"haenscheid": time_h, "physical": half_life_h, "population": population_h}[method]
    if taken_h is None:
        raise ValueError("the method 'population' needs a half-life")
    return taken_h


def organ_from_one_scan(
    method: str,
    times_h: ArrayLike,
    activity_mbq: ArrayLike,
    half_life_h: float,
    *,
    population_h: float | None = None,
    u_activity_mbq: ArrayLike | None = None,
) -> OrganFit:
    """The curve of a method of `ONE_SCAN` through one value, MBq at `times_h`.

    `u_tia_mbq_h` holds what the uncertainty of the activity does, not that of the half-life taken for granted.
    """
    fit = fit_organ(times_h, activity_mbq, half_life_h, u_activity_mbq=u_activity_mbq)
    if fit.status is not FitStatus.ONE_POINT or method == "physical":
        return fit
    time_h, activity = float(fit.times_h[0]), float(fit.activity_mbq[0])
    taken_h = float(half_life_taken_h(method, time_h, half_life_h, population_h))
    rate = np.log(2.0) / taken_h
    amplitude = activity * 2.0 ** (time_h / taken_h)
    tia = float(amplitude / rate)
    flag = f"one point: effective half-life of {taken_h:.4g} h taken from a population"
    if method == "haenscheid":
        flag = "one point, Hänscheid 2018: the integral is within -12 to +6.1 % where 0.75 < t/T_eff < 2.5"
        if time_h > _LATEST * half_life_h:
            flag += "; the scan is later than that for any T_eff"
    return replace(
        fit,
        model=method,
        status=_STATUS[method],
        amplitudes_mbq=np.array([amplitude]),
        rates_per_h=np.array([rate]),
        tia_mbq_h=tia,
        u_tia_mbq_h=fit.u_tia_mbq_h / fit.tia_mbq_h * tia,
        u_teff_h=float("nan"),
        before_first_fraction=1.0 - 2.0 ** (-time_h / taken_h),
        extrapolated_fraction=2.0 ** (-time_h / taken_h),
        flags=(flag,),
    )


def voxels_from_one_scan(
    method: str, activity: Curves, time_h: float | PerVoxel, half_life_h: float, *, population_h: float | None = None
) -> VoxelFit:
    """The same for voxels, `[voxels, 1]` Bq/mL seen at `time_h`: one time for all, or one for each."""
    fit = fit_voxels(activity, ScanTimes.from_scans([time_h]), half_life_h)
    if method == "physical":
        return fit
    taken_h = half_life_taken_h(method, time_h, half_life_h, population_h)
    growth = np.exp2(time_h / taken_h - time_h / half_life_h)
    later = np.exp2(-time_h / taken_h)
    ratio = np.float32(growth * taken_h / half_life_h)
    seen = fit.status == FitStatus.ONE_POINT

    def where_seen(values: ArrayLike, otherwise: PerVoxel) -> PerVoxel:
        return np.where(seen, values, otherwise).astype(np.float32)

    return replace(
        fit,
        tia=fit.tia * ratio,
        u_tia=fit.u_tia * ratio,
        amplitude=fit.amplitude * np.float32(growth),
        teff_h=where_seen(np.nan if method == "haenscheid" else taken_h, fit.teff_h),
        before=where_seen(1.0 - later, fit.before),
        extrapolated=where_seen(later, fit.extrapolated),
        status=np.where(seen, np.uint8(_STATUS[method]), fit.status),
    )


def organ_by_trapezoid(
    times_h: F64, activity_mbq: F64, half_life_h: float, *, u_activity_mbq: F64 | None = None
) -> OrganFit:
    """Linear from zero, straight lines between the points, physical decay after the last; missing values drop out."""
    fit = fit_organ(times_h, activity_mbq, half_life_h, u_activity_mbq=u_activity_mbq)
    known = np.isfinite(fit.activity_mbq)
    if not known.any():
        return fit
    t, y, rate = fit.times_h[known], fit.activity_mbq[known], np.log(2.0) / half_life_h
    weights = trapezoid(np.eye(t.size), t, half_life_h)  # the integral is linear in the values
    tia = float(weights @ y)
    if tia <= 0.0:
        return fit
    u = float("nan") if u_activity_mbq is None else float(np.hypot.reduce(weights * u_activity_mbq[known]))
    return replace(
        fit,
        model="trapezoid",
        status=FitStatus.TRAPEZOID,
        amplitudes_mbq=np.array([y[-1] * np.exp(rate * t[-1])]),
        rates_per_h=np.array([rate]),
        covariance=np.full((2, 2), np.nan),
        fitted_mbq=fit.activity_mbq,
        tia_mbq_h=tia,
        u_tia_mbq_h=u,
        u_teff_h=float("nan"),
        chi2=0.0,
        dof=0,
        before_first_fraction=0.5 * float(y[0] * t[0]) / tia,
        extrapolated_fraction=float(y[-1]) / rate / tia,
        rising_share=1.0,
        flags=(),
    )


def voxels_by_trapezoid(activity: Curves, times_h: Sequence[float | PerVoxel], half_life_h: float) -> VoxelFit:
    """The same for voxels, `[voxels, times]` Bq/mL; `times_h` of each scan, in order: one, or `[voxels]`.

    NaN values drop out for that voxel alone. A voxel whose integral is not positive gets 0, as a fitted one does.
    """
    count, rate = activity.shape[0], np.log(2.0) / half_life_h
    tia, before, value, last_h = (np.zeros(count) for _ in range(4))
    seen = np.zeros(count, dtype=bool)
    for column, time_h in zip(activity.T, times_h, strict=True):
        known = np.isfinite(column)
        area = np.where(known, 0.5 * (column + value) * (time_h - last_h), 0.0)
        tia += area
        before = np.where(known & ~seen, area, before)
        value, last_h, seen = np.where(known, column, value), np.where(known, time_h, last_h), seen | known
    tail = value / rate
    tia += tail
    positive = tia > 0.0
    whole = np.where(positive, tia, 1.0)
    nothing = ~seen | ~np.where(np.isfinite(activity), activity != 0.0, False).any(axis=1)
    unknown = np.full(count, np.nan, dtype=np.float32)
    return VoxelFit(
        tia=np.where(positive, tia, 0.0).astype(np.float32),
        u_tia=unknown,
        teff_h=np.where(positive, half_life_h, np.nan).astype(np.float32),
        amplitude=np.where(positive, value * np.exp(rate * last_h), 0.0).astype(np.float32),
        rmse=unknown.copy(),
        before=np.where(positive, before / whole, np.nan).astype(np.float32),
        extrapolated=np.where(positive, tail / whole, np.nan).astype(np.float32),
        status=np.where(
            positive, FitStatus.TRAPEZOID, np.where(nothing, FitStatus.NOTHING, FitStatus.NOT_POSITIVE)
        ).astype(np.uint8),
    )
