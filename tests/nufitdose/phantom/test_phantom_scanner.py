"""The scanner: counts kept, resolution as stated, noise as Poisson, recovery as a Gaussian predicts."""

import math

import numpy as np
import pytest

from nufitdose.grid import Grid
from nufitdose.phantom.attenuation import correction_error, linear_attenuation
from nufitdose.phantom.scanner import SCANNERS, SimulatedScanner, scan, scan_ct

_GRID = Grid.from_spacing((64, 64, 64), (3.0, 3.0, 3.0))
_DEEP = np.full(_GRID.shape, 200.0, dtype=np.float32)
_SKIN = np.zeros(_GRID.shape, dtype=np.float32)
_SPECT = SimulatedScanner("test", 12.0, 9.0, 7.0, 1500.0, 0.11)


def ball(radius_mm, value=1e5, supersample=4):
    """Volume fraction of a ball around voxel 32 of _GRID, times a concentration."""
    offsets = (np.arange(supersample) + 0.5) / supersample - 0.5
    axis = (np.arange(64) - 32) * 3.0
    out = np.zeros(_GRID.shape)
    for a in offsets:
        for b in offsets:
            for c in offsets:
                x, y, z = np.meshgrid(axis + 3 * a, axis + 3 * b, axis + 3 * c, indexing="ij", sparse=True)
                out += x**2 + y**2 + z**2 < radius_mm**2
    return (value * out / supersample**3).astype(np.float32)


def test_total_activity_is_kept_within_the_noise_of_the_counts():
    true = ball(40.0)
    image = scan(true, _DEEP, _GRID, _SPECT, np.random.default_rng(1))
    events = true.sum(dtype=float) * 1e-6 * _GRID.voxel_volume_ml * _SPECT.events_per_mbq
    assert image.sum(dtype=float) == pytest.approx(true.sum(dtype=float), rel=4 / math.sqrt(events))
    quiet = scan(true, _DEEP, _GRID, _SPECT, np.random.default_rng(1), noise=False)
    assert quiet.sum(dtype=float) == pytest.approx(true.sum(dtype=float), rel=1e-4)


@pytest.mark.parametrize(("depth", "fwhm"), [(_DEEP, 12.0), (_SKIN, 9.0)])
def test_a_point_is_as_wide_as_stated(depth, fwhm):
    point = np.zeros(_GRID.shape, dtype=np.float32)
    point[32, 32, 32] = 1e6
    image = scan(point, depth, _GRID, _SPECT, np.random.default_rng(1), noise=False)
    offset = (np.arange(64) - 32) * 3.0
    for profile in (image.sum(axis=(1, 2)), image.sum(axis=(0, 2)), image.sum(axis=(0, 1))):
        sigma = math.sqrt((profile * offset**2).sum() / profile.sum())
        assert 2.3548 * sigma == pytest.approx(fwhm, rel=0.02)


def test_a_wider_scanner_blurs_so_much_more_and_keeps_every_count():
    point = np.zeros(_GRID.shape, dtype=np.float32)
    point[32, 32, 32] = 1e6
    offset = (np.arange(64) - 32) * 3.0
    image = scan(point, _DEEP, _GRID, _SPECT.with_resolution(1.5), np.random.default_rng(1), noise=False)
    profile = image.sum(axis=(0, 1))
    assert 2.3548 * math.sqrt((profile * offset**2).sum() / profile.sum()) == pytest.approx(1.5 * 12.0, rel=0.02)
    assert image.sum(dtype=float) == pytest.approx(1e6, rel=1e-3)


def test_a_position_dependent_resolution_keeps_every_count():
    depth = np.broadcast_to(np.linspace(0, 150, 64, dtype=np.float32)[:, None, None], _GRID.shape)
    true = ball(30.0)
    image = scan(true, np.ascontiguousarray(depth), _GRID, _SPECT, np.random.default_rng(1), noise=False)
    assert image.sum(dtype=float) == pytest.approx(true.sum(dtype=float), rel=1e-4)


@pytest.mark.parametrize("radius_mm", [8.0, 13.0, 18.5, 28.0])
def test_recovery_in_the_middle_of_a_sphere_is_that_of_a_gaussian(radius_mm):
    """RC(0) = erf(R/√2σ) - √(2/π)(R/σ) e^(-R²/2σ²)."""
    image = scan(ball(radius_mm, 1.0), _DEEP, _GRID, _SPECT, np.random.default_rng(1), noise=False)
    s = radius_mm / (12.0 / 2.3548)
    expected = math.erf(s / math.sqrt(2)) - math.sqrt(2 / math.pi) * s * math.exp(-(s**2) / 2)
    assert image[32, 32, 32] == pytest.approx(expected, abs=0.02)


