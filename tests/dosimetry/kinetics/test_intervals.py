"""Intervals and quality of organ fits: profiles against brute force, coverage, fall-backs, and what raises a flag."""

import numpy as np
import pytest
from scipy import stats

from dosimetry.kinetics import FitStatus, IntervalMethod, bootstrap, choose_model, fit_organ
from dosimetry.kinetics.organ_quality import chance_of_runs
from nufitdose.errors import InputError

LU177_H = 159.528
RATE_P = np.log(2) / LU177_H
TIMES = np.array([4.0, 24.0, 72.0, 168.0])
EIGHT = np.array([1.0, 4.0, 12.0, 24.0, 48.0, 96.0, 168.0, 240.0])


def noisy_mono(relative, seed=0):
    clean = 100 * np.exp(-(RATE_P + 0.01) * TIMES)
    return clean * (1 + relative * np.random.default_rng(seed).normal(size=4)), relative * clean


@pytest.mark.parametrize("known", [True, False])
def test_profile_is_where_the_sum_of_squares_says(known):
    """χ² on a fine grid of rates, the amplitude from Ã or free: its rise to the quantile marks the same limits."""
    y, u = noisy_mono(0.1)
    fit = fit_organ(TIMES, y, LU177_H, u_activity_mbq=u if known else None, intervals=True)
    w = u**-2.0 if known else np.ones(4)
    rise = stats.chi2.ppf(0.95, 1) if known else stats.f.ppf(0.95, 1, 2) * fit.chi2 / 2
    rates = np.linspace(RATE_P, 0.06, 40_001)
    e = np.exp(-np.outer(rates, TIMES))
    free = (w * y**2).sum() - (e @ (w * y)) ** 2 / (e**2 @ w)
    inside = rates[free < fit.chi2 + rise]
    intervals = fit.intervals
    assert intervals.method is IntervalMethod.PROFILE
    assert intervals.parameters["lambda1"] == pytest.approx((inside.min(), inside.max()), rel=2e-3)
    assert intervals.teff_h == pytest.approx((np.log(2) / inside.max(), np.log(2) / inside.min()), rel=2e-3)
    for limit, side in zip(intervals.tia_mbq_h, (-1, 1), strict=True):
        misfit = np.array([(w * (y - limit * step * rates[:, None] * e) ** 2).sum(1).min() for step in (0.99, 1, 1.01)])
        assert misfit[1] == pytest.approx(fit.chi2 + rise, rel=5e-3)
        assert side * (misfit[2] - misfit[0]) > 0


def test_profile_and_covariance_agree_where_noise_is_small():
    y, u = noisy_mono(0.005)
    fit = fit_organ(TIMES, y, LU177_H, u_activity_mbq=u, intervals=True)
    low, high = fit.intervals.tia_mbq_h
    assert high - low == pytest.approx(2 * 1.96 * fit.u_tia_mbq_h, rel=0.02)
    v = fit.covariance
    assert fit.correlation[0, 1] == pytest.approx(v[0, 1] / np.sqrt(v[0, 0] * v[1, 1]))


@pytest.mark.parametrize("model", ["mono", "f3", "f3a", "bi"])
def test_bootstrap_agrees_with_covariance_and_profile(model):
    """Small noise: refitted draws scatter as u(TIA) and u(T_eff) say, and their middle 95 % is the profile interval."""
    rates = {"mono": [0.0145], "f3": [0.0145, 0.3], "f3a": [RATE_P, 0.05], "bi": [0.012, 0.11]}[model]
    amplitudes = {"mono": [100], "f3": [100, -100], "f3a": [30, 70], "bi": [80, 40]}[model]
    clean = np.exp(-np.outer(EIGHT, rates)) @ amplitudes
    fit = fit_organ(EIGHT, clean, LU177_H, u_activity_mbq=0.01 * clean, model=model, intervals=True)
    found = bootstrap(fit, LU177_H, 0.01 * clean)
    assert found.u_tia_mbq_h == pytest.approx(fit.u_tia_mbq_h, rel=0.05)
    assert found.tia_mbq_h == pytest.approx(fit.intervals.tia_mbq_h, rel=0.005)
    if model != "f3a":
        assert found.u_teff_h == pytest.approx(fit.u_teff_h, rel=0.07)
    with pytest.raises(InputError, match="without activity"):
        bootstrap(fit_organ(EIGHT, np.zeros(8), LU177_H), LU177_H, 1.0)


