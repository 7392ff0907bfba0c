"""A resolution that follows depth: counts kept, both limits, and spheres at two depths found again."""

import logging
import math
from dataclasses import replace

import numpy as np
import pytest

from dosimetry.config import RecoverySettings
from dosimetry.recovery import correct_frames, plan_recovery
from dosimetry.recovery.by_volume import recovery_by_curve
from dosimetry.recovery.point_spread import PointSpread, depth_below_surface_mm, spread_by_depth
from dosimetry.recovery.resolution import relative_u_fwhm
from dosimetry.structures import regions_of
from nufitdose.anatomy.prepared import PreparedAnatomy
from nufitdose.anatomy.regions import region_on
from nufitdose.grid import Grid
from nufitdose.phantom.description import describe_scanner
from nufitdose.phantom.scanner import SCANNERS, scan
from nufitdose.psf import FWHM_PER_SIGMA, blur, sphere_recovery
from nufitdose.registration.series import overlay_series
from nufitdose.scanner import RecoveryCurve, ResolutionAtDepth, Scanner
from nufitdose.study import Administration, Structures, Study, TimePoint
from nufitdose.volume import Quantity, Volume

_GRID = Grid.from_spacing((60, 40, 40), (4.0, 4.0, 4.5))
_WHOLE = (slice(None),) * 3
_POINTS = _GRID.world(np.argwhere(np.ones(_GRID.shape))).reshape(*_GRID.shape, 3) - _GRID.centre_mm
_BODY = np.indices(_GRID.shape)[0] >= 6  # a surface across the first axis, the body goes on behind the grid
_DEPTH_MM = depth_below_surface_mm(_BODY, _GRID.spacing_mm)
_AT = (ResolutionAtDepth(10.0, (9.0, 9.0, 10.0)), ResolutionAtDepth(110.0, (13.0, 12.0, 12.0)))
_CURVE = RecoveryCurve(3.0, 0.9, ((0.01, 0.0), (0.0, 0.001)))
_SPECT = SCANNERS["Lu-177"]


def spread(depth_mm=_DEPTH_MM, at=_AT):
    return spread_by_depth((11.0, 11.0, 11.0), at, depth_mm)


def ball(radius_mm, centre_mm):
    return np.linalg.norm(_POINTS - np.array(centre_mm), axis=-1) < radius_mm


def test_depth_is_the_distance_to_the_outside_and_the_body_goes_on_behind_the_rim():
    np.testing.assert_allclose(_DEPTH_MM[:, 20, 20], np.maximum(4.0 * (np.arange(60) - 5), 0.0))
    within = np.zeros((20, 20, 20), dtype=bool)
    within[5:16, 6:15, 4:18] = True
    index = np.argwhere(~within)
    away_mm = np.linalg.norm((index - (10, 9, 11)) * (2.0, 3.0, 2.5), axis=1).min()
    assert depth_below_surface_mm(within, (2.0, 3.0, 2.5))[10, 9, 11] == pytest.approx(away_mm)
    assert not depth_below_surface_mm(~np.ones((3, 3, 3), dtype=bool), (1.0, 1.0, 1.0)).any()
    assert np.isinf(depth_below_surface_mm(np.ones((3, 3, 3), dtype=bool), (1.0, 1.0, 1.0))).all()


def test_counts_are_kept():
    image = np.zeros(_GRID.shape, dtype=np.float32)
    image[18:42, 14:26, 14:26] = np.random.default_rng(1).gamma(0.5, 1e4, (24, 12, 12))
    shown = spread().blur(image, _WHOLE, _GRID.spacing_mm)
    assert shown.sum(dtype=np.float64) == pytest.approx(image.sum(dtype=np.float64), rel=1e-4)


def test_the_variance_of_a_point_is_linear_in_depth_between_the_two_and_stays_beyond():
    for i, share in ((6, 0.0), (18, 0.42), (23, 0.62), (40, 1.0)):
        point = np.zeros(_GRID.shape, dtype=np.float32)
        point[i, 20, 20] = 1e6
        shown = spread().blur(point, _WHOLE, _GRID.spacing_mm).astype(np.float64)
        shallow, deep = (np.array(at.fwhm_mm[1:]) for at in _AT)
        for axis, width in zip((1, 2), share * deep**2 + (1.0 - share) * shallow**2, strict=True):
            profile = shown.sum(axis=tuple({0, 1, 2} - {axis}))
            offset_mm = _GRID.spacing_mm[axis] * (np.arange(40) - 20)
            variance = profile @ offset_mm**2 / profile.sum()
            assert FWHM_PER_SIGMA**2 * variance == pytest.approx(width, rel=0.02)


def test_both_limits_and_equal_widths_are_a_single_gaussian():
    image = np.random.default_rng(2).gamma(0.5, 1e4, _GRID.shape).astype(np.float32)
    for depth_mm, at in ((0.0, _AT[0]), (200.0, _AT[1]), (np.inf, _AT[1])):
        shown = spread(np.full(_GRID.shape, depth_mm, dtype=np.float32)).blur(image, _WHOLE, _GRID.spacing_mm)
        np.testing.assert_array_equal(shown, blur(image, at.fwhm_mm, _GRID.spacing_mm, extend=True))
    alike = [ResolutionAtDepth(depth, (11.0, 11.0, 11.0)) for depth in (0.0, 100.0)]
    shown = spread(at=alike).blur(image, _WHOLE, _GRID.spacing_mm)
    np.testing.assert_allclose(shown, blur(image, (11.0,) * 3, _GRID.spacing_mm, extend=True), rtol=1e-4)


