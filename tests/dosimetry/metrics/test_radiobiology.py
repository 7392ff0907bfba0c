"""Biologically effective dose against closed forms, numerical integration and limits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosimetry.config import TissueSettings
from dosimetry.metrics import DoseVolume, bed, eqd2, eubed, protraction
from dosimetry.metrics.biological import Effect, biological_dose
from dosimetry.metrics.tissues import PUBLISHED, TissueResponse, find_response
from nufitdose import kinetics

LN2 = np.log(2.0)
KIDNEY = TissueResponse(2.6, 2.8, None, "test")


def test_one_exponential_has_the_factor_of_its_half_lives():
    assert protraction([7.0], [LN2 / 50.0], 2.8) == pytest.approx(2.8 / 52.8, rel=1e-12)
    effective = bed(20.0, protraction([1.0], [LN2 / 50.0], 2.8), 2.6)
    assert effective == pytest.approx(28.15851, abs=1e-5)
    assert eqd2(effective, 2.6) == pytest.approx(15.91568, abs=1e-5)


@pytest.mark.parametrize(
    ("rates_gy_per_h", "half_lives_h", "dose_gy", "bed_gy"),
    [
        ([0.5, 0.1], [20.0, 60.0], 23.08312, 40.36068),
        ([0.4, -0.4], [51.5, 1.0], 29.14244, 45.90168),
        ([0.3, 0.2, -0.5], [80.0, 30.0, 2.8], 41.26108, 66.84502),  # one rate equals that of repair
    ],
)
def test_sums_of_exponentials(rates_gy_per_h, half_lives_h, dose_gy, bed_gy):
    per_h = LN2 / np.array(half_lives_h)
    dose = kinetics.integral(rates_gy_per_h, per_h)
    assert dose == pytest.approx(dose_gy, abs=1e-5)
    assert bed(dose, protraction(rates_gy_per_h, per_h, 2.8), 2.6) == pytest.approx(bed_gy, abs=1e-5)


def test_the_factor_is_the_double_integral_of_the_dose_rate():
    a, per_h, mu = np.array([0.5, 0.3, -0.6]), LN2 / np.array([40.0, 9.0, 1.5]), LN2 / 2.0
    t = np.concatenate([np.linspace(0.0, 20.0, 8001), np.linspace(20.0, 600.0, 8001)[1:]])
    rate = kinetics.value(a, per_h, t)
    damage = np.zeros_like(t)  # ∫₀ᵗ R(s) e^(-μ(t-s)) ds, step by step
    for n in range(1, t.size):
        step = t[n] - t[n - 1]
        kept = np.exp(-mu * step)
        damage[n] = damage[n - 1] * kept + 0.5 * step * (rate[n - 1] * kept + rate[n])
    whole = np.trapezoid(rate, t) ** 2
    assert protraction(a, per_h, 2.0) == pytest.approx(2.0 * np.trapezoid(rate * damage, t) / whole, rel=1e-4)


positive = st.floats(0.01, 100.0)


@given(st.lists(st.tuples(positive, positive), min_size=1, max_size=4), positive, positive)
def test_the_factor_lies_between_none_and_a_flash_and_knows_no_scale(terms, t_rep_h, scale):
    a, per_h = np.array(terms).T
    value = protraction(a, per_h, t_rep_h)
    assert 0.0 < value <= 1.0 + 1e-12
    assert protraction(scale * a, per_h, t_rep_h) == pytest.approx(value, rel=1e-9)
    assert protraction(a, per_h, 2.0 * t_rep_h) >= value * (1.0 - 1e-12)  # slower repair, more damage together
    assert protraction(a, 1e9 * per_h, t_rep_h) == pytest.approx(1.0, abs=1e-3)


def test_two_halves_of_a_term_are_the_term():
    split = protraction([0.2, 0.3, 0.1], LN2 / np.array([50.0, 50.0, 9.0]), 1.5)
    assert split == pytest.approx(protraction([0.5, 0.1], LN2 / np.array([50.0, 9.0]), 1.5), rel=1e-12)


def test_two_gray_fractions_are_their_own_equivalent():
    assert eqd2(bed(2.0, 1.0, 3.0) * 20, 3.0) == pytest.approx(40.0)


def test_eubed_of_three_voxels():
    assert eubed([10.0, 20.0, 30.0], [1.0, 1.0, 1.0], 0.1) == pytest.approx(16.91006, abs=1e-5)
    assert eubed([10.0, 20.0, 30.0], [1.0, 1.0, 1.0], 0.036) == pytest.approx(18.81272, abs=1e-5)


@given(st.lists(st.tuples(st.floats(0, 5000), positive), min_size=1, max_size=30), st.floats(0.001, 1.0))
def test_eubed_lies_between_the_smallest_and_the_mean(voxels, alpha):
    values, mass = np.array(voxels).T
    found = eubed(values, mass, alpha)
    assert values.min() - 1e-9 <= found <= np.average(values, weights=mass) + 1e-6


@pytest.mark.parametrize("call", [lambda: bed(1.0, 0.1, 0.0), lambda: eqd2(1.0, 0.0), lambda: eubed([1.0], [1.0], 0.0)])
def test_parameters_that_are_no_numbers_of_a_tissue_are_refused(call):
    with pytest.raises(ValueError, match="needs a positive"):
        call()


def test_a_negative_rate_is_refused():
    with pytest.raises(ValueError, match="positive decay constants"):
        protraction([1.0], [-0.1], 2.0)


HISTOGRAM = DoseVolume.of([10.0, 20.0, 30.0], [1.0, 1.0, 2.0], [0.5, 1.0, 1.0])


@pytest.mark.parametrize("alpha", [None, 0.05])
def test_the_error_of_the_mean_is_what_a_change_of_all_doses_and_of_the_curve_does(alpha):
    effect = Effect(TissueResponse(2.6, 2.8, alpha, "test"), 0.06, 0.004)
    mean = biological_dose(HISTOGRAM, effect, 0.1)
    step = 1e-6
    more = DoseVolume(HISTOGRAM.dose_gy * (1 + step), HISTOGRAM.volume_ml, HISTOGRAM.mass_g)
    slower = Effect(effect.response, 0.06 + step, 0.004)
    for name in ("bed_mean_gy", "eqd2_mean_gy", *(["eubed_gy"] if alpha else [])):
        value = getattr(mean, name)
        by_dose = (getattr(biological_dose(more, effect, 0.1), name) - value) / step * 0.1
        by_curve = (getattr(biological_dose(HISTOGRAM, slower, 0.1), name) - value) / step * 0.004
        assert getattr(mean, f"u_{name}") == pytest.approx(np.hypot(by_dose, by_curve), rel=1e-4)
    assert np.isnan(mean.eubed_gy) == (alpha is None)


def test_without_alpha_particles_nothing_is_weighted_and_a_large_ratio_leaves_the_dose():
    found = biological_dose(HISTOGRAM, Effect(TissueResponse(1e9, 2.8, None, "test"), 0.06), 0.1)
    assert np.isnan(found.dose_rbe_mean_gy)
    assert found.bed_mean_gy == pytest.approx(HISTOGRAM.mean_gy)


def test_alpha_particles_count_by_their_share_in_the_linear_term_alone():
    plain = biological_dose(HISTOGRAM, Effect(KIDNEY, 0.06), 0.1)
    found = biological_dose(HISTOGRAM, Effect(KIDNEY, 0.06, 0.0, 0.9, 5.0), 0.1)
    assert found.dose_rbe_mean_gy == pytest.approx(HISTOGRAM.mean_gy * (0.1 + 0.9 * 5.0))
    assert found.bed_mean_gy - plain.bed_mean_gy == pytest.approx(HISTOGRAM.mean_gy * 0.9 * 4.0)


def test_the_settings_come_before_the_table():
    assert find_response("kidney_left", "organ", {}) == PUBLISHED["kidney"]
    assert find_response("lesion_3", "tumour", {}) == PUBLISHED["tumour"]
    assert find_response("kidney_tumour", "tumour", {}) == PUBLISHED["tumour"]
    assert find_response("lung_left", "organ", {}) == PUBLISHED["lung"]
    assert find_response("lung_metastasis", "tumour", {}) == PUBLISHED["tumour"]
    assert all("doi:" in found.source or "github.com/" in found.source for found in PUBLISHED.values())
    assert find_response("spleen", "organ", {}) is None
    assert find_response("spleen", "organ", {"spleen": TissueSettings(alpha_beta_gy=3.0)}) is None
    spleen = find_response("spleen", "organ", {"spleen": TissueSettings(alpha_beta_gy=3.0, t_rep_h=1.0)})
    assert spleen == TissueResponse(3.0, 1.0, None, "settings")
    given = {"kidney": TissueSettings(t_rep_h=2.0), "kidney_left": TissueSettings(alpha_beta_gy=2.4)}
    left, right = (find_response(f"kidney_{side}", "organ", given) for side in ("left", "right"))
    assert (left.alpha_beta_gy, left.t_rep_h, left.source) == (2.4, 2.0, "settings")
    assert (right.alpha_beta_gy, right.t_rep_h) == (2.6, 2.0)
    assert right.source == f"settings; else {PUBLISHED['kidney'].source}"