@pytest.mark.parametrize("model", ["f3", "f3a", "bi", "tri"])
def test_intervals_of_every_model_hold_their_fit(model):
    rates = {"f3": [0.0145, 0.3], "f3a": [RATE_P, 0.05], "bi": [0.012, 0.11], "tri": [0.01, 0.06, 0.7]}[model]
    amplitudes = {"f3": [100, -100], "f3a": [30, 70], "bi": [80, 40], "tri": [60, 40, -100]}[model]
    clean = np.exp(-np.outer(EIGHT, rates)) @ amplitudes
    fit = fit_organ(EIGHT, clean, LU177_H, u_activity_mbq=0.02 * clean, model=model, intervals=True)
    assert fit.intervals.method is IntervalMethod.PROFILE
    assert fit.intervals.tia_mbq_h[0] < fit.tia_mbq_h < fit.intervals.tia_mbq_h[1]
    for low, high in fit.intervals.parameters.values():
        assert not high < low
    assert fit.intervals.teff_h[0] <= fit.teff_h * (1 + 1e-9)
    assert fit.intervals.teff_h[1] <= LU177_H * (1 + 1e-9)
    assert (fit.u_teff_h == 0) == (model == "f3a")  # its last phase decays physically


def test_fall_backs_have_a_method_not_an_exception():
    exact = fit_organ(TIMES[:2], [10.0, 4.0], LU177_H, intervals=True)
    assert exact.intervals.method is IntervalMethod.NONE
    assert np.isnan(exact.intervals.tia_mbq_h).all()
    held = fit_organ(TIMES[:3], [10.0, 9.4, 8.0], LU177_H, u_activity_mbq=0.5, intervals=True)
    assert held.status is FitStatus.MONO_AT_PHYSICAL
    assert held.intervals.method is IntervalMethod.COVARIANCE
    assert held.intervals.teff_h == pytest.approx((LU177_H, LU177_H))
    assert fit_organ(TIMES, [1.0, 2.0, 3.0, 4.0], LU177_H, intervals=True).intervals is None
    assert fit_organ(TIMES, [10.0, 7.0, 3.0, 1.0], LU177_H).intervals is None


def test_side_that_a_bound_closes_is_the_bound():
    fit = fit_organ(TIMES[:3], [10.0, 8.8, 6.6], LU177_H, u_activity_mbq=0.8, intervals=True)
    assert fit.status is FitStatus.MONO
    assert fit.intervals.teff_h[1] == pytest.approx(LU177_H)


def test_best_model_comes_with_intervals():
    clean = 60 * np.exp(-0.008 * EIGHT) + 60 * np.exp(-0.09 * EIGHT)
    choice = choose_model(EIGHT, clean, LU177_H, u_activity_mbq=0.02 * clean, intervals=True)
    assert choice.best == "bi"
    assert choice.fit.intervals.method is IntervalMethod.PROFILE
    assert choice.fits["mono"].intervals is None


def test_wrong_curve_raises_flags():
    clean = 60 * np.exp(-0.008 * EIGHT) + 60 * np.exp(-0.09 * EIGHT)
    wrong = fit_organ(EIGHT, clean, LU177_H, u_activity_mbq=0.02 * clean)
    assert any("scatter" in flag for flag in wrong.flags)
    right = fit_organ(EIGHT, clean * (1 + 0.02 * np.array([1, -1, 1, 1, -1, 1, -1, 1])), LU177_H, model="bi")
    assert right.r_squared > 0.99
    assert not any("R²" in flag or "pattern" in flag or "scatter" in flag for flag in right.flags)
    t = np.linspace(2, 240, 16)
    bent = fit_organ(t, 60 * np.exp(-0.008 * t) + 60 * np.exp(-0.09 * t), LU177_H)
    assert any("pattern" in flag for flag in bent.flags)
    scattered = fit_organ(TIMES, [10.0, 2.0, 9.0, 1.0], LU177_H)
    assert any("R²" in flag for flag in scattered.flags)


def test_chance_of_runs_against_all_orders():
    """Six residuals, three of each sign: of the 20 orders 2 have two runs, 6 at most three."""
    assert chance_of_runs(np.array([1, 1, 1, -1, -1, -1.0])) == pytest.approx(2 / 20)
    assert chance_of_runs(np.array([1, 1, -1, -1, -1, 1.0])) == pytest.approx(6 / 20)
    assert chance_of_runs(np.array([1, -1, 1, -1, 1, -1.0])) == pytest.approx(1.0)