_NEAR, _FAR = ball(16.0, (-75.0, 0.0, 0.0)), ball(16.0, (40.0, 0.0, 0.0))
_NAMES = {1: "near", 2: "far"}


def study(scanner):
    """Two balls of 16 mm in warm tissue, 23 and 138 mm below the surface, as the simulated scanner shows them."""
    labels = (_NEAR * 1 + _FAR * 2).astype(np.uint8)
    true = np.where(_BODY, np.array([2e4, 5e5, 5e5])[labels], 0.0).astype(np.float32)
    image = scan(true, _DEPTH_MM, _GRID, _SPECT, np.random.default_rng(0), noise=False)
    drawn = Structures((Volume(labels, _GRID, Quantity.LABELS),), _NAMES)
    point = TimePoint.of("tp1", 24.0, Volume(image, _GRID, Quantity.ACTIVITY), None, drawn)
    return Study("p", "Lu-177", Administration(7400.0), "tp1", (point,), scanner=scanner), true


def found_by(scanner, anatomy):
    given, true = study(scanner)
    frames, regions = overlay_series(given), regions_of(given)
    plan = plan_recovery(given, frames, regions, anatomy, RecoverySettings())
    (done,), recovery = correct_frames(plan, frames)
    truth = done.activity.with_data(true)
    errors = {name: region.integral(done.activity) / region.integral(truth) - 1.0 for name, region in regions.items()}
    return errors, plan, frames[0], done, recovery


def anatomy():
    density = Volume(np.where(_BODY, 1.0, 0.001).astype(np.float32), _GRID, Quantity.SCALAR)
    return PreparedAnatomy(_BODY.astype(np.float32), _BODY, density)


def test_spheres_at_two_depths_are_found_again_and_by_one_width_not():
    described = describe_scanner(_SPECT, 0.6, 0.0)
    errors, plan, frame, done, recovery = found_by(described, anatomy())
    assert errors == pytest.approx({"near": 0.0, "far": 0.0}, abs=0.01)
    assert recovery.fwhm_mm == (9.0, 12.0)
    assert plan.own_fwhm_mm == pytest.approx({"near": np.sqrt(0.23 * 12.0**2 + 0.77 * 9.0**2), "far": 12.0}, rel=0.01)
    for name, region in plan.regions.items():
        reading = plan.reading(frame, name)
        assert reading is not None
        assert reading.activity_bq == pytest.approx(region.integral(done.activity), rel=1e-4)
        brighter = frame.activity.data.copy()
        brighter[reading.box] *= 1.0 + 0.002 * np.random.default_rng(3).random(brighter[reading.box].shape)
        by_weights = np.vdot(reading.weights, (brighter - frame.activity.data)[reading.box])
        again = plan.matrices[0].reading(name, region, brighter).activity_bq
        assert again - reading.activity_bq == pytest.approx(by_weights, rel=0.02)
    by_one, *_ = found_by(replace(described, by_depth=None), anatomy())
    assert by_one["near"] > 0.03
    assert by_one["far"] < -0.02


def test_without_a_ct_the_one_width_stands_for_all_depths_and_it_is_said(caplog):
    described = describe_scanner(_SPECT, 0.6, 0.0)
    with caplog.at_level(logging.WARNING):
        _, plan, *_ = found_by(described, None)
    assert "no CT shows where the body ends" in caplog.text
    assert plan.fwhm_mm == pytest.approx((described.fwhm_mm[0],) * 2)


def test_recovery_by_the_curve_follows_the_depth_of_the_structure():
    regions = {name: region_on(mask, _GRID, _GRID) for name, mask in (("near", _NEAR), ("far", _FAR))}
    alike, by_depth = PointSpread((11.0,) * 3), spread()
    usual = recovery_by_curve(_CURVE, alike, regions, list(regions))
    own = recovery_by_curve(_CURVE, by_depth, regions, list(regions))
    for name, region in regions.items():
        assert usual[name][0] == _CURVE.value(region.volume_ml)
        fwhm = by_depth.mean_fwhm_mm(region)
        ratio = sphere_recovery(region.volume_ml, fwhm) / sphere_recovery(region.volume_ml, 11.0)
        assert own[name][0] == pytest.approx(usual[name][0] * ratio)
    assert own["far"][0] < usual["far"][0] < own["near"][0]


def test_u_of_the_resolution_is_what_is_stated_and_what_no_statement_covers():
    scanner = Scanner("S", (11.0, 11.0, 11.0))
    by_two, by_one = (relative_u_fwhm(scanner, by_depth=known) for known in (True, False))
    assert by_two == pytest.approx(math.hypot(0.05, 0.03))  # in patients; no Gaussian
    assert by_one == pytest.approx(math.hypot(by_two, 0.038))  # of one width for all depths
    assert relative_u_fwhm(replace(scanner, u_fwhm_percent=0.0), by_depth=True) == pytest.approx(0.03)
    assert relative_u_fwhm(replace(scanner, u_fwhm_percent=10.0), by_depth=True) == pytest.approx(math.hypot(0.1, 0.03))
