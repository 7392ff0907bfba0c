"""Voxels fitted structure by structure: each by its own noise, prior and model, and totals kept on request."""

import numpy as np
import pytest

from dosimetry.kinetics import FitStatus, estimate_noise, fit_by_structure, fit_voxels, preserve_total
from nufitdose.errors import InputError

LU177_H = 159.528
RATE_P = np.log(2) / LU177_H
TIMES = np.array([2.0, 8.0, 24.0, 72.0, 168.0])


def body(seed=0):
    """Two structures of different rate and spread, 20 voxels of a third, the rest without structure."""
    rng = np.random.default_rng(seed)
    structure = np.repeat([0, 1, 2, 3], [12_000, 3000, 3000, 20])
    median = np.array([0.02, 0.01, 0.03, 0.02])[structure]
    rate = RATE_P + median * np.exp(np.array([0.6, 0.2, 0.3, 0.2])[structure] * rng.normal(size=structure.size))
    amplitude = np.where(structure == 0, 20, 100) * rng.uniform(0.5, 1.5, structure.size)
    clean = amplitude[:, None] * np.exp(-rate[:, None] * TIMES)
    sigma = np.sqrt(2.0**2 + 0.5 * clean)
    return structure, (clean + sigma * rng.normal(size=clean.shape)).astype(np.float32), sigma, amplitude / rate


def test_every_structure_gets_its_own_noise_and_prior():
    structure, activity, sigma, true = body()
    for given in (None, sigma):
        found = fit_by_structure(activity, TIMES, LU177_H, structure, given)
        assert found.priors[1].mean_ln_rate == pytest.approx(np.log(0.01), abs=0.05)
        assert found.priors[2].mean_ln_rate == pytest.approx(np.log(0.03), abs=0.05)
        assert found.priors[1].sd_ln_rate == pytest.approx(0.2, rel=0.15)
        assert 3 not in found.priors
        for label in (0, 1, 2):
            here = structure == label
            inside = np.abs(found.fit.tia - true)[here] < found.fit.u_tia[here]
            assert (0.60 if label == 0 else 0.64) < inside.mean() < 0.72
            assert found.fit.tia[here].sum() == pytest.approx(true[here].sum(), rel=0.06)
    assert found.noise == {}


def test_order_of_voxels_does_not_matter_to_their_structure():
    """The labels decide, not where voxels lie; a structure keeps its estimate wherever its voxels are."""
    structure, activity, sigma, _ = body(1)
    whole = fit_by_structure(activity, TIMES, LU177_H, structure, sigma)
    shift = np.roll(np.arange(structure.size), 5000)
    moved = fit_by_structure(activity[shift], TIMES, LU177_H, structure[shift], sigma[shift])
    for label in (1, 2):
        here = structure[shift] == label
        np.testing.assert_allclose(moved.fit.tia[here], whole.fit.tia[shift][here], rtol=0.02)


def test_model_of_a_structure():
    structure, activity, sigma, _ = body(2)
    slow, fast = RATE_P + 0.004, RATE_P + 0.1
    here = structure == 1
    activity[here] = (80 * np.exp(-slow * TIMES) + 60 * np.exp(-fast * TIMES)).astype(np.float32)
    found = fit_by_structure(activity, TIMES, LU177_H, structure, sigma, models={1: "bi"})
    assert (found.fit.status[here] == FitStatus.GUIDED_TWO_RATES).all()
    np.testing.assert_allclose(found.fit.tia[here], 80 / slow + 60 / fast, rtol=5e-3)
    assert [p.mean_ln_rate for p in found.two_rate_priors[1]] == pytest.approx(np.log([0.004, 0.1]), abs=0.3)
    assert found.models == {0: "mono", 1: "bi", 2: "mono", 3: "mono"}
    assert 1 not in found.priors
    assert (found.fit.status[structure == 2] == FitStatus.GUIDED).mean() > 0.5


