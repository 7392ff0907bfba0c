"""Solids and the painter: volumes against closed forms, partial volume, stacking order."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nufitdose.grid import Grid
from nufitdose.phantom.bounds import distance_bounds
from nufitdose.phantom.composition import Scene, compose
from nufitdose.phantom.shapes import (
    NO_COMPARTMENT,
    Profile,
    Wobble,
    distance,
    ellipsoid,
    loft,
    rib,
    ring,
    rotation,
    superellipsoid_volume_ml,
    tube,
)

_GRID = Grid.from_spacing((40, 44, 48), (3.0, 3.0, 3.0))
_NO_LOFT = (np.zeros(1), np.ones(1), np.zeros((1, 2, 3)))


def painted_ml(solid, grid=_GRID, subsamples=3):
    scene = Scene.of([solid.paint(1)], [Profile(np.array([[0.0, 1, 1, 0], [1.0, 1, 1, 0]]))])
    return compose(scene, grid, subsamples=subsamples).volumes_ml(2)[1]


@settings(max_examples=25, deadline=None)
@given(
    radii=st.tuples(*[st.floats(12, 45)] * 3),
    angles=st.tuples(*[st.floats(-90, 90)] * 3),
    exponent=st.sampled_from([2.0, 2.5, 4.0]),
)
def test_a_superellipsoid_has_its_closed_form_volume(radii, angles, exponent):
    grid = Grid.from_spacing((60, 60, 60), (3.0, 3.0, 3.0))
    volume = painted_ml(ellipsoid((2.0, -1.0, 3.0), radii, rotation(*angles), exponent), grid)
    assert volume == pytest.approx(superellipsoid_volume_ml(radii, exponent), rel=0.012)


def test_a_tube_has_the_volume_of_a_cylinder_with_round_ends():
    start, end, r = np.array([-20.0, 5, -30]), np.array([15.0, -10, 35]), 11.0
    exact = (math.pi * r**2 * np.linalg.norm(end - start) + 4 / 3 * math.pi * r**3) / 1000
    assert painted_ml(tube(start, end, r)) == pytest.approx(exact, rel=0.01)


def test_a_hoop_has_the_volume_of_a_torus_and_half_of_it_half():
    exact = 2 * math.pi * 40.0 * math.pi * 6.0 * 9.0 / 1000
    whole = ring((0.0, 0.0, 0.0), (40.0, 40.0), (6.0, 9.0), rotation(x_deg=30.0))
    half = ring((0.0, 0.0, 0.0), (40.0, 40.0), (6.0, 9.0), rotation(x_deg=30.0), math.pi / 2)
    assert painted_ml(whole) == pytest.approx(exact, rel=0.02)
    assert painted_ml(half) == pytest.approx(exact / 2, rel=0.02)


def test_a_loft_of_one_cross_section_is_a_prism():
    profile = Profile(np.array([[-40.0, 40, 30, 5], [0.0, 40, 30, 5], [40.0, 40, 30, 5]]))
    scene = Scene.of([loft(profile, 0).paint(1)], [profile])
    volume = compose(scene, _GRID, subsamples=3).volumes_ml(2)[1]
    factor = 4 * math.gamma(1 + 1 / 2.5) ** 2 / math.gamma(1 + 2 / 2.5)
    assert volume == pytest.approx(factor * 40 * 30 * 80 / 1000, rel=0.01)


@settings(max_examples=50, deadline=None)
@given(direction=st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda d: np.linalg.norm(d) > 0.1), r=st.floats(5, 60))
def test_the_distance_from_a_sphere_is_exact(direction, r):
    n = np.array(direction) / np.linalg.norm(direction)
    row = ellipsoid((1.0, 2.0, 3.0), (r, r, r)).row
    for away in (-0.5 * r, -1.0, 0.0, 1.0, 20.0):
        x, y, z = np.array([1.0, 2.0, 3.0]) + (r + away) * n
        assert distance(row, x, y, z, *_NO_LOFT) == pytest.approx(away, abs=1e-6)


def test_small_spheres_keep_their_volume_on_a_coarse_grid():
    grid = Grid.from_spacing((20, 20, 20), (4.0, 4.0, 4.0))
    for radius in (4.0, 6.0, 10.0):
        volumes = [painted_ml(ellipsoid((a, 0.3, -0.7), (radius,) * 3), grid, subsamples=2) for a in (0.0, 1.1, 2.0)]
        assert np.mean(volumes) == pytest.approx(superellipsoid_volume_ml((radius,) * 3), rel=0.07)
        assert np.ptp(volumes) < 0.05 * np.mean(volumes)


def test_the_front_covers_the_back_and_shares_sum_to_one():
    back, front = ellipsoid((0.0, 0.0, 0.0), (40.0, 40.0, 40.0)), ellipsoid((10.0, 0.0, 0.0), (20.0, 20.0, 20.0))
    scene = Scene.of(
        [back.paint(1), front.paint(2, inner=3, thickness_mm=6.0)], [Profile(np.ones((2, 4)) * [[0], [1]])]
    )
    made = compose(scene, _GRID)
    volumes = made.volumes_ml(4)
    assert made.shares.sum(axis=0) == pytest.approx(1.0, abs=1e-5)
    assert volumes[3] == pytest.approx(superellipsoid_volume_ml((14.0, 14.0, 14.0)), rel=0.02)
    assert volumes[2] + volumes[3] == pytest.approx(superellipsoid_volume_ml((20.0, 20.0, 20.0)), rel=0.01)
    assert volumes.sum() == pytest.approx(_GRID.size * _GRID.voxel_volume_ml, rel=1e-5)
    assert volumes[1:].sum() == pytest.approx(superellipsoid_volume_ml((40.0, 40.0, 40.0)), rel=0.01)


def test_a_shifted_pull_moves_what_is_seen():
    solid = ellipsoid((0.0, 0.0, 0.0), (20.0, 25.0, 30.0)).paint(1)
    scene = Scene.of([solid], [Profile(np.array([[0.0, 1, 1, 0], [1.0, 1, 1, 0]]))])
    pull = np.broadcast_to(np.array([-9.0, 6.0, 0.0], dtype=np.float32)[:, None, None, None], (3, *_GRID.shape))
    moved = compose(scene, _GRID, np.ascontiguousarray(pull))
    weight = np.where(moved.compartments == 1, moved.shares, 0).sum(axis=0)
    centre = (_GRID.world(np.argwhere(weight > 0).astype(float)) * weight[weight > 0][:, None]).sum(0) / weight.sum()
    assert centre == pytest.approx([9.0, -6.0, 0.0], abs=0.05)


def test_an_uneven_surface_stays_in_its_box_and_near_its_volume():
    solid = ellipsoid((0.0, 0.0, 0.0), (25.0, 25.0, 25.0)).paint(1, wobble=Wobble(3.0, 30.0, (0.3, 1.0, 2.0)))
    scene = Scene.of([solid], [Profile(np.array([[0.0, 1, 1, 0], [1.0, 1, 1, 0]]))])
    made = compose(scene, _GRID)
    weight = np.where(made.compartments == 1, made.shares, 0).sum(axis=0)
    assert weight.sum() * _GRID.voxel_volume_ml == pytest.approx(superellipsoid_volume_ml((25.0, 25.0, 25.0)), rel=0.2)
    points = _GRID.world(np.argwhere(weight > 0.5).astype(float))
    assert (points > solid.low_mm).all()
    assert (points < solid.high_mm).all()
    assert np.linalg.norm(points, axis=1).std() > 0
    assert solid.row[2] == NO_COMPARTMENT


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["ellipsoid", "boxy", "boxier", "tube", "ring", "loft", "rib", "clipped", "wobbly"]),
    seed=st.integers(0, 2**31),
)
def test_no_point_of_a_ball_is_nearer_or_deeper_than_its_bounds_say(kind, seed):
    random = np.random.default_rng(seed)
    centre, turn = random.uniform(-10, 10, 3), rotation(*random.uniform(-90, 90, 3))
    knots = np.column_stack([np.linspace(-60, 60, 7), random.uniform(20, 50, (7, 2)), random.uniform(-10, 10, 7)])
    profile = Profile(knots)
    solid = {
        "ellipsoid": lambda: ellipsoid(centre, random.uniform(8, 50, 3), turn),
        "boxy": lambda: ellipsoid(centre, random.uniform(8, 50, 3), turn, 2.5),
        "boxier": lambda: ellipsoid(centre, random.uniform(8, 50, 3), turn, 4.0),
        "tube": lambda: tube(centre, random.uniform(-40, 40, 3), *random.uniform(5, 25, 2)),
        "ring": lambda: ring(centre, tuple(random.uniform(30, 60, 2)), tuple(random.uniform(3, 9, 2)), turn, 2.0),
        "loft": lambda: loft(profile, 0),
        "rib": lambda: rib(profile, 0, centre, 4.0, (3.6, 6.5), rotation(x_deg=-20.0), 2.0),
        "clipped": lambda: ellipsoid(centre, random.uniform(8, 50, 3), turn).within(0),
        "wobbly": lambda: ellipsoid(centre, random.uniform(20, 50, 3), turn),
    }[kind]()
    solid = solid.paint(1, wobble=Wobble(3.0, 30.0, (0.1, 1.0, 2.0)) if kind == "wobbly" else None)
    start, step, table = profile.sample(256)
    lofts = (np.array([start]), np.array([step]), table[None])
    for _ in range(20):
        middle, radius = random.uniform(-70, 70, 3), random.uniform(1, 15)
        low, high = distance_bounds(solid.row, *middle, radius, *lofts)
        away = random.normal(size=(60, 3))
        away *= radius * random.random((60, 1)) ** (1 / 3) / np.linalg.norm(away, axis=1, keepdims=True)
        found = np.array([distance(solid.row, *point, *lofts) for point in middle + away])
        assert low <= 0 or found.min() >= low - 1e-9
        assert high >= 0 or found.max() <= high + 1e-9


def test_bricks_settled_at_once_hold_what_their_voxels_would():
    """Deep inside one solid, inside the core of another, and far from all: one compartment with the whole voxel."""
    solids = [
        ellipsoid((0.0, 0.0, 0.0), (50.0, 55.0, 60.0)).paint(1),
        ellipsoid((0.0, 0.0, 0.0), (30.0, 30.0, 30.0)).paint(2, inner=3, thickness_mm=4.0),
    ]
    made = compose(Scene.of(solids, [Profile(np.array([[0.0, 1, 1, 0], [1.0, 1, 1, 0]]))]), _GRID)
    r = np.linalg.norm(_GRID.world(np.moveaxis(np.indices(_GRID.shape).astype(float), 0, -1)), axis=-1)
    for compartment, where in (
        (3, r < 23.0),
        (2, (r > 28.3) & (r < 28.4)),
        (1, (r > 33.0) & (r < 47.0)),
        (0, r > 65.0),
    ):
        assert (made.labels[where] == compartment).all()
    sure = (r < 23.0) | (r > 65.0) | ((r > 33.0) & (r < 47.0))
    assert (made.shares[0][sure] == 1.0).all()
    assert (made.shares[1:][:, sure] == 0.0).all()


def test_a_rib_lies_outside_the_loft_it_is_made_on_and_what_is_within_it_inside():
    knots = np.array([[-60.0, 40, 30, 0], [-20, 48, 36, 2], [20, 44, 30, -3], [60, 20, 15, -8]])
    profile = Profile(knots)
    hoop = rib(profile, 0, (0.0, 0.0, 5.0), 4.2, (3.6, 6.5), rotation(x_deg=-25.0), math.pi)
    big = ellipsoid((20.0, 0.0, 0.0), (50.0, 50.0, 50.0)).within(0)
    made = compose(Scene.of([big.paint(1), hoop.paint(2), loft(profile, 0).paint(3)], [profile]), _GRID)
    alone = compose(Scene.of([big.paint(1), hoop.paint(2)], [profile]), _GRID)
    whole = compose(Scene.of([loft(profile, 0).paint(3)], [profile]), _GRID)
    assert alone.volumes_ml(3)[2] == pytest.approx(made.volumes_ml(4)[2], rel=0.01)  # none of it is behind the loft
    assert alone.volumes_ml(3)[2] > 10.0
    assert made.volumes_ml(4)[1] < 0.01 * alone.volumes_ml(3)[1]  # all of it is
    assert made.volumes_ml(4)[3] == pytest.approx(whole.volumes_ml(4)[3], rel=1e-3)
