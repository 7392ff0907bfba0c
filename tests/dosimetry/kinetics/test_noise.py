"""The noise model: what was put in is found again, and intervals made with it cover."""

import numpy as np
import pytest

from dosimetry.kinetics import NoiseModel, estimate_noise, fit_voxels
from nufitdose.errors import InputError

LU177_H = 159.528
TIMES = np.array([4.0, 24.0, 72.0, 168.0])


def simulate(noise, n=8000, times_h=TIMES, seed=0):
    rng = np.random.default_rng(seed)
    teff_h, amplitude = rng.uniform(30, 90, n), rng.uniform(100, 1000, n)
    clean = amplitude[:, None] * 2.0 ** (-times_h / teff_h[:, None])
    return clean + noise.sigma(clean) * rng.normal(size=clean.shape), clean, amplitude * teff_h / np.log(2)


@pytest.mark.parametrize("noise", [NoiseModel(10.0, 0.0), NoiseModel(0.0, 2.0), NoiseModel(8.0, 1.5)])
@pytest.mark.parametrize("points", [3, 4])
def test_noise_is_found_again(noise, points):
    activity, clean, _ = simulate(noise, times_h=TIMES[:points])
    found = estimate_noise(activity, TIMES[:points], LU177_H)
    at = np.quantile(clean, [0.1, 0.5, 0.9])
    np.testing.assert_allclose(found.sigma(at), noise.sigma(at), rtol=0.08)


def test_intervals_from_the_estimated_noise_cover():
    activity, _, true = simulate(NoiseModel(8.0, 1.5), seed=3)
    noise = estimate_noise(activity, TIMES, LU177_H)
    first = fit_voxels(activity, TIMES, LU177_H)
    expected = first.amplitude[:, None] * 2.0 ** (-TIMES / first.teff_h[:, None])
    fit = fit_voxels(activity, TIMES, LU177_H, sigma=noise.sigma(expected))
    inside = np.abs(fit.tia - true) < fit.u_tia
    assert 0.64 < inside.mean() < 0.72


def test_missing_values_and_times_of_their_own_do_not_disturb():
    noise = NoiseModel(8.0, 1.5)
    activity, clean, _ = simulate(noise, seed=5)
    shifted, _, _ = simulate(noise, times_h=TIMES + 0.5, seed=6)
    activity[::3, 1] = np.nan
    times_h = np.concatenate([np.tile(TIMES, (8000, 1)), np.tile(TIMES + 0.5, (8000, 1))])
    found = estimate_noise(np.concatenate([activity, shifted]), times_h, LU177_H)
    at = np.quantile(clean, [0.1, 0.5, 0.9])
    np.testing.assert_allclose(found.sigma(at), noise.sigma(at), rtol=0.08)


def test_two_points_tell_nothing_of_noise():
    with pytest.raises(InputError, match="of more than 2 points"):
        estimate_noise(np.ones((100, 2)), TIMES[:2], LU177_H)
    with pytest.raises(InputError, match="too few voxels"):
        estimate_noise(np.ones((100, 3)), TIMES[:3], LU177_H)


@pytest.mark.parametrize("model", ["f3", "f3a", "bi"])
def test_noise_of_two_rates_is_not_their_misfit(model):
    """Residuals about the structure's own model give the noise back; those about one exponential give more."""
    t = np.array([2.0, 6.0, 24.0, 48.0, 96.0, 168.0])
    rates, terms = {
        "f3": ([0.012, 0.15], [1.0, -1.0]),
        "f3a": ([0.05, np.log(2) / LU177_H], [0.6, 0.6]),
        "bi": ([0.01, 0.1], [0.6, 0.6]),
    }[model]
    rng = np.random.default_rng(0)
    clean = rng.uniform(100, 1000, (6000, 1)) * (np.exp(-np.outer(t, rates)) @ terms)
    activity = clean + np.sqrt(8.0**2 + 1.5 * clean) * rng.normal(size=clean.shape)
    found = estimate_noise(activity, t, LU177_H, model=model)
    at = np.quantile(clean, [0.3, 0.5, 0.7])
    np.testing.assert_allclose(found.sigma(at), np.sqrt(64 + 1.5 * at), rtol=0.15)
    assert (estimate_noise(activity, t, LU177_H).sigma(at) > 1.1 * np.sqrt(64 + 1.5 * at)).all()
