"""Dose-volume metrics against the definitions of ICRU 83 and 91."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosimetry.metrics import DoseVolume, dose_volume_metrics


def test_one_to_a_hundred():
    metrics = dose_volume_metrics(np.arange(1.0, 101.0), np.full(100, 0.1), volume_at_gy=(50.0, 100.0, 101.0))
    assert (metrics["dose_d98_gy"], metrics["dose_d50_gy"], metrics["dose_d2_gy"]) == (3.0, 51.0, 99.0)
    assert metrics["v_50gy_percent"] == pytest.approx(51.0)
    assert metrics["v_100gy_percent"] == pytest.approx(1.0)
    assert metrics["v_101gy_percent"] == 0.0


def test_mean_is_weighted_by_mass():
    assert DoseVolume.of([10, 20, 30], [1, 1, 1], [0.26, 1.04, 1.92]).mean_gy == pytest.approx(25.1553, rel=1e-5)


doses = st.lists(st.floats(0, 300), min_size=1, max_size=60)


@given(doses, st.data())
def test_d_x_is_the_largest_dose_at_least_x_percent_receive(values, data):
    part = np.array([data.draw(st.floats(0.01, 2.0)) for _ in values])
    histogram = DoseVolume.of(values, part)
    dose, total = np.array(values), part.sum()
    for percent in (2.0, 35.0, 50.0, 98.0, 100.0):
        found = histogram.d_percent(percent)
        assert part[dose >= found].sum() >= percent / 100 * total * (1 - 1e-9)
        above = dose[dose > found]
        if above.size:
            assert part[dose >= above.min()].sum() < percent / 100 * total * (1 + 1e-9)


@given(doses, st.floats(0.1, 10))
def test_scaling_the_dose_scales_every_metric_and_order_does_not_matter(values, factor):
    part = np.linspace(0.5, 1.5, len(values))
    one = dose_volume_metrics(values, part)
    other = dose_volume_metrics(np.array(values)[::-1] * factor, part[::-1])
    for key in ("dose_mean_gy", "dose_d2_gy", "dose_d98_gy", "dose_max_gy"):
        assert other[key] == pytest.approx(one[key] * factor, rel=1e-9, abs=1e-12)


@given(doses)
def test_metrics_are_ordered(values):
    m = dose_volume_metrics(values, np.ones(len(values)))
    assert m["dose_min_gy"] <= m["dose_d98_gy"] <= m["dose_d50_gy"] <= m["dose_d2_gy"] <= m["dose_max_gy"]


def test_small_structures_state_the_dose_to_35_cubic_millimetres():
    small = dose_volume_metrics([9.0, 5.0, 1.0], [0.02, 0.5, 0.5])
    assert small["dose_d35mm3_gy"] == 5.0
    assert np.isnan(dose_volume_metrics([9.0, 5.0, 1.0], [0.02, 1.0, 1.0])["dose_d35mm3_gy"])


def test_the_curve_falls_from_all_to_none():
    dose, percent = DoseVolume.of([1.0, 2.0, 4.0], [1.0, 1.0, 2.0]).curve(5)
    np.testing.assert_allclose(dose, [0, 1, 2, 3, 4])
    np.testing.assert_allclose(percent, [100, 100, 75, 50, 50])


@pytest.mark.parametrize("bad", [([], []), ([1.0], [0.0]), ([np.nan], [1.0]), ([1.0, 2.0], [1.0])])
def test_nonsense_is_refused(bad):
    with pytest.raises(ValueError, match="histogram"):
        DoseVolume.of(*bad)


def test_generalised_equivalent_uniform_dose():
    histogram = DoseVolume.of([10.0, 20.0, 30.0], [1.0, 1.0, 1.0])
    for a, wanted in ((1.0, 20.0), (2.0, 21.60247), (8.0, 26.27647), (-10.0, 11.16012)):
        assert histogram.geud(a) == pytest.approx(wanted, abs=1e-5)
    assert DoseVolume.of([0.0, 20.0], [1.0, 1.0]).geud(-2.0) == 0.0
    with pytest.raises(ValueError, match="other than 0"):
        histogram.geud(0.0)


@given(st.lists(st.floats(1e-3, 300), min_size=1, max_size=40), st.floats(0.1, 60))
def test_geud_rises_from_the_minimum_over_the_mean_to_the_maximum(values, a):
    histogram = DoseVolume.of(values, np.linspace(0.5, 1.5, len(values)))
    low, high, slack = min(values), max(values), 1e-9 * max(values)
    assert low - slack <= histogram.geud(-a) <= histogram.geud(1.0) + slack
    assert low - slack <= histogram.geud(a) <= high + slack
    assert histogram.geud(a) <= histogram.geud(2.0 * a) + slack


def test_homogeneity_index_is_the_spread_over_the_median():
    assert DoseVolume.of(np.arange(1.0, 101.0), np.full(100, 0.1)).homogeneity_index == pytest.approx((99 - 3) / 51)
    assert DoseVolume.of([5.0, 5.0], [1.0, 2.0]).homogeneity_index == 0.0
    assert np.isnan(DoseVolume.of([0.0, 0.0], [1.0, 2.0]).homogeneity_index)


def test_dose_to_a_volume_is_not_told_of_a_smaller_structure():
    found = dose_volume_metrics([9.0, 5.0, 1.0], [0.5, 0.5, 1.0], dose_at_ml=(0.1, 1.0, 2.0, 3.0))
    assert [found[f"d_{ml:g}cc_gy"] for ml in (0.1, 1.0, 2.0)] == [9.0, 5.0, 1.0]
    assert np.isnan(found["d_3cc_gy"])


def test_near_extremes_are_of_two_percent_or_below_two_millilitres_of_35_cubic_millimetres():
    dose, part = np.arange(1.0, 101.0), np.full(100, 0.02)
    large, small = DoseVolume.of(dose, part), DoseVolume.of(dose[:99], part[:99])
    assert (large.near_minimum_gy, large.near_maximum_gy) == (large.d_percent(98.0), large.d_percent(2.0))
    assert (small.near_minimum_gy, small.near_maximum_gy) == (2.0, 98.0)  # 35 mm³ are in the second voxel of 20 mm³


@given(st.lists(st.tuples(st.floats(0, 300), st.floats(0.001, 0.5)), min_size=1, max_size=20))
def test_near_extremes_lie_in_order(voxels):
    histogram = DoseVolume.of(*np.array(voxels).T)
    assert histogram.dose_gy[-1] <= histogram.near_minimum_gy <= histogram.near_maximum_gy <= histogram.dose_gy[0]


def test_volume_and_differential_histogram_of_a_linear_ramp():
    """Doses uniform in [0, 10] Gy over 50 mL: 5 mL/Gy everywhere, and V(D) = 50 mL (1 - D/10)."""
    dose = (np.arange(50_000) + 0.5) / 5_000
    histogram = DoseVolume.of(dose, np.full(dose.size, 0.001))
    assert histogram.volume_at_dose_ml(4.0) == pytest.approx(30.0, rel=1e-4)
    assert histogram.volume_at_dose_ml(11.0) == 0.0
    np.testing.assert_allclose(histogram.differential_ml_per_gy(21), 5.0, rtol=1e-2)


def test_near_extremes_of_small_structures_leave_35_cubic_millimetres_out():
    """Below 2 mL: D of 35 mm³ and of all but 35 mm³ (ICRU 91); from 2 mL on D2% and D98%."""
    dose = np.arange(1.0, 101.0)
    small = DoseVolume.of(dose, np.full(100, 0.01))  # 1 mL: 3.5 voxels
    assert (small.near_maximum_gy, small.near_minimum_gy) == (97.0, 4.0)
    large = DoseVolume.of(dose, np.full(100, 0.02))
    assert (large.near_maximum_gy, large.near_minimum_gy) == (99.0, 3.0)
