"""Voxels that borrow from their structure: the spread is found again, intervals cover, errors shrink."""

import numpy as np
import pytest

from dosimetry.kinetics import FitStatus, RatePrior, ScanTimes, estimate_prior, fit_voxels, fit_voxels_guided
from dosimetry.kinetics.guided_two_rates import estimate_two_priors
from dosimetry.kinetics.models import MODELS
from nufitdose.errors import InputError

LU177_H = 159.528
RATE_P = np.log(2) / LU177_H
TIMES = np.array([4.0, 24.0, 72.0, 168.0])
FIVE = np.array([2.0, 6.0, 24.0, 72.0, 168.0])


def structure(n, spread, noise, seed=0, median_rate=0.01, times_h=TIMES):
    """Noisy curves of one structure, their σ, and the true TIA."""
    rng = np.random.default_rng(seed)
    rate = RATE_P + median_rate * np.exp(spread * rng.normal(size=n))
    amplitude = rng.uniform(50, 200, n)
    clean = amplitude[:, None] * np.exp(-rate[:, None] * times_h)
    sigma = np.broadcast_to(noise * 100 * np.exp(-(RATE_P + median_rate) * times_h), clean.shape)
    return clean + sigma * rng.normal(size=clean.shape), sigma, amplitude / rate


@pytest.mark.parametrize("noise", [0.05, 0.2, 0.4])
@pytest.mark.parametrize("guided", [False, True])
def test_intervals_cover_as_they_say(noise, guided):
    """68 % intervals hold the truth in 64-72 % of the voxels, with and without the structure's help."""
    activity, sigma, true = structure(8000, 0.3, noise)
    if guided:
        fit = fit_voxels_guided(activity, TIMES, LU177_H, sigma)
    else:
        fit = fit_voxels(activity, TIMES, LU177_H, sigma=sigma)
    found = np.isfinite(fit.u_tia)
    assert found.mean() > 0.98
    inside = np.abs(fit.tia - true)[found] < fit.u_tia[found]
    assert 0.64 < inside.mean() < 0.72


@pytest.mark.parametrize(("spread", "noise"), [(0.1, 0.05), (0.3, 0.1), (0.3, 0.3), (0.6, 0.1)])
def test_spread_of_the_structure_is_found(spread, noise):
    activity, sigma, _ = structure(4000, spread, noise, seed=2)
    prior = estimate_prior(activity, TIMES, LU177_H, sigma)
    assert prior.mean_ln_rate == pytest.approx(np.log(0.01), abs=0.03)
    assert prior.sd_ln_rate == pytest.approx(spread, rel=0.1)


def test_noisy_voxels_gain_and_bright_voxels_keep_their_own():
    def error(fit, true):
        return np.sqrt(np.mean((fit.tia / true - 1) ** 2))

    late = np.array([72.0, 96.0])  # two late scans: the free fit extrapolates far
    activity, sigma, true = structure(3000, 0.15, 0.2, seed=3, times_h=late)
    free = fit_voxels(activity, late, LU177_H, sigma=sigma)
    guided = fit_voxels_guided(activity, late, LU177_H, sigma)
    assert error(guided, true) < 0.6 * error(free, true)
    activity, sigma, true = structure(500, 0.4, 1e-4, seed=4)
    bright = fit_voxels_guided(activity, TIMES, LU177_H, sigma)
    assert (bright.status == FitStatus.MONO).all()
    np.testing.assert_array_equal(bright.tia, fit_voxels(activity, TIMES, LU177_H, sigma=sigma).tia)


def test_one_point_uses_the_rate_of_the_structure():
    activity = np.array([[np.nan, 50.0, np.nan, np.nan]])
    fit = fit_voxels_guided(activity, TIMES, LU177_H, 1.0, RatePrior(np.log(0.01), 0.01))
    rate = RATE_P + 0.01
    assert fit.status[0] == FitStatus.GUIDED
    assert fit.tia[0] == pytest.approx(50 * np.exp(rate * 24) / rate, rel=1e-3)
    assert fit.teff_h[0] == pytest.approx(np.log(2) / rate, rel=1e-3)


def test_posterior_against_quadrature():
    """Mean and deviation of TIA from a fine grid over rate and amplitude together."""
    activity, sigma, _ = structure(3, 0.3, 0.3, seed=7)
    prior = RatePrior(np.log(0.01), 0.3)
    fit = fit_voxels_guided(activity, TIMES, LU177_H, sigma, prior)
    z = np.linspace(-4, 4, 401)
    rate = RATE_P + np.exp(prior.mean_ln_rate + prior.sd_ln_rate * z)
    amplitude = np.linspace(-200, 600, 4001)
    for voxel in range(3):
        model = amplitude[:, None, None] * np.exp(-rate[:, None] * TIMES)
        log_p = -0.5 * (((activity[voxel] - model) / sigma[voxel]) ** 2).sum(-1) - 0.5 * z**2
        p = np.exp(log_p - log_p.max())
        tia = amplitude[:, None] / rate
        mean = (p * tia).sum() / p.sum()
        assert fit.tia[voxel] == pytest.approx(mean, rel=1e-3)
        assert fit.u_tia[voxel] == pytest.approx(np.sqrt((p * (tia - mean) ** 2).sum() / p.sum()), rel=5e-3)


