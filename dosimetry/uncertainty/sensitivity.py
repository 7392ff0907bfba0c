"""How much of a structure's integral hangs on each of its points: d ln Ã / d ln A_i."""

import numpy as np

from dosimetry.curves.structures import StructureCurve
from dosimetry.kinetics import fit_organ
from dosimetry.kinetics.models import MODELS
from nufitdose.types import F64

_STEP = 0.01


def sensitivities(curve: StructureCurve, half_life_h: float) -> F64:
    """[scans], 0 where a scan did not see the structure; they add to 1, as Ã scales with the activities.

    Of an average over models by its draws: d⟨Ã⟩/dA_i = cov(Ã, f(t_i))/u_i². Of a fitted model by fitting again with the
    point moved by 1 %. Of a rule by what lies nearest to each point.
    """
    known = np.isfinite(curve.activity_mbq)
    found = np.zeros(curve.times_h.size)
    if not curve.tia_mbq_h > 0:
        return found
    if known.sum() == 1:
        found[known] = 1.0
    elif curve.average is not None:
        found[known] = _of_average(curve)
    elif curve.fit.model in MODELS and not curve.fit.rising_share:
        found[known] = _of_fit(curve, known, half_life_h)
    else:
        found[known] = _of_rule(curve, known)
    total = found.sum()
    return found / total if total > 0 else found


def _of_average(curve: StructureCurve) -> F64:
    assert curve.average is not None
    average = curve.average
    drawn = average.curves.activity(average.times_h)
    tia = average.curves.tia_mbq_h
    covariance = ((tia - tia.mean())[:, None] * (drawn - drawn.mean(axis=0))).mean(axis=0)
    by_time = covariance / average.u_activity_mbq**2 * average.activity_mbq / tia.mean()
    order = np.argsort(np.argsort(curve.times_h[np.isfinite(curve.activity_mbq)]))
    return np.asarray(by_time[order])


def _of_fit(curve: StructureCurve, known: np.ndarray, half_life_h: float) -> F64:
    times_h, activity = curve.times_h[known], curve.activity_mbq[known]
    u = curve.u_activity_mbq[known]
    given = u if np.isfinite(u).all() else None
    found = np.empty(times_h.size)
    for number in range(times_h.size):
        sides = []
        for sign in (1.0, -1.0):
            moved = activity.copy()
            moved[number] *= 1.0 + sign * _STEP
            fit = fit_organ(times_h, moved, half_life_h, u_activity_mbq=given, model=curve.fit.model)
            sides.append(fit.tia_mbq_h)
        found[number] = (sides[0] - sides[1]) / (2.0 * _STEP * curve.fit.tia_mbq_h)
    return found


def _of_rule(curve: StructureCurve, known: np.ndarray) -> F64:
    """Shares of Ã between the middles of the gaps; the last point holds the tail."""
    times_h, activity = curve.times_h[known], np.maximum(curve.activity_mbq[known], 0.0)
    order = np.argsort(times_h)
    middles = 0.5 * (times_h[order][1:] + times_h[order][:-1])
    widths = np.diff(np.concatenate([[0.0], middles, times_h[order][-1:]]))
    shares = activity[order] * widths
    shares[-1] += (
        curve.fit.extrapolated_fraction * curve.tia_mbq_h if np.isfinite(curve.fit.extrapolated_fraction) else 0
    )
    found = np.empty(times_h.size)
    found[order] = shares
    return found
