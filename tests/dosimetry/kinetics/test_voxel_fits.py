"""The voxel fit: closed forms, an independent least squares, invariances, and the rules at the bounds."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import lmfit
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dosimetry.kinetics import (
    FitStatus,
    VoxelFit,
    VoxelFitBuilder,
    fit_voxels,
    guided_kernels,
    two_rate_kernels,
    voxel_kernels,
    with_common_error,
)
from nufitdose import kinetics
from nufitdose.errors import InputError

LU177_H = 159.528
RATE_P = np.log(2) / LU177_H
TIMES = np.array([4.0, 24.0, 72.0, 168.0])


def washout(amplitude, teff_h, times_h=TIMES):
    return np.asarray(amplitude)[:, None] * 2.0 ** (-np.asarray(times_h) / np.asarray(teff_h)[:, None])


def noisy_voxels(n, seed=1, relative=0.05):
    rng = np.random.default_rng(seed)
    clean = washout(rng.uniform(20, 500, n), np.exp(rng.uniform(np.log(8), np.log(140), n)))
    return clean + rng.normal(size=clean.shape) * relative * clean


@pytest.mark.parametrize("times_h", [TIMES, TIMES[:2], TIMES[:3], np.array([1.0, 3.0, 24.0, 48.0, 120.0, 200.0])])
def test_noise_free_voxels_are_recovered(times_h):
    teff_h = np.geomspace(6.0, 159.0, 500)
    amplitude = np.geomspace(1e-3, 1e6, 500)
    fit = fit_voxels(washout(amplitude, teff_h, times_h), times_h, LU177_H)
    assert (fit.status == FitStatus.MONO).all()
    np.testing.assert_allclose(fit.tia, amplitude * teff_h / np.log(2), rtol=1e-6)
    np.testing.assert_allclose(fit.teff_h, teff_h, rtol=1e-6)
    np.testing.assert_allclose(fit.amplitude, amplitude, rtol=1e-6)
    np.testing.assert_allclose(fit.extrapolated, 2.0 ** (-times_h[-1] / teff_h), rtol=1e-5)


@pytest.mark.parametrize("weighted", [False, True])
def test_agrees_with_lmfit(weighted):
    activity = noisy_voxels(60)
    sigma = 0.05 * activity + 1.0 if weighted else np.ones_like(activity)
    fit = fit_voxels(activity, TIMES, LU177_H, sigma=sigma if weighted else None)
    for voxel, y in enumerate(activity):
        parameters = lmfit.Parameters()
        parameters.add("a", value=y.max(), min=0)
        parameters.add("rate", value=0.02, min=RATE_P)
        result = lmfit.minimize(
            lambda p, y=y, s=sigma[voxel]: (y - p["a"] * np.exp(-p["rate"] * TIMES)) / s,
            parameters,
            method="leastsq",
            scale_covar=not weighted,
        )
        assert fit.tia[voxel] == pytest.approx(result.params["a"] / result.params["rate"], rel=1e-4)
        if fit.status[voxel] == FitStatus.MONO:
            u = result.uvars["a"] / result.uvars["rate"]
            assert fit.u_tia[voxel] == pytest.approx(u.std_dev, rel=2e-2)


def test_two_points_are_solved_exactly_and_leave_no_fit_error():
    fit = fit_voxels(np.array([[10.0, 4.0]]), np.array([4.0, 24.0]), LU177_H)
    rate = np.log(10 / 4) / 20
    assert fit.status[0] == FitStatus.MONO
    assert fit.tia[0] == pytest.approx(10 * np.exp(rate * 4) / rate, rel=1e-6)
    assert np.isnan(fit.u_tia[0])
    assert np.isnan(fit.rmse[0])


def test_uncertainty_of_the_published_example():
    """100 MBq, T_eff 50 h, 5 % at each of 4, 24, 96, 168 h: u(TIA)/TIA = 2.5002 %."""
    times_h = np.array([4.0, 24.0, 96.0, 168.0])
    activity = washout([100.0], [50.0], times_h)
    fit = fit_voxels(activity, times_h, LU177_H, sigma=0.05 * activity)
    assert fit.u_tia[0] / fit.tia[0] == pytest.approx(0.025002, rel=1e-4)


def test_common_error_is_added_to_the_integral_not_to_the_points():
    """The example above with 3 % common to all scans (calibration, recovery): 3.9053 %."""
    times_h = np.array([4.0, 24.0, 96.0, 168.0])
    activity = washout([100.0], [50.0], times_h)
    fit = fit_voxels(activity, times_h, LU177_H, sigma=0.05 * activity)
    u = with_common_error(fit.tia, fit.u_tia, 0.03)
    assert u[0] / fit.tia[0] == pytest.approx(0.039053, rel=1e-4)


def test_published_curve_of_two_phases():
    """100 e^(-t ln2/60) - 60 e^(-t ln2/3): TIA 8396.485, 34.008 % of it after 96 h; here by quadrature too."""
    rates = np.log(2) / np.array([60.0, 3.0])
    assert kinetics.integral([100.0, -60.0], rates) == pytest.approx(8396.485, rel=1e-6)
    assert kinetics.extrapolated_fraction([100.0, -60.0], rates, 96.0) == pytest.approx(0.34008, rel=2e-5)
    t = np.linspace(0, 3000, 600_001)
    curve = kinetics.value([100.0, -60.0], rates, t)
    assert np.trapezoid(curve, t) == pytest.approx(8396.485, rel=1e-6)


def test_slower_than_decay_is_held_at_the_physical_half_life():
    y = np.array([[10.0, 9.5], [10.0, 10.0]])
    fit = fit_voxels(y, np.array([4.0, 24.0]), LU177_H)
    e = np.exp(-RATE_P * np.array([4.0, 24.0]))
    assert (fit.status == FitStatus.MONO_AT_PHYSICAL).all()
    np.testing.assert_allclose(fit.teff_h, LU177_H, rtol=1e-6)
    np.testing.assert_allclose(fit.tia, (y @ e) / (e @ e) / RATE_P, rtol=1e-6)


def test_rising_activity_is_integrated_and_decays_from_the_last_point():
    fit = fit_voxels(np.array([[3.0, 7.0]]), np.array([4.0, 24.0]), LU177_H, sigma=0.5)
    assert fit.status[0] == FitStatus.RISING
    assert fit.tia[0] == pytest.approx(3 * 4 / 2 + (3 + 7) / 2 * 20 + 7 / RATE_P, rel=1e-6)
    assert fit.u_tia[0] == pytest.approx(0.5 * np.hypot(4 / 2 + 20 / 2, 20 / 2 + 1 / RATE_P), rel=1e-6)
    assert fit.extrapolated[0] == pytest.approx(7 / RATE_P / fit.tia[0], rel=1e-6)


def test_no_step_in_tia_between_decaying_and_rising_curves():
    """From T_eff = T_phys to a doubling over the study, TIA moves by no more than the data do."""
    slopes = np.linspace(-RATE_P, np.log(2) / 168, 4001)
    activity = 100 * np.exp(slopes[:, None] * TIMES)
    fit = fit_voxels(activity, TIMES, LU177_H)
    falls, rises = slopes[1:] < 0, slopes[1:] > 0
    assert set(fit.status[1:][falls]) == {FitStatus.MONO_AT_PHYSICAL, FitStatus.SLOW}
    assert (fit.status[1:][rises] == FitStatus.RISING).all()
    steps = np.abs(np.diff(np.log(fit.tia[1:].astype(float))))
    assert steps.max() < 3e-3


def test_hardly_falling_activity_is_mixed_by_its_slope():
    """TIA = (1 - s) a/λ_p + s (y_1 t_1/2 + trapezoids + y_n/λ_p), s = 1 - 2 λ^/λ_p; the code is its own."""
    activity = np.array([[100.0, 99.0, 96.0, 88.0]])
    fit = fit_voxels(activity, TIMES, LU177_H)
    tau, e = TIMES - TIMES[0], np.exp(-RATE_P * TIMES)
    at_decay = activity @ e / (e @ e)
    at_zero = activity.mean()
    r_decay = (tau * np.exp(-RATE_P * tau)) @ (activity[0] - at_decay * e)
    r_zero = tau @ (activity[0] - at_zero)
    asked = -RATE_P * r_zero / (r_decay - r_zero)
    share = 1 - 2 * asked / RATE_P
    assert 0 < share < 1
    rule = 100 * 2 + np.trapezoid(activity[0], TIMES) + 88 / RATE_P
    assert fit.status[0] == FitStatus.SLOW
    assert fit.tia[0] == pytest.approx((1 - share) * at_decay[0] / RATE_P + share * rule, rel=1e-6)


def test_one_point_decays_physically():
    activity = np.array([[np.nan, 5.0, np.nan, np.nan]])
    fit = fit_voxels(activity, TIMES, LU177_H)
    assert fit.status[0] == FitStatus.ONE_POINT
    assert fit.tia[0] == pytest.approx(5 * np.exp(RATE_P * 24) / RATE_P, rel=1e-6)
    assert np.isnan(fit.u_tia[0])


def test_missing_values_drop_their_time_point_only():
    activity = noisy_voxels(50)
    whole = fit_voxels(activity, TIMES, LU177_H)
    activity[10, 1] = np.nan
    activity[20, 3] = np.inf
    fit = fit_voxels(activity, TIMES, LU177_H)
    others = np.delete(np.arange(50), [10, 20])
    np.testing.assert_array_equal(fit.tia[others], whole.tia[others])
    for voxel, column in ((10, 1), (20, 3)):
        keep = np.delete(np.arange(4), column)
        alone = fit_voxels(activity[[voxel]][:, keep], TIMES[keep], LU177_H)
        assert fit.tia[voxel] == pytest.approx(alone.tia[0], rel=1e-6)


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ([np.nan] * 4, FitStatus.NOTHING),
        ([0.0] * 4, FitStatus.NOTHING),
        ([-1.0, -2.0, -1.0, -3.0], FitStatus.NOT_POSITIVE),
        ([5.0] * 4, FitStatus.RISING),
        ([1.0, 2.0, 3.0, 4.0], FitStatus.RISING),
        ([5.0, 4.99, 4.96, 4.9], FitStatus.SLOW),
        ([100.0, 1e-9, 0.0, 0.0], FitStatus.MONO_AT_FASTEST),
        ([1e-30, 5e-31, 2e-31, 1e-32], FitStatus.MONO),
        ([1e30, 5e29, 2e29, 1e28], FitStatus.MONO),
    ],
)
def test_every_odd_voxel_has_a_status(values, status):
    fit = fit_voxels(np.array([values]), TIMES, LU177_H)
    assert fit.status[0] == status
    assert np.isfinite(fit.tia[0])


@settings(max_examples=60, deadline=None)
@given(
    activity=hnp.arrays(
        np.float64, (7, 4), elements=st.one_of(st.floats(-1e6, 1e6), st.sampled_from([0.0, np.nan, 1.0]))
    )
)
def test_any_values_give_a_finite_integral(activity):
    fit = fit_voxels(activity, TIMES, LU177_H)
    assert np.isfinite(fit.tia).all()
    assert (fit.tia >= 0).all()
    assert np.isin(fit.status, [int(s) for s in FitStatus]).all()
    found = fit.tia > 0
    assert (fit.teff_h[found] <= LU177_H * (1 + 1e-6)).all()
    assert ((fit.extrapolated[found] >= 0) & (fit.extrapolated[found] <= 1 + 1e-6)).all()


def test_search_finds_the_global_minimum():
    """Random values, most of them far from any exponential, against a brute-force scan of 20 000 rates."""
    rng = np.random.default_rng(3)
    activity = rng.normal(size=(400, 4)) + rng.uniform(0, 2, (400, 1))
    fit = fit_voxels(activity, TIMES, LU177_H)
    use = np.isin(fit.status, [FitStatus.MONO, FitStatus.MONO_AT_PHYSICAL, FitStatus.MONO_AT_FASTEST])
    assert use.sum() > 100
    fastest = RATE_P + np.log(2) * min(5 / 4, 10 / 20)
    e = np.exp(-np.geomspace(RATE_P, fastest, 20_000)[:, None] * TIMES)
    score = np.maximum(activity @ e.T, 0) ** 2 / (e**2).sum(1)
    squares = ((activity - fit.amplitude[:, None] * 2.0 ** (-TIMES / fit.teff_h[:, None])) ** 2).sum(1)
    np.testing.assert_array_less(squares[use], ((activity**2).sum(1) - score.max(1))[use] * (1 + 1e-5) + 1e-6)


def test_invariances():
    activity = noisy_voxels(300)
    fit = fit_voxels(activity, TIMES, LU177_H)
    np.testing.assert_allclose(fit_voxels(8.0 * activity, TIMES, LU177_H).tia, 8.0 * fit.tia, rtol=1e-6)
    shuffle = np.random.default_rng(2).permutation(300)
    np.testing.assert_array_equal(fit_voxels(activity[shuffle], TIMES, LU177_H).tia, fit.tia[shuffle])
    columns = [2, 0, 3, 1]
    np.testing.assert_array_equal(fit_voxels(activity[:, columns], TIMES[columns], LU177_H).tia, fit.tia)
    np.testing.assert_array_equal(fit_voxels(np.asfortranarray(activity), TIMES, LU177_H).tia, fit.tia)
    single = fit_voxels(activity.astype(np.float32), TIMES, LU177_H)
    np.testing.assert_allclose(single.tia, fit.tia, rtol=1e-4)
    assert single.tia.dtype == np.float32


def test_physical_decay_leaves_the_biological_rate_alone():
    clean = washout(np.full(50, 100.0), np.linspace(10, 60, 50))
    for half_life_h in (64.1, 192.5):
        decay = np.log(2) / half_life_h
        slow = fit_voxels(clean * np.exp(-decay * TIMES), TIMES, half_life_h)
        np.testing.assert_allclose(np.log(2) / slow.teff_h - decay, np.log(2) / np.linspace(10, 60, 50), rtol=1e-4)


def test_times_may_differ_between_voxels():
    late = TIMES + np.array([0.3, 0.2, 0.4, 0.1])
    amplitude, teff_h = np.full(90, 50.0), np.full(90, 40.0)
    bed = np.arange(90) % 3 == 0
    times_h = np.where(bed[:, None], late, TIMES)
    activity = amplitude[:, None] * 2.0 ** (-times_h / teff_h[:, None])
    fit = fit_voxels(activity, times_h, LU177_H)
    np.testing.assert_allclose(fit.tia, 50 * 40 / np.log(2), rtol=1e-6)


@pytest.mark.parametrize(
    ("times_h", "half_life_h", "message"),
    [
        ([-1.0, 4.0], 10.0, "0 h or later"),
        ([4.0, np.nan], 10.0, "0 h or later"),
        ([4.0, 4.0], 10.0, "one time"),
        ([4.0, 24.0], 0.0, "half-life"),
        ([4.0, 24.0], np.nan, "half-life"),
        ([4.0, 2400.0], 10.0, "nothing is left"),
    ],
)
def test_nonsense_is_refused(times_h, half_life_h, message):
    with pytest.raises(InputError, match=message):
        fit_voxels(np.ones((3, 2)), times_h, half_life_h)


def test_arrays_that_do_not_fit_together_are_refused():
    with pytest.raises(ValueError, match="times need 2"):
        fit_voxels(np.ones((5, 2)), [1.0, 2.0, 3.0], 10.0)
    with pytest.raises(ValueError, match="sigma has shape"):
        fit_voxels(np.ones((5, 2)), [1.0, 2.0], 10.0, sigma=np.ones(3))
    with pytest.raises(ValueError, match="positive and finite"):
        fit_voxels(np.ones((5, 2)), [1.0, 2.0], 10.0, sigma=0.0)
    with pytest.raises(InputError, match="wanted one of mono"):
        fit_voxels(np.ones((5, 2)), [1.0, 2.0], 10.0, model="pentaexponential")


def test_documentation_names_every_status():
    page = (Path(__file__).parents[3] / "docs" / "explanation" / "kinetics.md").read_text(encoding="utf-8")
    for status in FitStatus:
        assert f"| {status.value} | {status.name} | {status.meaning} |" in page


def test_kernels_carry_the_codes_of_the_statuses():
    for kernels in (voxel_kernels, guided_kernels, two_rate_kernels):
        for status in FitStatus:
            name = status.name.removeprefix("MONO_")
            assert getattr(kernels, name, status.value) == status.value


def test_no_voxels_is_no_error():
    assert fit_voxels(np.ones((0, 2)), [1.0, 2.0], 10.0).tia.shape == (0,)


def first_call(**environment):
    """Cache hits of a fit in a process of its own."""
    script = (
        "import numpy as np; from dosimetry.kinetics import fit_voxels; from dosimetry.kinetics import voxel_kernels;"
        "assert fit_voxels(np.ones((2, 2)), [1.0, 2.0], 10.0).tia.all();"
        "print(sum(voxel_kernels.fit_mono.stats.cache_hits.values()))"
    )
    inherited = {name: value for name, value in os.environ.items() if name not in {"NUMBA_CACHE_DIR", "XDG_CACHE_HOME"}}
    run = subprocess.run(
        [sys.executable, "-c", script], env={**inherited, **environment}, capture_output=True, check=True
    )
    return int(run.stdout)


@pytest.mark.slow
def test_compiled_code_is_cached_where_it_may_be_written(tmp_path):
    """A second process loads what the first one compiled, from a folder given by the user."""
    assert [first_call(NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(2)] == [0, 1]
    assert list(tmp_path.rglob("*.nbi"))


@pytest.mark.slow
def test_read_only_installation_caches_for_the_user(tmp_path):
    """Where the package's folder takes no files the user's cache folder does; without any folder it still runs."""
    root, home = Path(__file__).parents[3], tmp_path / "home"
    for package in ("dosimetry", "nufitdose"):
        shutil.copytree(root / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "dosimetry" / "kinetics" / "__pycache__").touch()  # a file where the folder would have to be
    home.mkdir()
    place = {"PYTHONPATH": str(tmp_path), "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    assert [first_call(HOME=str(home), **place) for _ in range(2)] == [0, 1]
    assert list(home.rglob("*.nbi"))
    assert first_call(HOME=os.devnull, **place) == 0


def test_a_result_cannot_be_written_and_a_builder_ends_with_it():
    fit = fit_voxels(np.array([[100.0, 50.0], [80.0, 10.0]]), [4.0, 24.0], LU177_H)
    with pytest.raises(ValueError, match="read-only"):
        fit.tia[0] = 1.0
    builder = VoxelFitBuilder.from_fit(fit)
    builder.put(np.array([1]), VoxelFit.nothing(1))
    found = builder.result()
    assert found.tia.tolist() == [fit.tia[0], 0.0]
    assert (found.status[1], np.isnan(found.teff_h[1])) == (FitStatus.NOTHING, True)
    assert fit.tia[1] > 0.0  # the fit it began with stays as it was
    with pytest.raises(ValueError, match="read-only"):
        builder.put(np.array([0]), VoxelFit.nothing(1))
