"""The true motion of a pair: through the reference pose, in voxels of the fixed working grid."""

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from nufitdose.grid import Grid
from nufitdose.registration.field import DisplacementField
from nufitdose.training.truth import TrueMotion, half_lattice, true_displacement

TRUTH = Grid.from_spacing((40, 36, 44), (5.0, 5.0, 5.0))
FIXED = Grid.from_spacing((32, 24, 32), (6.0, 6.0, 6.0))
MOVING = Grid.from_spacing((24, 32, 40), (6.0, 6.0, 6.0))


def affine(seed: int) -> np.ndarray:
    chance = np.random.default_rng(seed)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(0.05 * chance.standard_normal(3)).as_matrix() + 0.02 * chance.standard_normal(
        (3, 3)
    )
    matrix[:3, 3] = 4.0 * chance.standard_normal(3)
    return matrix


def motion(matrix: np.ndarray) -> TrueMotion:
    inverse = np.linalg.inv(matrix)
    return TrueMotion(DisplacementField.from_affine(matrix, TRUTH), DisplacementField.from_affine(inverse, TRUTH))


def test_affine_motions_compose_in_closed_form():
    to_fixed, to_moving, start = affine(1), affine(2), affine(3)
    found = true_displacement(motion(to_fixed).on(FIXED), FIXED, motion(to_moving).on(MOVING), MOVING, start)
    assert found.shape == (1, 3, 16, 12, 16)
    wanted = np.linalg.inv(start) @ to_moving @ np.linalg.inv(to_fixed)
    in_voxels = FIXED.inverse_affine @ wanted @ FIXED.affine
    half = half_lattice(FIXED)
    index = FIXED.index(half.world(np.moveaxis(np.indices(half.shape), 0, -1).astype(float)))
    u = index @ in_voxels[:3, :3].T + in_voxels[:3, 3] - index
    inner = (slice(4, -4), slice(4, -4), slice(4, -4))
    np.testing.assert_allclose(np.moveaxis(found[0].numpy(), 0, -1)[inner], u[inner], atol=0.01)


def test_a_start_that_is_the_motion_leaves_nothing_to_find():
    to_moving = affine(4)
    found = true_displacement(motion(np.eye(4)).on(FIXED), FIXED, motion(to_moving).on(MOVING), MOVING, to_moving)
    assert found[:, :, 4:-4, 4:-4, 4:-4].abs().max() < 0.01


def test_the_half_lattice_is_where_pooled_voxels_lie():
    places = torch.from_numpy(FIXED.world(np.moveaxis(np.indices(FIXED.shape), 0, -1).astype(float))).float()
    pooled = torch.nn.functional.avg_pool3d(places.movedim(-1, 0)[None], 2)
    half = half_lattice(FIXED)
    wanted = half.world(np.moveaxis(np.indices(half.shape), 0, -1).astype(float))
    np.testing.assert_allclose(pooled[0].movedim(0, -1).numpy(), wanted, atol=1e-3)
