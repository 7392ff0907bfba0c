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
