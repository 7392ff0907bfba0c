"""Bones move as wholes: rigid motion stays as it is, noise goes, joints bend, soft tissue is left alone."""

import numpy as np
from scipy.spatial.transform import Rotation

from nufitdose.registration.intensity import KNOTS_BRIGHTNESS, KNOTS_HU
from nufitdose.registration.optimiser.bones import bone_share, stiffen_bones

SHAPE = (20, 12, 28)
PLACE = 2.0 * np.indices(SHAPE, dtype=np.float64)
REACH = 4.0
ALL = 100.0  # every departure from rigid motion counts as noise


def rod() -> np.ndarray:
    """A straight bone along the last axis."""
    share = np.zeros(SHAPE, np.float32)
    share[8:11, 5:8] = 1.0
    return share


def turned(degrees: float, axis: int, about: tuple[float, float, float]) -> np.ndarray:
    """The displacement (voxels) of a rotation."""
    rotation = Rotation.from_euler("xyz"[axis], degrees, degrees=True).as_matrix()
    away = PLACE - np.reshape(about, (3, 1, 1, 1))
    return (np.einsum("cd,dijk->cijk", rotation, away) - away).astype(np.float32)


def test_a_rigid_motion_stays_as_it_is():
    u = turned(12.0, 0, (10.0, 12.0, 30.0)) + np.float32(3.0)
    np.testing.assert_allclose(stiffen_bones(u, rod(), REACH, ALL), u, atol=1e-4)


def test_noise_in_bone_goes_and_soft_tissue_is_left_alone():
    truth, share = turned(5.0, 1, (18.0, 12.0, 28.0)), rod()
    noisy = truth + np.random.default_rng(0).normal(0.0, 0.5, truth.shape).astype(np.float32)
    found = stiffen_bones(noisy, share, REACH, 1.0)
    bone = share > 0
    before, after = (np.sqrt(((u - truth)[:, bone] ** 2).mean()) for u in (noisy, found))
    assert after < 0.35 * before
    assert np.array_equal(found[:, ~bone], noisy[:, ~bone])


def test_stretching_and_shearing_are_taken_out_of_a_bone_that_lies_within_reach():
    share = np.zeros(SHAPE, np.float32)
    share[8:11, 5:8, 12:15] = 1.0
    stretched = np.stack([0.2 * (PLACE[0] - 18.0), 0.1 * (PLACE[0] - 18.0), np.zeros(SHAPE)]).astype(np.float32)
    found = stiffen_bones(stretched, share, 100.0, ALL)[:, 8:11, 5:8, 12:15]
    along = np.diff(found[0], axis=0) / 2.0
    across = np.diff(found[1], axis=0) / 2.0 + np.diff(found[0], axis=1)[:2].mean() / 2.0
    assert np.abs(along).max() < 0.02
    assert np.abs(across).max() < 0.02


def test_a_column_that_bends_slowly_keeps_its_bend():
    z = PLACE[2] - 27.0
    bent = np.stack([0.004 * z**2, np.zeros(SHAPE), np.zeros(SHAPE)]).astype(np.float32)
    found = stiffen_bones(bent, rod(), 2.0, ALL)
    assert np.abs(found - bent)[:, 9, 6, 6:-6].max() < 0.15


def test_bones_that_do_not_move_rigidly_are_left_as_they_are():
    share, away = rod(), PLACE[2] - 27.0
    stretched = np.stack([np.zeros(SHAPE), np.zeros(SHAPE), 0.2 * away]).astype(np.float32)
    trusting, doubting = (
        np.abs(stiffen_bones(stretched, share, REACH, noise) - stretched).max() for noise in (ALL, 0.2)
    )
    assert trusting > 1.0
    assert doubting < 0.05 * trusting


def test_only_large_bright_parts_of_the_body_are_bone():
    hu = np.full((16, 16, 16), 30.0, np.float32)
    hu[2:8, 2:8, 2:8] = 400.0
    hu[12:14, 12:14, 12:14] = 400.0  # 0.5 mL of voxels of 4 mm
    hu[2:8, 10:16, 2:8] = 900.0  # the couch
    body = np.ones(hu.shape, np.float32)
    body[:, 9:] = 0.0
    share = bone_share(np.interp(hu, KNOTS_HU, KNOTS_BRIGHTNESS).astype(np.float32), body, 0.064)
    assert share.shape == (8, 8, 8)
    assert set(np.unique(share)) == {0.0, 1.0}
    assert share.sum() == 27


def test_without_bone_nothing_changes():
    u = np.random.default_rng(1).normal(size=(3, *SHAPE)).astype(np.float32)
    assert stiffen_bones(u, np.zeros(SHAPE, np.float32), REACH, ALL) is u
