"""Voxels seen at times of their own: the same answer as a fit by themselves, whatever form the times come in."""

import lmfit
import numpy as np
import pytest

from dosimetry.kinetics import (
    FitStatus,
    RatePrior,
    ScanTimes,
    estimate_noise,
    fit_by_structure,
    fit_voxels,
    fit_voxels_guided,
)
from nufitdose.errors import InputError

LU177_H = 159.528
RATE_P = np.log(2) / LU177_H
TIMES = np.array([4.0, 24.0, 72.0, 168.0])
PRIOR = RatePrior(np.log(0.01), 0.3)


def beds(n, seed=0):
    """Noisy voxels of three bed positions that each scan visited in turn; the third scan moved once between."""
    rng = np.random.default_rng(seed)
    bed = rng.integers(0, 3, n)
    scans = [4.0 + 0.3 * bed, 24.0, 72.0 + 0.3 * (bed > 1), 168.0 + 0.25 * bed]
    times_h = np.stack([np.broadcast_to(scan, n) for scan in scans], axis=1)
    rate = RATE_P + 0.01 * np.exp(0.3 * rng.normal(size=n))
    clean = rng.uniform(50, 200, (n, 1)) * np.exp(-rate[:, None] * times_h)
    return clean + 2.0 * rng.normal(size=clean.shape), times_h, scans


@pytest.mark.parametrize("model", ["mono", "bi", "f3", "f3a", "guided"])
def test_voxel_with_its_own_times_is_fitted_as_if_alone(model):
    def fit(activity, times_h):
        if model == "guided":
            return fit_voxels_guided(activity, times_h, LU177_H, 2.0, PRIOR)
        return fit_voxels(activity, times_h, LU177_H, model=model, sigma=2.0)

    activity, times_h, _ = beds(60)
    times_h = times_h + np.random.default_rng(1).uniform(-0.2, 0.2, times_h.shape)  # no two voxels alike
    activity[::7, 2] = np.nan
    together = fit(activity, times_h)
    for voxel in range(60):
        alone = fit(activity[[voxel]], times_h[voxel])
        for mine, theirs in zip(vars(together).values(), vars(alone).values(), strict=True):
            np.testing.assert_array_equal(mine[voxel], theirs[0])


def test_agrees_with_lmfit():
    activity, times_h, _ = beds(40, seed=3)
    fit = fit_voxels(activity, times_h, LU177_H, sigma=2.0)
    for voxel, (y, t) in enumerate(zip(activity, times_h, strict=True)):
        parameters = lmfit.Parameters()
        parameters.add("a", value=y.max(), min=0)
        parameters.add("rate", value=0.02, min=RATE_P)
        result = lmfit.minimize(lambda p, y=y, t=t: (y - p["a"] * np.exp(-p["rate"] * t)) / 2.0, parameters)
        assert fit.tia[voxel] == pytest.approx(result.params["a"] / result.params["rate"], rel=1e-4)


def test_forms_of_the_times_are_one():
    """By voxel, by scan, and as rows that voxels share: one grouping, few rows, the times that went in."""
    activity, times_h, scans = beds(2000)
    by_scan = ScanTimes.from_scans(scans)
    assert by_scan.rows_h.shape == (3, 4)
    np.testing.assert_array_equal(by_scan.expanded(), times_h)
    np.testing.assert_array_equal(by_scan.part(np.arange(5, 9)).expanded(), times_h[5:9])
    np.testing.assert_array_equal(
        fit_voxels(activity, by_scan, LU177_H).tia, fit_voxels(activity, times_h, LU177_H).tia
    )
    assert ScanTimes.from_scans(TIMES.tolist()).row is None
    structure = np.repeat([1, 2], 1000)
    np.testing.assert_array_equal(
        fit_by_structure(activity, by_scan, LU177_H, structure).fit.tia,
        fit_by_structure(activity, times_h, LU177_H, structure).fit.tia,
    )
    assert estimate_noise(activity, by_scan, LU177_H) == estimate_noise(activity, times_h, LU177_H)


@pytest.mark.parametrize("guided", [False, True])
def test_time_that_is_missing_drops_its_point(guided):
    """A scan that did not see a voxel may say so by its time as well as by its value; a voxel no scan saw is empty."""

    def fit(activity, times_h):
        if guided:
            return fit_voxels_guided(activity, times_h, LU177_H, np.array([2.0, 2.0, 3.0, 1.0]), PRIOR)
        return fit_voxels(activity, times_h, LU177_H, sigma=np.array([2.0, 2.0, 3.0, 1.0]))

    activity, times_h, _ = beds(300)
    by_value, by_time = activity.copy(), times_h.copy()
    by_value[::3, 0], by_time[::3, 0] = np.nan, np.nan
    by_value[1::5, 2], by_time[1::5, 2] = np.nan, np.nan
    by_value[7], by_time[7] = np.nan, np.nan
    found = fit(activity, by_time)
    np.testing.assert_allclose(found.tia, fit(by_value, times_h).tia, rtol=1e-6)
    assert found.status[7] == FitStatus.NOTHING
    assert found.tia[7] == 0
    assert np.isnan(found.u_tia[7])


def test_times_that_make_no_sense_are_refused():
    activity, times_h, _ = beds(4)
    with pytest.raises(ValueError, match="times need 4"):
        fit_voxels(activity, times_h[:3], LU177_H)
    with pytest.raises(ValueError, match="scan times are for"):
        fit_voxels(activity, ScanTimes(times_h[:2], np.zeros(3, int)), LU177_H)
    with pytest.raises(ValueError, match="same number"):
        ScanTimes.from_scans([np.ones(3), 5.0, np.ones(4)])
    times_h[2, 1] = -3.0
    with pytest.raises(InputError, match="0 h or later"):
        fit_voxels(activity, times_h, LU177_H)
