"""Lungs that slide along the chest wall: a map onto itself, exact on both sides, ribs that stay behind."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from support.quiet_scans import quiet_imager

from nufitdose.grid import Grid
from nufitdose.phantom import PatientSettings, simulate_patient
from nufitdose.phantom.anatomy import build_anatomy
from nufitdose.phantom.build import draw_build
from nufitdose.phantom.chest_wall import find_chest_wall
from nufitdose.phantom.motion import Mover
from nufitdose.phantom.sliding import ChestWall
from nufitdose.phantom.tracer import distribute, find_tracer


def cone(slope):
    """A round wall of 100 mm, wider by `slope` per mm below, that lifts fully between 60 and 180 mm of 240 mm."""
    z = np.arange(0.0, 241.0, 2.0)
    radius = np.broadcast_to(100.0 + slope * (120.0 - z), (72, len(z)))
    lift = np.clip(np.minimum(z, 240.0 - z) / 60.0, 0.0, 1.0)
    return ChestWall(
        np.array([5.0, -8.0]), 0.0, 2.0, np.ascontiguousarray(radius), np.broadcast_to(lift, (9, 9, len(z))).copy()
    )


def scattered(count=4000):
    random = np.random.default_rng(1)
    return random.uniform([-130, -130, -20], [130, 130, 260], (count, 3))


def test_where_all_is_lifted_alike_a_straight_wall_lets_everything_shift_by_as_much():
    wall, points = cone(0.0), scattered()
    middle = wall.inside(points) & (points[:, 2] > 85) & (points[:, 2] < 155)
    moved = wall.slide(points, 20.0)
    assert moved[middle] == pytest.approx(points[middle] + [0.0, 0.0, 20.0], abs=1e-9)
    ends = (points[:, 2] <= 0) | (points[:, 2] >= 240)
    assert np.array_equal(moved[ends], points[ends])


@pytest.mark.parametrize("shift_mm", [-25.0, 14.0, 60.0])
def test_the_inside_goes_onto_the_inside_along_the_wall_and_back(shift_mm):
    wall, points = cone(0.3), scattered()
    moved = wall.slide(points, shift_mm)
    assert wall.slide_back(moved, shift_mm) == pytest.approx(points, abs=1e-4)
    assert np.array_equal(wall.inside(moved), wall.inside(points))
    within = (points[:, 2] > 0) & (points[:, 2] < 240)

    def share(p):
        return np.hypot(p[:, 0] - 5.0, p[:, 1] + 8.0) / (100.0 + 0.3 * (120.0 - p[:, 2]))

    assert share(moved[within]) == pytest.approx(share(points[within]), abs=1e-9)


def test_the_jacobian_is_that_of_the_closed_form_and_positive():
    """det = (ρ(z')/ρ(z))² ∂z'/∂z; in the ramp dz/dt = a z/60 gives z' = z e^(a/60)."""
    wall, points = cone(0.3), scattered()
    low = wall.inside(points) & (points[:, 2] > 5) & (points[:, 2] < 40)
    points, step = points[low], 0.01
    ends = [[wall.slide(points + sign * step * e, 14.0) for sign in (1, -1)] for e in np.eye(3)]
    columns = [(ahead - behind) / (2 * step) for ahead, behind in ends]
    determinant = np.linalg.det(np.stack(columns, axis=-1))
    stretch = (1.0 + 14.0 / 60.0 / 8.0) ** 8  # eight steps of the exponential
    radius, moved = (100.0 + 0.3 * (120.0 - z) for z in (points[:, 2], stretch * points[:, 2]))
    assert determinant == pytest.approx((moved / radius) ** 2 * stretch, rel=1e-3)
    assert stretch == pytest.approx(np.exp(14.0 / 60.0), rel=0.005)


@pytest.fixture(scope="module")
def imager():
    """Chest and abdomen whose liver, spleen and kidneys alone take up the tracer."""
    random = np.random.default_rng(3)
    body = draw_build(random, sex="male", arms="up")
    grid = Grid.from_spacing((46, 36, 46), (8.0, 8.0, 8.0), centre_mm=(0.0, 0.0, 60.0))
    anatomy = build_anatomy(body, random, random, inside_mm=(np.full(3, -100.0), np.full(3, 100.0)))
    distribution = distribute(find_tracer("Lu-177"), anatomy.compartments, random, 7400.0)
    own = np.array([r.structure in ("liver", "spleen", "kidney_left", "kidney_right") for r in anatomy.compartments])
    distribution = replace(distribution, amplitudes=distribution.amplitudes * own[:, None])
    return quiet_imager(anatomy, distribution, grid, sliding=True)


@pytest.fixture(scope="module")
def truth(imager):
    return imager.scan(1, 24.0)[1]


def of(imager, *structures):
    numbers = [
        n for n, compartment in enumerate(imager.anatomy.compartments) if compartment.structure.startswith(structures)
    ]
    return np.isin(imager.protocol.crop(imager.rest.labels), numbers)


def near_interface(inside):
    return ndimage.binary_dilation(inside, np.ones((3, 3, 3))) & ~ndimage.binary_erosion(inside, np.ones((3, 3, 3)))


def test_lungs_and_liver_follow_the_diaphragm_and_ribs_do_not(imager, truth):
    pose, grid = truth.pose, truth.grid
    assert abs(pose.slide_mm) > 4
    inside, still = pose.sides(grid).inside, replace(pose, wall=None).field(grid)
    assert np.array_equal(truth.field[:, ~inside], still[:, ~inside])
    along = (truth.field - still)[2] / pose.slide_mm
    ribs, spine = of(imager, "ribs"), of(imager, "vertebrae", "spinal_cord")
    assert np.abs(along[ribs]).mean() < 0.08  # those that an organ bulges past are held, not left outside
    assert np.abs(along[spine]).mean() < 0.12
    for organ, share in (("liver", 0.95), ("kidney_right", 0.7), ("spleen", 0.75), ("heart", 0.47)):
        assert along[of(imager, organ) & inside].mean() == pytest.approx(share, abs=0.12), organ
    assert 0.3 < along[of(imager, "lung") & inside].mean() < 0.8


@pytest.mark.parametrize("seed", range(3))
def test_what_breathes_is_inside_the_wall_and_ribs_are_outside(seed):
    """Within 1.5 % of their voxels, in bodies of different sex and size."""
    random = np.random.default_rng([seed, 0])
    body = draw_build(random)
    grid = Grid.from_spacing((84, 64, 100), (6.0, 6.0, 6.0), centre_mm=body.at(0.0, -5.0, 60.0).tolist())
    anatomy = build_anatomy(body, random, random, inside_mm=(np.full(3, -100.0), np.full(3, 100.0)))
    structures = [compartment.structure for compartment in anatomy.compartments]
    fine = grid.resampled(4.0)
    labels = anatomy.compose(fine, subsamples=1).labels
    wall = find_chest_wall(
        Mover(grid, anatomy.compose(grid, subsamples=1).labels, structures), fine, labels, structures
    )

    def share_inside(name):
        numbers = [n for n, structure in enumerate(structures) if structure.startswith(name)]
        return wall.inside(fine.world(np.argwhere(np.isin(labels, numbers)).astype(float))).mean()

    for organ in ("lung_left", "lung_right", "liver", "spleen", "kidney_left", "kidney_right", "heart"):
        assert share_inside(organ) > 0.985, organ
    assert share_inside("ribs") < 0.015


def test_the_field_jumps_at_the_wall_along_it_and_is_smooth_on_each_side(truth):
    sides = truth.pose.sides(truth.grid)
    wall = near_interface(sides.inside)
    jump = (sides.inner - sides.outer)[:, wall]
    assert np.percentile(np.linalg.norm(jump, axis=0), 90) > 0.6 * abs(truth.pose.slide_mm)
    assert np.array_equal(truth.field, np.where(sides.inside, sides.inner, sides.outer))
    for both in (sides, truth.pose.inverse_sides(truth.grid)):
        assert both.jacobian(truth.grid).min() > 0.1


def test_forward_and_inverse_compose_to_the_identity_off_the_interface(truth):
    grid = truth.grid
    points = grid.world(np.indices(grid.shape).reshape(3, -1).T)
    there = points + truth.field.reshape(3, -1).T
    assert truth.pose.move(points) == pytest.approx(there, abs=2e-3)
    assert truth.pose.move(points + truth.inverse.reshape(3, -1).T) == pytest.approx(points, abs=0.01)
    seen = grid.contains(there)
    index = grid.index(there).T
    inside = truth.pose.inverse_sides(grid).inside.astype(np.float32)
    mixed = ndimage.map_coordinates(inside, index, order=1, mode="nearest")
    off = seen & ((mixed == 0) | (mixed == 1))  # all eight voxels around are on one side
    assert off.sum() > 0.8 * seen.sum()
    inverse = np.stack([ndimage.map_coordinates(c, index, order=1, mode="nearest") for c in truth.inverse]).T
    error = np.linalg.norm(there + inverse - points, axis=1)[off]
    assert error.max() < 0.2 * grid.spacing_mm[0]


def test_sliding_keeps_activity_and_changes_volumes_as_the_jacobian_says(imager, truth):
    padded, distribution = imager.protocol.padded, imager.distribution
    ml = padded.voxel_volume_ml
    at_rest = distribution.activity(imager.rest, 24.0).sum(dtype=np.float64)
    jacobian = truth.pose.sides(padded).jacobian(padded)
    sides = truth.pose.inverse_sides(padded)
    moved = imager.anatomy.compose(padded, sides.outer), imager.anatomy.compose(padded, sides.inner)
    assert truth.activity.sum(dtype=np.float64) == pytest.approx(at_rest, rel=1e-3)
    for organ in ("liver", "spleen", "kidney_left", "kidney_right"):
        numbers = [n for n, compartment in enumerate(imager.anatomy.compartments) if compartment.structure == organ]
        outer, inner, rest = (
            np.where(np.isin(c.compartments, numbers), c.shares, 0.0).sum(axis=0) for c in (*moved, imager.rest)
        )
        now = np.where(sides.inside, inner, outer).sum(dtype=np.float64) * ml
        assert now == pytest.approx((rest * jacobian).sum(dtype=np.float64) * ml, rel=0.02), organ


def test_without_lungs_in_view_the_user_is_told_and_nothing_slides(caplog):
    kwargs = {"shape": (16, 16, 16), "spacing_mm": 10.0, "times_h": (4.0, 24.0), "centre_z_mm": -320.0, "tumours": 0}
    with caplog.at_level(logging.WARNING):
        made = simulate_patient(PatientSettings(sliding=True, **kwargs))
    assert "no lungs" in caplog.text
    plain = simulate_patient(PatientSettings(**kwargs))
    assert np.array_equal(made.truth.timepoint("tp2").field, plain.truth.timepoint("tp2").field)
    assert np.array_equal(made.study.timepoints[1].ct.data, plain.study.timepoints[1].ct.data)
