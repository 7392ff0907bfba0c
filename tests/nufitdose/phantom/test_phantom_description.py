"""The description that a digital patient's study carries says what its scanner does."""

import numpy as np
import pytest

from nufitdose.grid import Grid
from nufitdose.phantom.description import describe_scanner
from nufitdose.phantom.scanner import SCANNERS, scan
from nufitdose.psf import FWHM_PER_SIGMA, sphere_recovery


@pytest.mark.parametrize("nuclide", ["Lu-177", "F-18"])
def test_the_width_of_a_point_is_the_resolution_described(nuclide):
    grid, share = Grid.from_spacing((41, 41, 41), (2.0, 2.0, 2.0)), 0.6
    point = np.zeros(grid.shape, dtype=np.float32)
    point[20, 20, 20] = 1e6
    depth_mm = np.full(grid.shape, 100.0 * share, dtype=np.float32)
    image = scan(point, depth_mm, grid, SCANNERS[nuclide], np.random.default_rng(0), noise=False).astype(np.float64)
    offset_mm = 2.0 * (np.arange(41) - 20)
    for axis in range(3):
        profile = image.sum(axis=tuple({0, 1, 2} - {axis}))
        variance = float(profile @ offset_mm**2 / profile.sum())
        described = describe_scanner(SCANNERS[nuclide], share, 0.0).fwhm_mm[axis]
        assert FWHM_PER_SIGMA * np.sqrt(variance) == pytest.approx(described, rel=0.02)


def test_where_resolution_follows_depth_it_is_described_at_the_surface_and_where_it_stays():
    described = describe_scanner(SCANNERS["Lu-177"], 0.6, 0.0)
    assert described.by_depth is not None
    assert [(at.depth_mm, at.fwhm_mm) for at in described.by_depth] == [(0.0, (9.0,) * 3), (100.0, (12.0,) * 3)]
    assert describe_scanner(SCANNERS["F-18"], 0.6, 0.0).by_depth is None


def test_the_recovery_curve_is_that_of_spheres_of_this_resolution():
    found = describe_scanner(SCANNERS["Lu-177"], 0.6, 0.04)
    assert found.recovery is not None
    for volume_ml in (1.0, 5.0, 20.0, 80.0):
        assert found.recovery.value(volume_ml) == pytest.approx(sphere_recovery(volume_ml, found.fwhm_mm[0]), abs=0.04)
    assert found.calibration is not None
    assert found.calibration.relative_u == pytest.approx(0.04)
    assert found.factor == 1.0
