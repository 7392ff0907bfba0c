"""The organ fit: published numbers, agreement with the voxel fit, rules and refusals."""

import json

import numpy as np
import pytest

from dosimetry.kinetics import FitStatus, aicc, fit_organ, fit_shared, fit_voxels
from nufitdose.errors import InputError

LU177_H = 159.528
RATE_P = np.log(2) / LU177_H


@pytest.mark.parametrize("organ", ["Kidney_Left", "Kidney_Right", "Liver", "Spleen"])
def test_challenge_patient(real_data, organ):
    """SNMMI Lu-177 challenge patient 4 (doi:10.7302/864r-tb45), f3, unweighted, as PyTheranostics fitted it."""
    known = json.loads((real_data("physics") / "patients" / "snmmi_patient_004_reference.json").read_text())
    fit = fit_organ(known["t_h"], known["A_MBq"][organ], LU177_H, model="f3")
    amplitude, slow, fast = known["fit_A1_l1_l2"][organ]
    assert fit.tia_mbq_h == pytest.approx(known["TIA_MBq_h"][organ], rel=1e-6)
    assert fit.rate_per_h == pytest.approx(slow, rel=1e-5)
    np.testing.assert_allclose(fit.amplitudes_mbq, [amplitude, -amplitude], rtol=1e-4)
    np.testing.assert_allclose(fit.rates_per_h, [slow, fast], rtol=1e-4)
    assert fit.status is FitStatus.UPTAKE_CLEARANCE


ODD = [[10.0, 7.0, 2.0, 1.1], [1, 2], [1, 1.0], [2, 1.0], [1, 0.95], [np.nan, 1], [1, 1, 1], [1, 0.99, 0.98]]
ODD += [[1, 0.99, 0.97, 0.9], [1, 2, np.nan, 4], [3, -1], [-3, 1], [-0.1, 1], [0, 0], [np.nan] * 3, [5, 6, 4, 1.5], [4]]


@pytest.mark.parametrize("u_mbq", [None, 0.1])
@pytest.mark.parametrize("values", ODD)
def test_one_rule_for_organs_and_voxels(values, u_mbq):
    """lmfit on one curve and the compiled search on one voxel give the same answer, whatever the values."""
    times_h = np.array([4.0, 24.0, 96.0, 120.0])[: len(values)]
    organ = fit_organ(times_h, values, LU177_H, u_activity_mbq=u_mbq)
    voxel = fit_voxels(np.array([values], dtype=float), times_h, LU177_H, sigma=u_mbq)
    assert organ.status == voxel.status[0]
    pairs = [
        (organ.tia_mbq_h, voxel.tia),
        (organ.u_tia_mbq_h, voxel.u_tia),
        (organ.teff_h, voxel.teff_h),
        (organ.amplitude_mbq, voxel.amplitude),
        (organ.extrapolated_fraction, voxel.extrapolated),
    ]
    for mine, theirs in pairs:
        assert mine == pytest.approx(theirs[0], rel=1e-5, nan_ok=True)


def test_published_uncertainty_and_correlation():
    """100 MBq, T_eff 50 h, 5 % at each of 4, 24, 96, 168 h: 2.5002 %, correlation 0.74865 (dosimetry chain of Gear)."""
    times_h = np.array([4.0, 24.0, 96.0, 168.0])
    activity = 100 * 2.0 ** (-times_h / 50)
    fit = fit_organ(times_h, activity, LU177_H, u_activity_mbq=0.05 * activity)
    assert fit.u_tia_mbq_h / fit.tia_mbq_h == pytest.approx(0.025002, rel=1e-4)
    v = fit.covariance
    assert v[0, 1] / np.sqrt(v[0, 0] * v[1, 1]) == pytest.approx(0.74865, rel=1e-4)


def test_akaike_criterion():
    assert aicc(5, 2, rss=2.0) == pytest.approx(5.41855, rel=1e-5)
    assert aicc(5, 3, rss=2.0) == pytest.approx(25.41855, rel=1e-5)
    assert aicc(4, 3, rss=2.0) == np.inf


