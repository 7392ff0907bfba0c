"""The chain against closed forms, against sampling, and against drawing."""

import math

import numpy as np
import pytest
from scipy import ndimage

from dosimetry.kinetics import fit_organ
from dosimetry.uncertainty import chain
from dosimetry.uncertainty.budget import Budget, Part, Source, interval
from dosimetry.uncertainty.montecarlo import ChainErrors, draw_chain
from nufitdose.psf import FWHM_PER_SIGMA, sphere_recovery

A_MM, FWHM_MM, D_MM = 4.8, 15.0, 30.0
D_ML = math.pi / 6 * D_MM**3 / 1000.0


def test_the_worked_example_of_the_chain():
    u_d = chain.u_diameter_mm(A_MM, FWHM_MM)
    assert u_d == pytest.approx(9.2191, rel=1e-4)
    assert chain.relative_u_volume(D_MM, u_d) == pytest.approx(0.92191, rel=1e-4)
    assert chain.edge_term(D_MM, FWHM_MM) == pytest.approx(0.66117, rel=1e-4)


def test_edge_and_recovery_of_a_sphere_are_those_of_a_blurred_ball():
    spacing = 0.75
    axis = np.arange(-40.0, 40.0 + spacing, spacing)
    r = np.sqrt(sum(a**2 for a in np.meshgrid(axis, axis, axis, indexing="ij", sparse=True)))
    ball = np.clip((D_MM / 2 - r) / spacing + 0.5, 0.0, 1.0)
    blurred = ndimage.gaussian_filter(ball, FWHM_MM / FWHM_PER_SIGMA / spacing)
    at_edge = blurred[np.abs(r - D_MM / 2) < 0.4].mean()
    assert at_edge == pytest.approx(0.3304, abs=0.003)
    assert chain.edge_term(D_MM, FWHM_MM) / 2 == pytest.approx(at_edge, abs=0.003)
    assert sphere_recovery(D_ML, FWHM_MM) == pytest.approx((blurred * ball).sum() / ball.sum(), abs=0.003)


@pytest.mark.parametrize("volume_ml", [0.3, 2.0, 14.0, 400.0])
def test_the_slope_of_recovery_is_its_derivative(volume_ml):
    step = 1e-4
    up, down = (sphere_recovery(volume_ml * (1 + s), FWHM_MM) for s in (step, -step))
    assert chain.recovery_slope(volume_ml, FWHM_MM) == pytest.approx(
        (math.log(up) - math.log(down)) / (2 * step), rel=1e-4
    )


def test_the_edge_of_a_sphere_that_nothing_blurs_is_whole():
    assert chain.edge_term(20.0, 0.0) == 1.0
    assert chain.edge_term(2000.0, FWHM_MM) == pytest.approx(1.0, abs=0.01)


def test_one_exponential_through_four_points_and_a_systematic_error():
    """100 MBq, T_eff 50 h, 5 % on each point: Ã to 2.5002 %, with 3 % common to all 3.9053 %."""
    times_h = np.array([4.0, 24.0, 96.0, 168.0])
    activity = 100.0 * 2.0 ** (-times_h / 50.0)
    fit = fit_organ(times_h, activity, 159.5, u_activity_mbq=0.05 * activity, model="mono")
    u_curve = fit.u_tia_mbq_h / fit.tia_mbq_h
    assert u_curve == pytest.approx(0.025002, rel=1e-4)
    assert chain.relative_u_tia(u_curve, 0.03) == pytest.approx(0.039053, rel=1e-4)


@pytest.mark.parametrize(("diameter_mm", "u_volume"), [(25.0, 0.06), (60.0, 0.05), (120.0, 0.03)])
def test_drawing_agrees_with_the_law_of_propagation(diameter_mm, u_volume):
    volume_ml = math.pi / 6 * diameter_mm**3 / 1000.0
    edge, recovery = chain.edge_term(diameter_mm, 12.0), sphere_recovery(volume_ml, 12.0)
    slope = chain.recovery_slope(volume_ml, 12.0)
    u_q, u_r, u_curve, u_s, c = 0.04, 0.03, 0.05, 0.02, 0.98
    u_counts = chain.relative_u_counts(edge, recovery, u_volume)
    both = chain.relative_covariance_recovery_counts(edge, recovery, slope, u_volume)
    u_common = chain.relative_u_activity(u_q, math.hypot(u_r, slope * u_volume), u_counts, both)
    u_tia = chain.relative_u_tia(u_curve, u_common)
    shared = chain.relative_covariance_tia_s(edge, recovery, slope, c, u_volume)
    u_dose = chain.relative_u_dose(u_tia, math.hypot(u_s, c * u_volume), shared)
    errors = ChainErrors(volume_ml, 12.0, edge / (2 * recovery), c, u_volume, u_r, u_q, u_curve, u_s)
    drawn = draw_chain(errors, draws=40_000, seed=3)
    assert drawn.relative_u_tia == pytest.approx(u_tia, rel=0.1)
    assert drawn.relative_u_dose == pytest.approx(u_dose, rel=0.1)
    assert np.array_equal(drawn.tia, draw_chain(errors, draws=40_000, seed=3).tia)


def test_volume_errs_less_in_a_dose_than_its_parts_do():
    """The covariance of Ã and S is negative: too wide an outline gains activity and mass."""
    volume_ml = math.pi / 6 * 40.0**3 / 1000.0
    edge, recovery = chain.edge_term(40.0, 12.0), sphere_recovery(volume_ml, 12.0)
    slope = chain.recovery_slope(volume_ml, 12.0)
    shared = chain.relative_covariance_tia_s(edge, recovery, slope, 1.0, 0.1)
    assert shared < 0
    u_tia = (edge / (2 * recovery) - slope) * 0.1
    assert chain.relative_u_dose(u_tia, 0.1, shared) == pytest.approx(0.1 - u_tia, rel=1e-9)


def test_parts_add_in_squares_and_their_shares_to_one():
    parts = tuple(Part(name, tia, dose, Source.MEASURED) for name, tia, dose in [("a", 0.03, -0.04), ("b", 0.04, 0.03)])
    budget = Budget(parts)
    assert budget.relative_u_tia == pytest.approx(0.05)
    assert budget.relative_u_dose == pytest.approx(0.05)
    assert [share for _, share in budget.shares()] == pytest.approx([0.64, 0.36])


def test_intervals_are_normal_where_small_and_positive_where_large():
    low, high = interval(100.0, 0.01, 0.6827)
    assert (low, high) == (pytest.approx(99.0, abs=0.02), pytest.approx(101.0, abs=0.02))
    low, high = interval(100.0, 1.5, 0.95)
    assert low > 0
    assert low * high == pytest.approx(1e4)
