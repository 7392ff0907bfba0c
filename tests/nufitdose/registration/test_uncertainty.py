"""The uncertainty of a registration: large where images say nothing, along edges, and where they disagree."""

import numpy as np
import pytest

from nufitdose.grid import Grid
from nufitdose.registration.field import DisplacementField
from nufitdose.registration.uncertainty import (
    Calibration,
    gather_evidence,
    mean_inside,
    registration_uncertainty,
    uncertainty_of,
)
from nufitdose.study import TimePoint
from nufitdose.volume import Quantity, Volume

GRID = Grid.from_spacing((40, 36, 32), (4.0, 4.0, 4.0))


def world() -> np.ndarray:
    return GRID.world(np.moveaxis(np.indices(GRID.shape), 0, -1).astype(float))


def body(noise_hu: float, seed: int = 0) -> TimePoint:
    """A trunk of 20 HU with a ball of 200 HU and a plate of 200 HU across x."""
    points = world()
    inside = (points[..., 0] / 72) ** 2 + (points[..., 1] / 64) ** 2 < 1
    hu = np.where(inside, 20.0, -1000.0)
    hu[np.linalg.norm(points - (0.0, 0.0, -20.0), axis=-1) < 10] = 200.0
    hu[(np.abs(points[..., 0]) < 8) & (points[..., 2] > 16) & inside] = 200.0
    chance = np.random.default_rng(seed)
    hu = hu + inside * chance.normal(0, noise_hu, hu.shape)
    activity = np.where(inside, 1e4, 0.0)
    return TimePoint.of(
        f"s{seed}",
        1.0 + seed,
        Volume(activity.astype(np.float32), GRID, Quantity.ACTIVITY),
        Volume(hu.astype(np.float32), GRID, Quantity.HU),
    )


def at(volume: Volume, *mm: float) -> float:
    return float(volume.data[tuple(np.rint(GRID.index(np.array(mm))).astype(int))])


def test_inverse_of_the_precision_is_that_of_numpy():
    chance = np.random.default_rng(0)
    half = chance.normal(0, 1, (5, 3, 3))
    full = half @ half.transpose(0, 2, 1)
    upper = np.stack([full[:, p, q] for p, q in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))])
    bending = chance.uniform(0, 5, 5)
    found = uncertainty_of(upper, bending, Calibration(0.7, 2.0, 0.5))
    for n in range(5):
        whole = 0.7 * full[n] + np.eye(3) / (4.0 + 0.25 * bending[n] ** 2)
        assert found[n] == pytest.approx(np.sqrt(np.trace(np.linalg.inv(whole)) / 3), rel=1e-5)


def test_a_ball_is_surer_than_a_plate_and_a_plate_surer_than_nothing():
    u_mm = registration_uncertainty(body(10.0), body(10.0, 1), DisplacementField.identity(GRID))
    ball, plate, plain = at(u_mm, 0.0, 0.0, -20.0), at(u_mm, 0.0, 0.0, 40.0), at(u_mm, 36.0, 0.0, -8.0)
    assert 0 < ball < plate < plain
    assert at(u_mm, -78.0, -70.0, 0.0) == 0
    assert ball < mean_inside(u_mm)
    precision = gather_evidence(body(10.0), body(10.0, 1), DisplacementField.identity(GRID)).precision
    across, along = (precision[n][tuple(np.rint(GRID.index(np.array((0.0, 0.0, 40.0)))).astype(int))] for n in (0, 3))
    assert across > 10 * along  # the plate tells x and leaves y open: the aperture problem


def test_noise_and_misalignment_make_it_larger():
    still = DisplacementField.identity(GRID)
    quiet = registration_uncertainty(body(4.0), body(4.0, 1), still)
    loud = registration_uncertainty(body(80.0), body(80.0, 1), still)
    apart = np.zeros((3, *GRID.shape), np.float32)
    apart[2] = 10.0
    off = registration_uncertainty(body(4.0), body(4.0, 1), DisplacementField(apart, GRID))
    place = (0.0, 0.0, -20.0)
    assert at(loud, *place) > 1.5 * at(quiet, *place)
    assert at(off, *place) > 1.5 * at(quiet, *place)


def test_a_rigid_motion_is_no_bending_and_a_bend_is():
    angle = np.radians(10)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turn[:3, 3] = (4.0, -3.0, 8.0)
    rigid = DisplacementField.from_affine(turn, GRID)
    assert gather_evidence(body(4.0), body(4.0, 1), rigid).bending_mm.max() < 1e-3
    bent = rigid.data.copy()
    bent[2] += 6 * np.exp(-((world() / 30) ** 2).sum(axis=-1)).astype(np.float32)
    found = gather_evidence(body(4.0), body(4.0, 1), DisplacementField(bent, GRID))
    assert found.bending_mm.max() > 2.5