def test_one_and_two_points():
    """Without noise to go by, voxels are fitted on their own; one point decays physically."""
    structure, activity, sigma, _ = body(3)
    for points in (1, 2):
        found = fit_by_structure(activity[:, :points], TIMES[:points], LU177_H, structure)
        np.testing.assert_array_equal(found.fit.tia, fit_voxels(activity[:, :points], TIMES[:points], LU177_H).tia)
        assert not found.noise
        assert not found.priors
    guided = fit_by_structure(activity[:, 1:3], TIMES[1:3], LU177_H, structure, sigma[:, 1:3])
    assert (guided.fit.status[structure == 1] == FitStatus.GUIDED).mean() > 0.9


def test_missing_values_and_times_of_their_own():
    structure, activity, _, true = body(4)
    activity[::5, 0] = np.nan
    times_h = np.tile(TIMES, (structure.size, 1))
    found = fit_by_structure(activity, times_h, LU177_H, structure)
    plain = fit_by_structure(activity, TIMES, LU177_H, structure)
    np.testing.assert_allclose(found.fit.tia, plain.fit.tia, rtol=1e-3)
    here = structure == 1
    assert 0.64 < (np.abs(found.fit.tia - true)[here] < found.fit.u_tia[here]).mean() < 0.72
    assert found.noise[1].sigma(50.0) == pytest.approx(np.sqrt(4 + 25), rel=0.08)
    assert found.noise[1] == estimate_noise(activity[here], TIMES, LU177_H)


def test_total_of_the_structure_is_kept():
    structure, activity, sigma, _ = body(5)
    fit = fit_voxels(activity[structure == 1], TIMES, LU177_H, sigma=sigma[structure == 1])
    share = np.random.default_rng(0).uniform(0.1, 1.0, fit.tia.size)
    kept = preserve_total(fit, 5e5, share)
    assert (share * kept.tia).sum() == pytest.approx(5e5, rel=1e-6)
    np.testing.assert_allclose(kept.u_tia / kept.tia, fit.u_tia / fit.tia, rtol=1e-5)
    np.testing.assert_array_equal(kept.teff_h, fit.teff_h)
    with pytest.raises(InputError, match="cannot be scaled"):
        preserve_total(fit, 0.0)


def test_structure_that_rises_first_is_not_harmed():
    """One exponential does not guide voxels that rise first; its own model does, and errs less than free fits."""
    rng = np.random.default_rng(6)
    slow, fast = (RATE_P + m * np.exp(0.3 * rng.normal(size=(3000, 1))) for m in (0.006, 0.12))
    amplitude = 100 * rng.lognormal(0, 0.5, (3000, 1))
    clean, true = amplitude * (np.exp(-slow * TIMES) - np.exp(-fast * TIMES)), amplitude * (1 / slow - 1 / fast)
    activity = clean + 0.3 * np.sqrt(clean * clean.mean()) * rng.normal(size=clean.shape)
    label = np.ones(3000, int)
    one = fit_by_structure(activity, TIMES, LU177_H, label)
    np.testing.assert_array_equal(one.fit.tia, fit_voxels(activity, TIMES, LU177_H).tia)
    assert not one.priors
    free, own = (
        fit_voxels(activity, TIMES, LU177_H, "f3"),
        fit_by_structure(activity, TIMES, LU177_H, label, models={1: "f3"}),
    )
    error, error_free = (np.sqrt(np.mean((fit.tia / true[:, 0] - 1) ** 2)) for fit in (own.fit, free))
    assert error < 0.8 * error_free
    assert own.fit.tia.sum() == pytest.approx(true.sum(), rel=0.03)


def test_scan_that_sees_nothing_of_a_structure():
    """A time without a value in any voxel of a structure is left out, for one rate and for two."""
    structure, activity, _, _ = body(7)
    activity[structure == 1, 4] = np.nan
    for model in ("mono", "f3a"):
        found = fit_by_structure(activity, TIMES, LU177_H, structure, models={1: model})
        assert np.isfinite(found.fit.tia).all()
        assert (found.fit.tia[structure == 1] > 0).mean() > 0.99


def test_labels_must_fit():
    with pytest.raises(ValueError, match="structure labels"):
        fit_by_structure(np.ones((3, 2)), [1.0, 2.0], 10.0, np.zeros(4, int))