def test_times_of_their_own_and_missing_ends():
    """Voxels of a late bed position are fitted with their own times; shares count from a voxel's own points."""
    activity, sigma, true = structure(3000, 0.3, 0.1, seed=8)
    late, sigma_late, true_late = structure(3000, 0.3, 0.1, seed=9, times_h=TIMES + 0.5)
    times_h = np.concatenate([np.tile(TIMES, (3000, 1)), np.tile(TIMES + 0.5, (3000, 1))])
    both = np.concatenate([activity, late])
    fit = fit_voxels_guided(both, times_h, LU177_H, np.concatenate([sigma, sigma_late]))
    prior = estimate_prior(both, times_h, LU177_H, np.concatenate([sigma, sigma_late]))
    assert prior.sd_ln_rate == pytest.approx(0.3, rel=0.1)
    truth = np.concatenate([true, true_late])
    assert 0.64 < (np.abs(fit.tia - truth) < fit.u_tia).mean() < 0.72
    alone = fit_voxels_guided(late, TIMES + 0.5, LU177_H, sigma_late, prior)
    np.testing.assert_array_equal(fit.tia[3000:], alone.tia)
    narrow = RatePrior(np.log(0.01), 0.01)
    rate = RATE_P + 0.01
    for missing, before, after in ((0, 24.0, 168.0), (3, 4.0, 72.0), (1, 4.0, 168.0)):
        y = 100 * np.exp(-rate * TIMES)[None]
        y[0, missing] = np.nan
        one = fit_voxels_guided(y, TIMES, LU177_H, 20.0, narrow)
        assert one.before[0] == pytest.approx(1 - np.exp(-rate * before), rel=2e-3)
        assert one.extrapolated[0] == pytest.approx(np.exp(-rate * after), rel=2e-3)


def test_dark_voxels_do_not_pull_the_rate():
    """Most voxels of no structure hold little more than noise; the mean rate is that of the others."""
    activity, sigma, _ = structure(6000, 0.5, 0.1, seed=11)
    activity[:5000] = sigma[:5000] * np.random.default_rng(12).normal(size=(5000, 4))
    prior = estimate_prior(activity, TIMES, LU177_H, sigma)
    assert prior.mean_ln_rate == pytest.approx(np.log(0.01), abs=0.15)


def test_odd_voxels_have_a_status():
    activity = np.array([[np.nan] * 4, [0.0] * 4, [-1.0, -2.0, -1.0, -3.0], [1e3, 900.0, 700.0, 400.0]])
    fit = fit_voxels_guided(activity, TIMES, LU177_H, 30.0, RatePrior(np.log(0.003), 0.5))
    assert fit.status.tolist() == [FitStatus.NOTHING, FitStatus.NOTHING, FitStatus.NOT_POSITIVE, FitStatus.GUIDED]
    assert np.isfinite(fit.tia).all()


def test_no_rate_without_two_points():
    with pytest.raises(InputError, match="two measured values"):
        estimate_prior(np.array([[1.0, np.nan]]), [4.0, 24.0], LU177_H, 1.0)
    with pytest.raises(ValueError, match="positive deviation"):
        RatePrior(0.0, 0.0)


def structure_of_two_rates(model, noise, n=4000, seed=0):
    """Noisy curves whose ln λ_bio scatter by 0.3 each, their σ, the true TIA, and the means of ln λ_bio."""
    rng = np.random.default_rng(seed)
    means = {"f3": (0.008, 0.25), "bi": (0.008, 0.1), "f3a": (0.03,)}[model]
    rates = RATE_P + np.array(means) * np.exp(0.3 * rng.normal(size=(n, len(means))))
    terms = rng.uniform(50, 200, (n, 2))
    if model == "f3":
        terms = terms[:, :1] * [1, -1]
    elif model == "f3a":
        rates = np.column_stack([rates, np.full(n, RATE_P)])
    clean = (terms[:, None] * np.exp(-rates[:, None] * FIVE[:, None])).sum(-1)
    sigma = np.broadcast_to(noise * clean.mean(axis=0), clean.shape)
    return clean + sigma * rng.normal(size=clean.shape), sigma, (terms / rates).sum(axis=1), np.log(means)


