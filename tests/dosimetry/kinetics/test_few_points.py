"""Few scans: published numbers of the single-time-point and three-point methods, closed forms of trapezoids."""

import numpy as np
import pytest

from dosimetry.kinetics.few_points import (
    haenscheid,
    haenscheid_error,
    haenscheid_lu177_dose_gy,
    physical_decay,
    population_half_life,
    three_point_curve,
    trapezoid,
)
from nufitdose.errors import InputError

LU177_H = 159.528
RATE_P = np.log(2) / LU177_H


def test_haenscheid_numbers():
    assert haenscheid(10.0, 72.0) == pytest.approx(2077.48, rel=1e-5)
    true = 10 * 2 ** (72 / 50) * 50 / np.log(2)
    assert true == pytest.approx(1957.17, rel=1e-5)
    assert haenscheid(10.0, 72.0) / true - 1 == pytest.approx(haenscheid_error(72.0, 50.0), rel=1e-12)
    assert haenscheid_lu177_dose_gy(1.0, 96.0, 50.0) == pytest.approx(23.651, rel=1e-4)


def test_haenscheid_error_stays_in_its_published_range():
    error = haenscheid_error(np.linspace(0.75, 2.5, 1001), 1.0)
    assert error.min() > -0.12
    assert error.max() == pytest.approx(0.061, abs=1e-3)


def test_single_time_points_are_exact_where_their_half_life_is_true():
    time_h, teff_h = 30.0, 41.0
    activity = 7.0 * 2 ** (-time_h / teff_h) * np.ones((2, 3))
    np.testing.assert_allclose(population_half_life(activity, time_h, teff_h, LU177_H), 7 * teff_h / np.log(2))
    decayed = 7.0 * np.exp(-RATE_P * time_h)
    assert physical_decay(decayed, time_h, LU177_H) == pytest.approx(7 / RATE_P)
    with pytest.raises(InputError, match="population half-life"):
        population_half_life(1.0, 24.0, 200.0, LU177_H)


@pytest.mark.parametrize(
    ("d", "amplitudes", "k2", "k3", "tia"),
    [
        ([10.0, 8.0, 4.0], None, -0.06632, -0.00963, 718.93),
        ([5.0, 8.0, 4.0], [0.0, -10.0794, 10.0794], -0.20365, -0.00963, 672.94),
        ([5.0, 8.0, 10.0], [-2.72084, -8.28675, 11.00759], None, -0.001, 1892.78),
    ],
)
def test_three_point_numbers(d, amplitudes, k2, k3, tia):
    found, rates = three_point_curve(d, [4.0, 24.0, 96.0], LU177_H)
    k = RATE_P - rates
    assert (found / rates).sum() == pytest.approx(tia, rel=1e-5)
    assert k[2] == pytest.approx(k3, abs=1e-5)
    if amplitudes:
        np.testing.assert_allclose(found, amplitudes, rtol=1e-5)
    if k2:
        assert k[1] == pytest.approx(k2, abs=1e-5)
    assert found.sum() == pytest.approx(0.0, abs=1e-12)


def test_three_point_curve_passes_through_its_late_points():
    found, rates = three_point_curve([10.0, 8.0, 4.0], [4.0, 24.0, 96.0], LU177_H)
    curve = np.exp(-np.outer([24.0, 96.0], rates - RATE_P)) @ found
    np.testing.assert_allclose(curve, [8.0, 4.0], rtol=0.011)


def test_trapezoid_phases():
    y, t = np.array([6.0, 4.0, 1.0]), np.array([2.0, 10.0, 30.0])
    lines = 5.0 * 8 + 2.5 * 20
    assert trapezoid(y, t, LU177_H) == pytest.approx(6.0 + lines + 1 / RATE_P)
    assert trapezoid(y, t, LU177_H, start="constant") == pytest.approx(12.0 + lines + 1 / RATE_P)
    late = np.log(4.0) / 20
    assert trapezoid(y, t, LU177_H, tail="fitted") == pytest.approx(6.0 + lines + 1 / late)
    early = np.log(1.5) / 8
    back = 6.0 * np.expm1(early * 2) / early
    assert trapezoid(y, t, LU177_H, start="back") == pytest.approx(back + lines + 1 / RATE_P)


def test_trapezoid_converges_to_the_closed_form():
    t = np.linspace(0, 300, 3001)
    y = 80 * np.exp(-0.02 * t) - 80 * np.exp(-0.3 * t)
    assert trapezoid(y, t, LU177_H, tail="fitted") == pytest.approx(80 / 0.02 - 80 / 0.3, rel=1e-4)


def test_tail_is_never_slower_than_decay():
    y = np.array([[3.0, 4.0, 5.0], [5.0, 5.0, 5.0]])
    t = np.array([2.0, 10.0, 30.0])
    np.testing.assert_allclose(trapezoid(y, t, LU177_H, tail="fitted"), trapezoid(y, t, LU177_H))


def test_nonsense_is_refused():
    with pytest.raises(InputError, match="wants three"):
        three_point_curve([1.0, 2.0], [4.0, 24.0], LU177_H)
    with pytest.raises(InputError, match="later than 0 h"):
        haenscheid(1.0, 0.0)
    with pytest.raises(InputError, match="one time point only"):
        trapezoid(np.array([1.0]), np.array([4.0]), LU177_H, tail="fitted")
    with pytest.raises(InputError, match="were asked for"):
        trapezoid(np.array([1.0, 2.0]), np.array([4.0, 5.0]), LU177_H, start="guess")
    with pytest.raises(ValueError, match="a value at every time"):
        trapezoid(np.array([1.0, np.nan]), np.array([4.0, 5.0]), LU177_H)
