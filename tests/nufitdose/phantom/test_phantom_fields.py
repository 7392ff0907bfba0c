"""Maps of the body: exponentials against closed forms, exact inverses, Jacobians."""

import math

import numpy as np
import pytest

from nufitdose.grid import Grid
from nufitdose.phantom import PatientSettings, simulate_patient
from nufitdose.phantom.fields import BodyMap, exponential, jacobian_determinant, rigid_motion
from nufitdose.phantom.texture import SmoothNoise

_LATTICE = Grid.from_spacing((28, 30, 32), (6.0, 6.0, 6.0))
_NO_TURN = np.eye(4)
_INNER = Grid.from_spacing((20, 20, 20), (4.0, 4.0, 4.0))


def positions(grid):
    return np.moveaxis(grid.world(np.moveaxis(np.indices(grid.shape).astype(float), 0, -1)), -1, 0)


def flow(velocity, rigid=_NO_TURN):
    return BodyMap(_LATTICE, exponential(_LATTICE, velocity), exponential(_LATTICE, -velocity), rigid)


def smooth_map(size_mm, seed=1, rigid=_NO_TURN):
    random = np.random.default_rng(seed)
    velocity = np.stack([SmoothNoise.draw(random, (80.0, 160.0)).on(_LATTICE) for _ in range(3)]) * np.float32(size_mm)
    return flow(velocity, rigid)


def test_a_constant_velocity_is_a_shift():
    velocity = np.broadcast_to(np.array([3.0, -5.0, 7.0], np.float32)[:, None, None, None], (3, *_LATTICE.shape))
    field = flow(np.ascontiguousarray(velocity)).field(_INNER)
    assert field == pytest.approx(np.broadcast_to(np.array([3, -5, 7])[:, None, None, None], field.shape), abs=1e-4)


def test_a_swirl_is_a_rotation_and_a_swelling_an_exponential():
    """v = ω×x is a rotation by |ω|; v = s·x scales by e^s."""
    x, y, _ = positions(_LATTICE)
    angle = math.radians(20)
    swirl = np.stack([-angle * y, angle * x, 0 * x]).astype(np.float32)
    p, q, _ = positions(_INNER)
    field = flow(swirl).field(_INNER)
    # Scaling and squaring with 2^-7 of the angle leaves a stretch of θ²/2^8.
    assert p + field[0] == pytest.approx(math.cos(angle) * p - math.sin(angle) * q, abs=0.05)
    swell = flow((0.2 * positions(_LATTICE)).astype(np.float32))
    assert swell.field(_INNER) == pytest.approx(positions(_INNER) * (math.exp(0.2) - 1), abs=0.05)
    assert jacobian_determinant(swell.field(_INNER), _INNER) == pytest.approx(math.exp(0.6), rel=2e-3)


def test_the_jacobian_of_a_linear_map_is_its_determinant_on_an_oblique_grid():
    turn = rigid_motion(np.zeros(3), np.array([10.0, -20.0, 30.0]), np.zeros(3))
    affine = turn @ np.diag([2.0, 3.0, 5.0, 1.0])
    grid = Grid((9, 8, 7), affine)
    matrix = np.array([[0.9, 0.1, 0.0], [-0.2, 1.1, 0.05], [0.0, 0.1, 1.3]])
    field = np.einsum("ab,bijk->aijk", matrix - np.eye(3), positions(grid)).astype(np.float32)
    assert jacobian_determinant(field, grid) == pytest.approx(np.linalg.det(matrix), rel=1e-4)


@pytest.mark.parametrize("size_mm", [2.0, 8.0, 12.0])
def test_forward_and_inverse_compose_to_the_identity(size_mm):
    rigid = rigid_motion(np.array([5.0, -8.0, 10.0]), np.array([1.0, 2.0, -1.5]), np.zeros(3))
    pose = smooth_map(size_mm, rigid=rigid)
    there = pose.move(positions(_INNER).reshape(3, -1).T)
    again = pose.inverse_field(_INNER)
    # Walk from the moved pose back, at the grid points of the moved pose, then forward again.
    back = positions(_INNER) + again
    assert pose.move(back.reshape(3, -1).T) == pytest.approx(positions(_INNER).reshape(3, -1).T, abs=0.02)
    assert there.reshape(20, 20, 20, 3) == pytest.approx(
        np.moveaxis(positions(_INNER) + pose.field(_INNER), 0, -1), abs=1e-3
    )


def test_the_inverse_of_the_exponential_is_the_exponential_of_minus_v():
    pose = smooth_map(8.0)
    backward = BodyMap(pose.lattice, pose.backward, pose.forward, np.eye(4)).field(_INNER)
    assert pose.inverse_field(_INNER) == pytest.approx(backward, abs=0.5)


def test_a_rigid_motion_keeps_lengths_and_its_centre():
    centre = np.array([10.0, 20.0, 30.0])
    m = rigid_motion(np.zeros(3), np.array([5.0, 6.0, 7.0]), centre)
    assert m[:3, :3] @ m[:3, :3].T == pytest.approx(np.eye(3), abs=1e-12)
    assert m[:3, :3] @ centre + m[:3, 3] == pytest.approx(centre)


def test_smooth_noise_has_mean_zero_variance_one_and_the_wavelengths_asked_for():
    noise = SmoothNoise.draw(np.random.default_rng(5), (20.0, 60.0))
    grid = Grid.from_spacing((64, 64, 64), (noise.spacing_mm,) * 3, centre_mm=(31.5 * noise.spacing_mm,) * 3)
    values = noise.on(grid)
    assert abs(values.mean()) < 0.01
    assert values.std() == pytest.approx(1.0, abs=0.02)
    power = np.abs(np.fft.fftn(values)) ** 2
    f = np.linalg.norm(np.stack(np.meshgrid(*[np.fft.fftfreq(64, noise.spacing_mm)] * 3, indexing="ij")), axis=0)
    assert power[(f > 1 / 61) & (f < 1 / 19)].sum() > 0.99 * power.sum()
    pull = np.full((3, 64, 64, 64), 64 * noise.spacing_mm, dtype=np.float32)
    assert noise.on(grid, pull) == pytest.approx(values, abs=2e-3)  # periodic


def test_large_motion_is_inverted_too():
    """Strong gradients, where plain fixed-point steps run away, still end within 0.01 mm of where they began."""
    truth = simulate_patient(
        PatientSettings(
            shape=(32, 32, 32), spacing_mm=12.0, seed=8, motion=3.0, times_h=(4.0, 24.0), ct_spacing_mm=12.0
        )
    ).truth
    scan = truth.timepoint("tp2")
    index = np.stack(np.meshgrid(*[np.arange(n) for n in scan.grid.shape], indexing="ij"), -1).reshape(-1, 3)
    there = scan.grid.world(index)
    back = there + scan.inverse.reshape(3, -1).T
    assert np.linalg.norm(scan.pose.move(back) - there, axis=1).max() < 0.01
