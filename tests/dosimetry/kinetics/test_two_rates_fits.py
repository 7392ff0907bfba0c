"""Voxel fits with two rates: recovery, lmfit, coverage of intervals, and what happens where one rate is enough."""

import numpy as np
import pytest

from dosimetry.kinetics import FitStatus, fit_organ, fit_voxels
from dosimetry.kinetics.models import MODELS

LU177_H = 159.528
RATE_P = np.log(2) / LU177_H
TIMES = np.array([2.0, 6.0, 24.0, 72.0, 168.0])
TWO_RATES = ("bi", "f3", "f3a")


def curves(model, times_h, n, seed=0):
    """Noise-free voxels [n, times] of one model, and their TIA."""
    rng = np.random.default_rng(seed)
    slow = RATE_P + np.exp(rng.uniform(np.log(1e-3), np.log(2e-2), n))
    terms = rng.uniform(20, 200, (n, 2))
    if model == "f3":
        rates, terms = np.stack([slow, slow + rng.uniform(0.05, 0.5, n)], 1), terms[:, :1] * [1, -1]
    elif model == "f3a":
        rates = np.stack([slow + 0.01, np.full(n, RATE_P)], 1)
    else:
        rates = np.stack([slow, np.minimum(slow * rng.uniform(3, 10, n), 0.3)], 1)
    activity = (terms[:, None] * np.exp(-rates[:, None] * times_h[:, None])).sum(-1)
    return activity, (terms / rates).sum(-1)


@pytest.mark.parametrize("model", TWO_RATES)
@pytest.mark.parametrize("times_h", [TIMES[1:], TIMES, np.array([2.0, 6.0, 24.0, 48.0, 96.0, 168.0])])
def test_noise_free_voxels_are_recovered(model, times_h):
    activity, tia = curves(model, times_h, 3000)
    fit = fit_voxels(activity, times_h, LU177_H, model=model)
    assert (fit.status == MODELS[model].status).all()
    np.testing.assert_allclose(fit.tia, tia, rtol=1e-6)


@pytest.mark.parametrize("model", TWO_RATES)
@pytest.mark.parametrize("weighted", [False, True])
def test_agrees_with_lmfit(model, weighted):
    """Never a worse minimum than the best of lmfit's descents; the same TIA and uncertainty at the same one."""
    clean, _ = curves(model, TIMES, 40, seed=3)
    activity = clean * (1 + 0.05 * np.random.default_rng(4).normal(size=clean.shape))
    sigma = 0.05 * clean + 1.0
    fit = fit_voxels(activity, TIMES, LU177_H, model=model, sigma=sigma if weighted else None)
    same = 0
    for voxel, y in enumerate(activity):
        organ = fit_organ(TIMES, y, LU177_H, model=model, u_activity_mbq=sigma[voxel] if weighted else None)
        if fit.status[voxel] != MODELS[model].status or (organ.amplitudes_mbq == 0).any():
            continue
        if not weighted:
            assert 5 * fit.rmse[voxel] ** 2 < organ.chi2 * (1 + 1e-5)
            if 5 * fit.rmse[voxel] ** 2 < organ.chi2 * (1 - 1e-5):
                continue
        same += 1
        assert fit.tia[voxel] == pytest.approx(organ.tia_mbq_h, rel=1e-4)
        assert fit.u_tia[voxel] == pytest.approx(organ.u_tia_mbq_h, rel=1e-2)
        assert fit.teff_h[voxel] == pytest.approx(organ.teff_h, rel=1e-3)
        assert fit.before[voxel] == pytest.approx(organ.before_first_fraction, abs=1e-4)
        assert fit.extrapolated[voxel] == pytest.approx(organ.extrapolated_fraction, abs=1e-4)
    assert same > 30


@pytest.mark.parametrize("model", ["f3", "f3a", "bi"])
def test_intervals_cover_as_they_say(model):
    times_h = np.array([1.0, 4.0, 12.0, 24.0, 48.0, 96.0, 168.0, 240.0])
    clean, tia = curves(model, times_h, 4000, seed=6)
    sigma = 0.03 * clean
    activity = clean + sigma * np.random.default_rng(7).normal(size=clean.shape)
    fit = fit_voxels(activity, times_h, LU177_H, model=model, sigma=sigma)
    two = fit.status == MODELS[model].status
    assert two.mean() > 0.95
    assert 0.64 < (np.abs(fit.tia - tia) < fit.u_tia)[two].mean() < 0.72


def test_one_exponential_keeps_its_fit_and_status():
    """Where a second phase does not help, the result is that of the mono fit to the last bit."""
    rng = np.random.default_rng(1)
    activity = rng.uniform(20, 200, (300, 1)) * np.exp(-rng.uniform(0.005, 0.1, (300, 1)) * TIMES)
    activity[:100] *= 1 + 0.1 * rng.normal(size=(100, TIMES.size))
    mono = fit_voxels(activity, TIMES, LU177_H)
    for model in TWO_RATES:
        fit = fit_voxels(activity, TIMES, LU177_H, model=model)
        kept = fit.status != MODELS[model].status
        assert kept[100:].all()
        assert kept[:100].any()
        assert (fit.status[kept] == mono.status[kept]).all()
        np.testing.assert_array_equal(fit.tia[kept], mono.tia[kept])


def test_too_few_points_fall_back_and_no_freedom_leaves_no_error():
    activity, _ = curves("bi", TIMES, 3)
    activity[0, 1:3] = np.nan
    activity[1, 0] = np.nan
    fit = fit_voxels(activity, TIMES, LU177_H, model="bi")
    assert fit.status.tolist() == [FitStatus.MONO, FitStatus.BI, FitStatus.BI]
    assert np.isnan(fit.u_tia[1])
    assert np.isnan(fit.rmse[1])
    alone = fit_voxels(activity[1:2, 1:], TIMES[1:], LU177_H, model="bi")
    assert fit.tia[1] == pytest.approx(alone.tia[0], rel=1e-6)
    known = fit_voxels(activity, TIMES, LU177_H, model="bi", sigma=1.0)
    assert np.isfinite(known.u_tia).all()


@pytest.mark.parametrize("model", TWO_RATES)
def test_invariances_and_odd_voxels(model):
    clean, _ = curves(model, TIMES, 200, seed=8)
    activity = clean * (1 + 0.1 * np.random.default_rng(9).normal(size=clean.shape))
    odd = np.random.default_rng(2).normal(size=(400, 5))
    odd[::7] = np.abs(odd[::7])
    odd[::11] = 0.0
    odd[::13, 2] = np.nan
    odd[5] = [1, 2, 3, 4, 5]
    odd[6] = 3.0
    activity = np.concatenate([activity, odd])
    fit = fit_voxels(activity, TIMES, LU177_H, model=model)
    assert np.isfinite(fit.tia).all()
    assert (fit.tia >= 0).all()
    found = fit.tia > 0
    for share in (fit.before, fit.extrapolated):
        assert ((share[found] >= -1e-6) & (share[found] <= 1 + 1e-6)).all()
    np.testing.assert_allclose(fit_voxels(8 * activity, TIMES, LU177_H, model=model).tia, 8 * fit.tia, rtol=1e-5)
    columns = [3, 0, 4, 1, 2]
    np.testing.assert_array_equal(fit_voxels(activity[:, columns], TIMES[columns], LU177_H, model=model).tia, fit.tia)
    times_h = np.tile(TIMES, (600, 1))
    times_h[::3] += 0.25
    own = fit_voxels(activity, times_h, LU177_H, model=model)
    others = np.arange(600) % 3 > 0
    np.testing.assert_array_equal(own.tia[others], fit.tia[others])
