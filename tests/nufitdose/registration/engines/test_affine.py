"""Affine registration of a trunk of another size and pose."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from support.small_scans import CENTRES_MM, scan

from nufitdose.registration.engines.linear import affine_pose, rigid_pose


def truth() -> np.ndarray:
    """From the fixed to the moving world: 4 % larger along x, 5 % smaller along z, sheared, turned, shifted."""
    matrix = np.eye(4)
    strain = np.array([[1.04, 0.03, 0.0], [0.0, 1.0, 0.02], [0.0, 0.0, 0.95]])
    matrix[:3, :3] = Rotation.from_euler("xyz", [2.0, -3.0, 4.0], degrees=True).as_matrix() @ strain
    matrix[:3, 3] = (2.0, -3.0, 5.0)
    return matrix


def errors_mm(found: np.ndarray) -> np.ndarray:
    wanted = CENTRES_MM @ truth()[:3, :3].T + truth()[:3, 3]
    return np.linalg.norm(CENTRES_MM @ found[:3, :3].T + found[:3, 3] - wanted, axis=1)


@pytest.mark.parametrize(("basis", "limit_mm"), [("CT", 1.5), ("activity", 0.8)])
def test_size_shear_and_pose_are_found(basis, limit_mm):
    fixed = scan("a", still=True)
    moving = scan("b", still=True, matrix=np.linalg.inv(truth()))
    assert errors_mm(rigid_pose(fixed, moving, basis).matrix).mean() > 2.5
    assert errors_mm(affine_pose(fixed, moving, basis).matrix).mean() < limit_mm


def test_equal_scans_need_no_strain():
    same = scan("a", still=True)
    np.testing.assert_allclose(affine_pose(same, same, "CT").matrix, np.eye(4), atol=0.05)