def test_noise_is_poisson_in_events_and_smoothed_by_the_post_filter():
    """Var = c/(n·Δv)·∏ 1/(2√π σ): a Gaussian filter of σ voxels leaves 1/(2√π σ) of white variance per axis."""
    level = 2e5
    flat = np.full(_GRID.shape, level, dtype=np.float32)
    image = scan(flat, _DEEP, _GRID, _SPECT, np.random.default_rng(2))[16:-16, 16:-16, 16:-16]
    events = level * 1e-6 * _GRID.voxel_volume_ml * _SPECT.events_per_mbq
    sigma = 7.0 / 2.3548 / 3.0
    expected = level / math.sqrt(events) * (1 / (2 * math.sqrt(math.pi) * sigma)) ** 1.5
    assert image.std() == pytest.approx(expected, rel=0.12)
    shifted = np.corrcoef(image[:-1].ravel(), image[1:].ravel())[0, 1]
    assert shifted == pytest.approx(math.exp(-1 / (4 * sigma**2)), abs=0.08)
    quieter = scan(flat, _DEEP, _GRID, _SPECT.with_counts(4.0), np.random.default_rng(2))[16:-16, 16:-16, 16:-16]
    assert quieter.std() == pytest.approx(image.std() / 2, rel=0.12)


def test_penetration_leaves_a_halo_of_its_share():
    scanner = SCANNERS["I-131"]
    true = ball(12.0)
    image = scan(true, _DEEP, _GRID, scanner, np.random.default_rng(1), noise=False)
    plain = scan(
        true, _DEEP, _GRID, SimulatedScanner("x", 15.0, 11.0, 8.0, 1.0, 0.1), np.random.default_rng(1), noise=False
    )
    assert image[32, 32, 32] == pytest.approx((1 - scanner.background) * plain[32, 32, 32], rel=0.05)
    assert image[32, 32, 60] > 10 * plain[32, 32, 60]


def test_the_attenuation_error_is_one_with_the_right_map_and_below_one_where_tissue_is_missing_from_it():
    body = np.full((40, 40, 10), -1000.0, dtype=np.float32)
    body[5:-5, 5:-5] = 0.0
    grid = Grid.from_spacing((40, 40, 10), (8.0, 8.0, 8.0))
    assert correction_error(body, body, grid, 0.11) == pytest.approx(1.0)
    lung = body.copy()
    lung[10:20, 10:30] = -800.0
    assert correction_error(body, lung, grid, 0.11)[20, 20, 5] < 0.95
    water = np.zeros((1, 1, 1), dtype=np.float32)
    assert linear_attenuation(water, 0.11) == pytest.approx(0.11)
    # A centred source behind 12 cm of water on four sides is seen through exp(-μ·12 cm).
    slab = np.zeros((41, 41, 3), dtype=np.float32)
    wide = Grid.from_spacing((41, 41, 3), (6.0, 6.0, 6.0))
    air = np.full(slab.shape, -1000.0, dtype=np.float32)
    assert correction_error(slab, air, wide, 0.1)[20, 20, 1] == pytest.approx(math.exp(-0.1 * 12.3), rel=1e-3)


def test_ct_noise_has_its_size_and_the_couch_lies_below_the_patient():
    air = np.full(_GRID.shape, -1000.0, dtype=np.float32)
    water = np.zeros(_GRID.shape, dtype=np.float32)
    image = scan_ct(water, _GRID, np.random.default_rng(1), noise_hu=12.0, couch_y_mm=-60.0, field_mm=None)
    assert image.std() == pytest.approx(12.0, rel=0.05)
    table = scan_ct(air, _GRID, np.random.default_rng(1), noise_hu=0.0, couch_y_mm=-60.0, field_mm=None)
    y = _GRID.world(np.stack([np.zeros(64), np.arange(64.0), np.zeros(64)], axis=1))[:, 1]
    assert (table[:, y > -60, :] == -1000).all()
    assert (table[10, (y < -61) & (y > -67), :] == -350).all()