@pytest.mark.parametrize(
    ("model", "amplitudes", "rates"),
    [
        ("bi", [80.0, 40.0], [0.012, 0.11]),
        ("f3", [100.0, -100.0], [0.0145, 0.3]),
        ("f3a", [30.0, 70.0], [RATE_P, 0.05]),
        ("tri", [60.0, 40.0, -100.0], [0.01, 0.06, 0.7]),
    ],
)
def test_noise_free_curves_are_recovered(model, amplitudes, rates):
    times_h = np.array([1.0, 4.0, 10.0, 24.0, 48.0, 96.0, 168.0, 240.0])
    activity = np.exp(-np.outer(times_h, rates)) @ amplitudes
    fit = fit_organ(times_h, activity, LU177_H, model=model)
    np.testing.assert_allclose(fit.rates_per_h, rates, rtol=1e-4)
    np.testing.assert_allclose(fit.amplitudes_mbq, amplitudes, rtol=1e-4)
    assert fit.tia_mbq_h == pytest.approx(np.sum(np.array(amplitudes) / rates), rel=1e-6)


def test_rates_may_be_held():
    """f3 with its uptake held at the truth needs three points and leaves a degree of freedom; mono becomes linear."""
    t = np.array([4.0, 24.0, 96.0])
    activity = 100 * (np.exp(-0.0145 * t) - np.exp(-1.3 * t))
    fit = fit_organ(t, activity, LU177_H, model="f3", held_rates_per_h={"lambda2": 1.3})
    assert fit.dof == 1
    np.testing.assert_allclose(fit.rates_per_h, [0.0145, 1.3], rtol=1e-6)
    assert fit.tia_mbq_h == pytest.approx(100 / 0.0145 - 100 / 1.3, rel=1e-6)
    y = np.array([10.0, 7.0, 2.0])
    mono = fit_organ(t, y, LU177_H, u_activity_mbq=0.3, held_rates_per_h={"lambda1": 0.02})
    e = np.exp(-0.02 * t)
    assert mono.status is FitStatus.MONO
    assert mono.tia_mbq_h == pytest.approx((y @ e) / (e @ e) / 0.02)
    assert mono.u_tia_mbq_h == pytest.approx(0.3 / np.sqrt(e @ e) / 0.02)
    with pytest.raises(InputError, match="wanted lambda1"):
        fit_organ(t, y, LU177_H, held_rates_per_h={"lambda2": 0.02})
    with pytest.raises(InputError, match="at least the physical"):
        fit_organ(t, y, LU177_H, held_rates_per_h={"lambda1": 0.001})


@pytest.mark.parametrize("model", ["mono", "f3", "bi"])
def test_shared_rates_are_recovered(model):
    """Two structures of the same noise-free rates: rates and both integrals; a third without activity stays empty."""
    t = np.array([2.0, 24.0, 72.0, 150.0])
    rates, left, right = {
        "mono": ([0.0145], [100], [40]),
        "f3": ([0.0145, 0.3], [100, -100], [40, -40]),
        "bi": ([0.01, 0.1], [60, 50], [70, 10]),
    }[model]
    curves = {name: np.exp(-np.outer(t, rates)) @ terms for name, terms in (("left", left), ("right", right))}
    once = np.array([np.nan, 5.0, np.nan, np.nan])
    found = fit_shared(t, {**curves, "none": np.zeros(4), "once": once}, LU177_H, model=model)
    for name, terms in (("left", left), ("right", right)):
        np.testing.assert_allclose(found[name].rates_per_h, rates, rtol=1e-4)
        assert found[name].tia_mbq_h == pytest.approx((np.array(terms) / rates).sum(), rel=1e-4)
    assert found["none"].tia_mbq_h == 0
    if model == "mono":
        assert found["once"].tia_mbq_h == pytest.approx(5 * np.exp(0.0145 * 24) / 0.0145, rel=1e-4)


