"""The model of every voxel by AICc: the organ's choice voxel by voxel, and no voxel moved by what it cannot tell."""

import numpy as np
import pytest

from dosimetry.kinetics import FitStatus, choose_model, fit_voxels
from dosimetry.kinetics.models import MODELS

LU177_H = 159.528
RATE_P = np.log(2) / LU177_H
TIMES = np.array([1.0, 4.0, 12.0, 24.0, 48.0, 96.0, 168.0, 240.0])
RATES = {"mono": [0.0145], "f3": [0.0145, 0.3], "f3a": [0.09, RATE_P], "bi": [0.008, 0.09]}
TERMS = {"mono": [100], "f3": [100, -100], "f3a": [60, 60], "bi": [60, 60]}


def voxels(model, n, noise, seed=0, times_h=TIMES):
    clean = np.exp(-np.outer(times_h, RATES[model])) @ TERMS[model]
    sigma = noise * clean
    return clean + sigma * np.random.default_rng(seed).normal(size=(n, times_h.size)), sigma


@pytest.mark.parametrize("known", [True, False])
def test_voxels_and_organs_choose_alike(known):
    """`choose_model`, by lmfit, of each voxel's values has the same best model and the same integral."""
    same = 0
    for model in RATES:
        activity, sigma = voxels(model, 6, 0.03, seed=3)
        fit = fit_voxels(activity, TIMES, LU177_H, "aicc", sigma if known else None)
        for voxel, y in enumerate(activity):
            choice = choose_model(
                TIMES, y, LU177_H, u_activity_mbq=sigma if known else None, models=("mono", "f3", "f3a", "bi")
            )
            ranked = sorted(choice.weights.values())
            if ranked[-1] < 1.1 * ranked[-2] or choice.fit.status not in {m.status for m in MODELS.values()}:
                continue  # no choice to speak of: two models describe the voxel alike
            same += 1
            assert fit.status[voxel] == choice.fit.status
            assert fit.tia[voxel] == pytest.approx(choice.fit.tia_mbq_h, rel=1e-3)
    assert same > 14


@pytest.mark.parametrize("model", ["mono", "f3", "bi"])
def test_finds_the_curve_that_made_the_voxels(model):
    activity, sigma = voxels(model, 2000, 0.02)
    fit = fit_voxels(activity, TIMES, LU177_H, "aicc", sigma)
    assert (fit.status == MODELS[model].status).mean() > 0.8
    true = np.sum(np.array(TERMS[model]) / RATES[model])
    assert np.median(fit.tia) == pytest.approx(true, rel=0.01)


def test_points_that_can_compare_nothing_leave_mono():
    few = TIMES[[1, 3, 5, 6]]
    activity, sigma = voxels("bi", 200, 0.05, times_h=few)
    mono = fit_voxels(activity, few, LU177_H, "mono", sigma)
    chosen = fit_voxels(activity, few, LU177_H, "aicc", sigma)
    np.testing.assert_array_equal(chosen.tia, mono.tia)
    activity, sigma = voxels("bi", 200, 0.05)
    activity[:100, 4:] = np.nan
    chosen = fit_voxels(activity, TIMES, LU177_H, "aicc", sigma)
    assert not np.isin(chosen.status[:100], [FitStatus.BI, FitStatus.UPTAKE_CLEARANCE]).any()
    assert (chosen.status[100:] == FitStatus.BI).any()


def test_odd_voxels_keep_their_status():
    odd = np.array([[np.nan] * 8, [0.0] * 8, [-1.0] * 8, [1.0, 2, 3, 4, 5, 6, 7, 8], [3.0] * 8])
    mono, chosen = (fit_voxels(odd, TIMES, LU177_H, model) for model in ("mono", "aicc"))
    assert chosen.status[:3].tolist() == mono.status[:3].tolist()
    assert np.isfinite(chosen.tia).all()
    assert fit_voxels(odd[:0], TIMES, LU177_H, "aicc").tia.size == 0
