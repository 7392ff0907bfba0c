"""Time-integrated activity from few scans without a least-squares fit: one time point, trapezoids, three points.

All functions work elementwise on arrays, so the same lines serve an organ and a map.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dosimetry.kinetics.models import LN2, check_times, physical_rate
from nufitdose.errors import InputError
from nufitdose.types import F64, Curves, PerVoxel

HAENSCHEID_RANGE = (0.75, 2.5)  # t/T_eff within which the integral is right to -12 ... +6.1 %
VRAK_UPTAKE_PER_H = 1.3


def physical_decay(activity: ArrayLike | float, time_h: ArrayLike | float, half_life_h: float) -> F64:
    """Ã = A(t) e^(λ_p t)/λ_p: what was measured at t decays physically, before and after."""
    rate = physical_rate(half_life_h)
    t = _check_scan_times(time_h, rate)
    return np.asarray(np.asarray(activity, dtype=np.float64) * np.exp(rate * t) / rate)


def haenscheid(activity: ArrayLike | float, time_h: ArrayLike | float) -> F64:
    """Ã = 2 t A(t)/ln 2 from one late measurement (Hänscheid 2018, doi:10.2967/jnumed.117.193706).

    Its error is 2x/2^x - 1 with x = t/T_eff: between -12 % and +6.1 % for 0.75 < x < 2.5.
    """
    t = np.asarray(time_h, dtype=np.float64)
    if not (np.isfinite(t) & (t > 0)).all():
        raise InputError(f"a scan {t.min()} h after administration was given, one later than 0 h is wanted")
    return np.asarray(2.0 * t / LN2 * np.asarray(activity, dtype=np.float64))


def haenscheid_error(time_h: ArrayLike | float, teff_h: ArrayLike | float) -> F64:
    """Relative error of `haenscheid` where the effective half-life is T_eff: 2x/2^x - 1, x = t/T_eff."""
    x = np.asarray(time_h, dtype=np.float64) / np.asarray(teff_h, dtype=np.float64)
    return np.asarray(2.0 * x * 2.0**-x - 1.0)


def haenscheid_lu177_dose_gy(activity_mbq_ml: ArrayLike | float, time_h: float, teff_h: float) -> F64:
    """D = 0.125 C 2^(t/T_eff) T_eff for Lu-177, C in MBq/mL, T_eff in h (Hänscheid 2017): a plausibility check."""
    return np.asarray(0.125 * np.asarray(activity_mbq_ml, dtype=np.float64) * 2.0 ** (time_h / teff_h) * teff_h)


def population_half_life(
    activity: ArrayLike | float, time_h: ArrayLike | float, teff_h: float, half_life_h: float
) -> F64:
    """Ã = A(t) e^(kt)/k with k = ln2/T_eff of a population or an earlier cycle (Madsen 2018, doi:10.1002/mp.12886).

    `InputError` where T_eff exceeds the physical half-life.
    """
    t = _check_scan_times(time_h, physical_rate(half_life_h))
    if not 0 < teff_h <= half_life_h * (1 + 1e-9):
        raise InputError(
            f"a population half-life of {teff_h} h was given, wanted one up to the physical {half_life_h:.6g} h",
            remedy="Give the effective, not the biological, half-life in hours",
        )
    k = LN2 / teff_h
    return np.asarray(np.asarray(activity, dtype=np.float64) * np.exp(k * t) / k)


def _check_scan_times(time_h: ArrayLike | float, rate_p: float) -> F64:
    """The time of one scan, or when it saw each voxel, as an array; the earliest and the latest must make sense."""
    t = np.asarray(time_h, dtype=np.float64)
    for end_h in (t.min(), t.max()):
        check_times(np.array([end_h]), rate_p)
    return t


def trapezoid(
    activity: ArrayLike, times_h: ArrayLike, half_life_h: float, *, start: str = "zero", tail: str = "physical"
) -> F64:
    """Integral of straight lines between the points, activity [..., times] at increasing times.

    Before the first point: 'zero' (linear from zero at administration), 'constant', or 'back' (the exponential
    through the first two points, not steeper than no decay). After the last: 'physical' decay, or 'fitted': the
    exponential through the last two points, never slower than physical decay. Missing values are refused.
    """
    rate_p = physical_rate(half_life_h)
    y, t = np.asarray(activity, dtype=np.float64), np.asarray(times_h, dtype=np.float64)
    check_times(t, rate_p)
    if y.shape[-1] != t.size:
        raise ValueError(f"activity {y.shape} needs {t.size} values on its last axis")
    if not np.isfinite(y).all():
        raise ValueError("trapezoids need a value at every time")
    if {start, tail} & {"back", "fitted"} and t.size < 2:
        raise InputError("a phase through two points was asked for, but there is one time point only")
    before = {"zero": 0.5 * y[..., 0] * t[0], "constant": y[..., 0] * t[0]}
    if start == "back":
        rate = np.asarray(np.maximum(_rate(y[..., 0], y[..., 1], t[1] - t[0]), 0.0))
        before["back"] = y[..., 0] * t[0] * _mean_growth(np.asarray(rate * t[0]))
    after = {"physical": y[..., -1] / rate_p}
    if tail == "fitted":
        after["fitted"] = y[..., -1] / np.maximum(_rate(y[..., -2], y[..., -1], t[-1] - t[-2]), rate_p)
    if start not in before or tail not in after:
        raise InputError(
            f"phases {start!r} and {tail!r} were asked for, wanted zero, constant or back; physical or fitted"
        )
    return np.asarray(before[start] + np.trapezoid(y, t, axis=-1) + after[tail])


@dataclass(frozen=True, eq=False)
class TrapezoidPhases:
    """Ã of straight lines, [voxels], its parts before the first and after the last value, and the tail's amplitude.

    `amplitude` is that of the physical decay after the last value, extrapolated to administration.
    """

    tia: F64
    before: F64
    after: F64
    amplitude: F64


def trapezoid_phases(activity: Curves, times_h: Sequence[float | PerVoxel], half_life_h: float) -> TrapezoidPhases:
    """`trapezoid` from zero and with physical decay for [voxels, times] with gaps: NaN drops out for its voxel alone.

    `times_h` of each scan, in order: one, or [voxels] where slices were seen at times of their own.
    """
    count, rate = activity.shape[0], physical_rate(half_life_h)
    tia, before, value, last_h = (np.zeros(count) for _ in range(4))
    seen = np.zeros(count, dtype=bool)
    for column, time_h in zip(activity.T, times_h, strict=True):
        known = np.isfinite(column)
        area = np.where(known, 0.5 * (column + value) * (time_h - last_h), 0.0)
        tia += area
        before = np.where(known & ~seen, area, before)
        value, last_h, seen = np.where(known, column, value), np.where(known, time_h, last_h), seen | known
    after = value / rate
    return TrapezoidPhases(tia + after, before, after, value * np.exp(rate * last_h))


def _rate(early: ArrayLike, late: ArrayLike, gap_h: float) -> F64:
    """λ of the exponential through two values; 0 where they have none."""
    early, late = np.asarray(early), np.asarray(late)
    valid = (early > 0) & (late > 0)
    return np.asarray(np.log(np.where(valid, early, 1.0) / np.where(valid, late, 1.0)) / gap_h)


def _mean_growth(x: F64) -> F64:
    """(e^x - 1)/x, 1 at x = 0."""
    small = np.abs(x) < 1e-12
    return np.asarray(np.where(small, 1.0, np.expm1(x) / np.where(small, 1.0, x)))


def three_point_curve(decay_corrected: ArrayLike, times_h: ArrayLike, half_life_h: float) -> tuple[F64, F64]:
    """Tri-exponential through three values (VRAK, doi:10.1118/1.4824318): amplitudes and rates λ_j, [3] each.

    `decay_corrected` d at t_0 < t_1 < t_3 are corrected to administration. The rules where activity rises or values
    are out of range are those of the method; the uptake constant is 1.3/h. Ã = Σ A_j/λ_j with λ_j = λ_p - k_j.
    """
    rate_p = physical_rate(half_life_h)
    t = np.asarray(times_h, dtype=np.float64)
    check_times(t, rate_p)
    if t.size != 3:
        raise InputError(f"{t.size} time points were given, the three-point method wants three")
    d0, d1, d3 = (float(d) for d in np.asarray(decay_corrected, dtype=np.float64))
    if not (np.isfinite([d0, d1, d3]).all() and max(d1, d3) > 0):
        raise ValueError(f"three finite values, a late one of them positive, are wanted, got {[d0, d1, d3]}")
    t0, t1, t3 = t
    lowest = d3 * np.exp(-0.001 * (t1 - t3))
    if d1 < lowest:
        d1 = max(d1, d0 + (d3 - d0) * (t1 - t0) / (t3 - t0)) if d0 < d3 else lowest
    d3 = max(d3, 0.1 * d1)
    d0 = max(d0, 0.2 * d1)
    d0, d1 = (d0 * (1 + 1e-9) if d0 == d1 else d0), (d1 * (1 + 1e-9) if d1 == d3 else d1)
    if d3 > d1:
        k3 = -0.001
        a3 = d3 * np.exp(-k3 * t3)
        a2, k2 = _through(d1 - a3 * np.exp(k3 * t1), 0.01 * d3, t1, t3)
    else:
        k3 = min(np.log(d3 / d1) / (t3 - t1), -0.001)
        a3 = d1 * np.exp(-k3 * t1)
        a2, k2 = _through(d0 - a3 * np.exp(k3 * t0), 0.01 * d1, t0, t1)
    rest = -(a2 + a3)
    if rest > 0:
        a2, rest = -a3, 0.0
    return np.array([rest, a2, a3]), rate_p - np.array([-VRAK_UPTAKE_PER_H, k2, k3])


def _through(first: float, last: float, t_first: float, t_last: float) -> tuple[float, float]:
    """(A, k <= 0) of A e^(kt) through two values; a negative first value flips the sign of A."""
    size = max(abs(first), 1e-300)
    k = min(np.log(last / size) / (t_last - t_first), 0.0)
    return float(np.sign(first) * size * np.exp(-k * t_first)), float(k)