def test_structures_that_share_rates_may_be_seen_at_times_of_their_own():
    """As with bed positions: the same rates from points at other times; a common row is the special case."""
    times_h = {"left": np.array([2.0, 24.0, 72.0, 150.0]), "right": np.array([2.4, 24.4, 72.4, 150.4])}
    curves = {name: size * np.exp(-0.0145 * times_h[name]) for name, size in (("left", 100.0), ("right", 40.0))}
    found = fit_shared(times_h, curves, LU177_H)
    for name, size in (("left", 100.0), ("right", 40.0)):
        assert found[name].rate_per_h == pytest.approx(0.0145, rel=1e-6)
        assert found[name].tia_mbq_h == pytest.approx(size / 0.0145, rel=1e-6)


def test_uncertainty_of_shared_rates_is_the_scatter_of_repeated_fits():
    t, u = np.array([4.0, 24.0, 96.0]), {"left": 2.0, "right": 1.0}
    e = np.exp(-0.0145 * t)
    rng = np.random.default_rng(0)
    expected = fit_shared(t, {"left": 100 * e, "right": 40 * e}, LU177_H, u_activity_mbq=u)
    drawn = [
        fit_shared(
            t,
            {"left": 100 * e + 2 * rng.normal(size=3), "right": 40 * e + rng.normal(size=3)},
            LU177_H,
            u_activity_mbq=u,
        )
        for _ in range(300)
    ]
    for name in u:
        scatter = np.std([fits[name].tia_mbq_h for fits in drawn])
        assert expected[name].u_tia_mbq_h == pytest.approx(scatter, rel=0.15)
    alone = fit_organ(t, 40 * e, LU177_H, u_activity_mbq=1.0)
    assert expected["right"].u_tia_mbq_h < alone.u_tia_mbq_h
    with pytest.raises(InputError, match="too few points"):
        fit_shared(t, {"left": [1.0, np.nan, np.nan]}, LU177_H)


def test_integral_of_the_plotted_curve_is_the_integral_reported():
    for values in ([10.0, 7.0, 2.0], [2.0, 3.0, 4.0], [5.0, 4.99, 4.97]):
        fit = fit_organ([4.0, 24.0, 96.0], values, LU177_H)
        t = np.concatenate([np.linspace(0, 96, 200_001), np.linspace(96.001, 8000, 200_001)])
        assert np.trapezoid(fit.curve(t), t) == pytest.approx(fit.tia_mbq_h, rel=1e-4)
        early, late = t <= 4, t > 96
        assert np.trapezoid(fit.curve(t)[early], t[early]) == pytest.approx(
            fit.before_first_fraction * fit.tia_mbq_h, rel=1e-3
        )
        assert np.trapezoid(fit.curve(t)[late], t[late]) == pytest.approx(
            fit.extrapolated_fraction * fit.tia_mbq_h, rel=1e-3
        )


def test_fit_without_degrees_of_freedom_says_so():
    fit = fit_organ([4.0, 24.0], [10.0, 4.0], LU177_H)
    assert fit.dof == 0
    assert np.isnan(fit.u_tia_mbq_h)
    assert any("no fit error" in flag for flag in fit.flags)
    assert fit.aicc == np.inf


def test_order_of_points_does_not_matter():
    forward = fit_organ([4.0, 24.0, 96.0], [10.0, 7.0, 2.0], LU177_H)
    backward = fit_organ([96.0, 4.0, 24.0], [2.0, 10.0, 7.0], LU177_H)
    assert backward.tia_mbq_h == forward.tia_mbq_h


def test_nonsense_is_refused():
    with pytest.raises(InputError, match="wanted one of mono"):
        fit_organ([4.0, 24.0], [2.0, 1.0], LU177_H, model="nonic")
    with pytest.raises(InputError, match="half-life"):
        fit_organ([4.0, 24.0], [2.0, 1.0], -1.0)
    with pytest.raises(InputError, match="0 h or later"):
        fit_organ([-4.0, 24.0], [2.0, 1.0], LU177_H)
    with pytest.raises(ValueError, match="must both be"):
        fit_organ([4.0, 24.0], [2.0, 1.0, 3.0], LU177_H)
    with pytest.raises(ValueError, match="positive and finite"):
        fit_organ([4.0, 24.0], [2.0, 1.0], LU177_H, u_activity_mbq=[0.0, 1.0])
