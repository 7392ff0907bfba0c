"""greedy and ANTs as engines: their fields are those of our conventions, for a motion that is known."""

import numpy as np
import pytest
from support.small_scans import CENTRES_MM, moved, scan

from nufitdose.grid import Grid
from nufitdose.io.lps import RAS_LPS
from nufitdose.registration import register
from nufitdose.registration.engines.exchange import field_from_lps, lps_geometry
from nufitdose.registration.quality import target_registration_error_mm

#: What has to be importable for an engine, a small budget for it, and the share of the error that it may leave.
PEERS = {
    "greedy": (("picsl_greedy", "SimpleITK"), {"iterations": (40, 20, 0)}, 0.6),
    "greedy-both": (("picsl_greedy", "SimpleITK"), {"activity_weight": 0.5, "iterations": (40, 20, 0)}, 0.5),
    "ants": (("ants",), {"iterations": (20, 0), "radius": 2}, 0.9),
}


def test_a_voxel_lies_where_lps_says():
    turn = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn @ np.diag([2.0, 3.0, 5.0]), (10.0, -20.0, 30.0)
    grid = Grid((7, 6, 5), affine)
    place = lps_geometry(grid)
    index = np.array([2.0, 5.0, 4.0])
    lps = np.array(place.origin) + place.direction @ (index * place.spacing)
    np.testing.assert_allclose(RAS_LPS[:3, :3] @ lps, grid.world(index), atol=1e-9)
    field = np.zeros((5, 6, 7, 3), np.float32)
    field[4, 5, 2] = (1.0, 2.0, 3.0)
    np.testing.assert_array_equal(field_from_lps(field, grid).data[:, 2, 5, 4], [-1.0, -2.0, 3.0])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of the packages themselves
@pytest.mark.parametrize("engine", PEERS)
def test_a_known_motion_is_found(engine):
    modules, options, share = PEERS[engine]
    for module in modules:
        pytest.importorskip(module, reason="not installed (pip install 'nufitdose[peers]')")
    fixed, moving = scan("a", still=False), scan("b", still=True)
    points = CENTRES_MM - moved(CENTRES_MM)
    for _ in range(50):
        points = CENTRES_MM - moved(points)
    found = register(fixed, moving, engine=engine, options=options)
    before_mm = np.linalg.norm(points - CENTRES_MM, axis=1).mean()
    assert target_registration_error_mm(found.field, points, CENTRES_MM).mean() < share * before_mm
    assert found.rigid is not None