@pytest.mark.parametrize("noise", [0.03, 0.1, 0.2])
@pytest.mark.parametrize("model", ["f3", "f3a", "bi"])
def test_two_rates_guided_cover_and_err_less(model, noise):
    """68 % intervals hold the truth in 64-72 % of voxels, and no more error than without the structure's help."""
    activity, sigma, true, means = structure_of_two_rates(model, noise)
    guided = fit_voxels_guided(activity, FIVE, LU177_H, sigma, model=model)
    free = fit_voxels(activity, FIVE, LU177_H, model=model, sigma=sigma)
    assert (guided.status == FitStatus.GUIDED_TWO_RATES).mean() > 0.98
    assert 0.64 < (np.abs(guided.tia - true) < guided.u_tia).mean() < 0.72
    error, error_free = (np.sqrt(np.mean((fit.tia / true - 1) ** 2)) for fit in (guided, free))
    assert error < error_free * (0.95 if noise > 0.1 else 1.01)
    assert abs(np.mean(guided.tia / true - 1)) < 0.02
    if noise < 0.1:
        found = estimate_two_priors(activity, ScanTimes.of(FIVE, *activity.shape), LU177_H, sigma, MODELS[model])
        assert [prior.mean_ln_rate for prior in found] == pytest.approx(means, abs=0.15)
        assert found[0].sd_ln_rate == pytest.approx(0.3, rel=0.15)


@pytest.mark.parametrize("model", ["f3", "f3a", "bi"])
def test_two_rates_guided_at_the_ends_of_the_prior(model):
    """A prior of no strength changes nothing; one of all strength holds the rates, and u(TIA) is of amplitudes."""
    activity, sigma, _, means = structure_of_two_rates(model, 0.03, n=300)
    free = fit_voxels(activity, FIVE, LU177_H, model=model, sigma=sigma)
    loose = fit_voxels_guided(activity, FIVE, LU177_H, sigma, [RatePrior(m, 1e3) for m in means], model)
    inside = (free.status == MODELS[model].status) & (loose.status == FitStatus.GUIDED_TWO_RATES)
    inside &= (free.teff_h < 0.99 * LU177_H) | (model == "f3a")  # off the bound, where ln λ_bio ends
    assert inside.mean() > 0.95
    np.testing.assert_allclose(loose.tia[inside], free.tia[inside], rtol=1e-4)
    held = fit_voxels_guided(activity, FIVE, LU177_H, sigma, [RatePrior(m, 1e-4) for m in means], model)
    rates = RATE_P + np.append(np.exp(means), [0.0] * (2 - len(means)))
    shapes = np.exp(-np.outer(FIVE, rates)) @ MODELS[model].matrix.T / sigma[0][:, None]
    weights = MODELS[model].matrix @ (1 / rates)
    best = np.linalg.lstsq(shapes, (activity / sigma).T)[0]
    positive = (best > 0).all(axis=0)
    np.testing.assert_allclose(held.tia[positive], (weights @ best)[positive], rtol=1e-3)
    u = np.sqrt(weights @ np.linalg.inv(shapes.T @ shapes) @ weights)
    np.testing.assert_allclose(held.u_tia[positive], u, rtol=1e-3)


def test_voxel_of_two_rates_with_one_point_takes_the_slow_rate():
    activity, sigma, _, means = structure_of_two_rates("f3", 0.03, n=80)
    activity[7, :3], activity[7, 4] = np.nan, np.nan
    fit = fit_voxels_guided(activity, FIVE, LU177_H, sigma, [RatePrior(m, 0.01) for m in means], "f3")
    rate = RATE_P + np.exp(means[0])
    assert fit.status[7] == FitStatus.GUIDED
    assert fit.tia[7] == pytest.approx(activity[7, 3] * np.exp(rate * 72) / rate, rel=2e-3)


def test_two_rates_that_cannot_be_told_are_refused():
    with pytest.raises(InputError, match="measured values that bi"):
        fit_voxels_guided(np.ones((60, 3)), FIVE[:3], LU177_H, 1.0, model="bi")
    with pytest.raises(InputError, match="stands out of its noise"):
        fit_voxels_guided(np.zeros((60, 5)), FIVE, LU177_H, 1.0, model="bi")


@pytest.mark.parametrize("prior", [RatePrior(np.log(0.2), 1.1), RatePrior(np.log(50.0), 1.0)])
def test_a_wide_prior_does_not_let_a_curve_grow_without_end_before_the_first_scan(prior):
    """From the first point back to administration a curve grows 32-fold at most, as in free fits."""
    activity, sigma, true = structure(2000, 1.1, 0.3, median_rate=0.2, times_h=FIVE)
    fit = fit_voxels_guided(activity, FIVE, LU177_H, sigma, prior)
    fastest = RATE_P + np.log(2) * 5.0 / FIVE[0]
    most = np.nanmax(activity) * np.exp(fastest * FIVE[0]) / RATE_P
    assert np.nanmax(fit.tia) < most
    own = fit_voxels_guided(activity, FIVE, LU177_H, sigma)
    assert 0.5 < np.nansum(own.tia) / true.sum() < 2.0
