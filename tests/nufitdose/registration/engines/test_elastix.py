"""elastix as an engine: its field is that of our conventions, on an oblique grid, for a motion that is known."""

import numpy as np
import pytest
from support.small_scans import CENTRES_MM, moved, scan

from nufitdose.grid import Grid
from nufitdose.registration import register
from nufitdose.registration.engines.elastix import _to_itk
from nufitdose.registration.engines.exchange import field_from_lps
from nufitdose.registration.quality import target_registration_error_mm
from nufitdose.volume import Quantity, Volume

itk = pytest.importorskip("itk", reason="itk-elastix is not installed (pip install 'nufitdose[peers]')")
# ITK's modules load when first used, warn of their own wrapping, and crash where that is made an error.
pytestmark = pytest.mark.filterwarnings("ignore:builtin type:DeprecationWarning")


def oblique_grid() -> Grid:
    turn = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([2.0, 3.0, 5.0])
    affine[:3, 3] = (10.0, -20.0, 30.0)
    return Grid((7, 6, 5), affine)


def test_a_voxel_lies_where_itk_sees_it():
    grid = oblique_grid()
    image = _to_itk(Volume(np.arange(210, dtype=np.float32).reshape(7, 6, 5), grid, Quantity.HU))
    for index in ((0, 0, 0), (6, 1, 3), (2, 5, 4)):
        lps = np.array(image.TransformIndexToPhysicalPoint([int(n) for n in index]))
        np.testing.assert_allclose(lps * [-1, -1, 1], grid.world(np.array(index, dtype=float)), atol=1e-9)
        assert image.GetPixel([int(n) for n in index]) == index[0] * 30 + index[1] * 5 + index[2]


def test_a_displacement_of_itk_is_turned_to_ras():
    grid = oblique_grid()
    lps = np.zeros((5, 6, 7, 3), np.float32)
    lps[4, 5, 2] = (1.0, 2.0, 3.0)
    field = field_from_lps(lps, grid)
    np.testing.assert_array_equal(field.data[:, 2, 5, 4], [-1.0, -2.0, 3.0])
    assert np.count_nonzero(field.data) == 3


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["elastix", "elastix-tuned"])
def test_a_known_motion_is_found(engine):
    fixed, moving = scan("a", still=False), scan("b", still=True)
    points = CENTRES_MM - moved(CENTRES_MM)
    for _ in range(50):
        points = CENTRES_MM - moved(points)
    few = {"iterations": 100}
    found = register(fixed, moving, engine=engine, options=few)
    before_mm = np.linalg.norm(points - CENTRES_MM, axis=1).mean()
    assert target_registration_error_mm(found.field, points, CENTRES_MM).mean() < 0.6 * before_mm
    assert found.weights_sha256 is None
