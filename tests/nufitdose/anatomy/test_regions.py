import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.strategies import grids

from dosimetry.metrics import region_on
from nufitdose.anatomy.regions import Region, unite
from nufitdose.grid import Grid
from nufitdose.volume import Quantity, Volume


@settings(max_examples=30)
@given(grids(smallest=3), grids(smallest=3), st.integers(0, 2**32 - 1))
def test_volume_is_kept_whatever_the_grids(mask_grid, grid, seed):
    mask = np.random.default_rng(seed).random(mask_grid.shape) < 0.4
    region = region_on(mask, mask_grid, grid)
    assert region.volume_ml + region.outside_ml == pytest.approx(mask.sum() * mask_grid.voxel_volume_ml)


def test_on_its_own_grid_a_mask_is_itself():
    grid = Grid.from_spacing((5, 6, 7), (2.0, 3.0, 4.0))
    mask = np.zeros(grid.shape, bool)
    mask[1:3, 2:5, 3] = True
    region = region_on(mask, grid, grid)
    np.testing.assert_array_equal(region.index, np.flatnonzero(mask))
    np.testing.assert_allclose(region.part_ml, 0.024)


def test_a_sphere_drawn_finely_gives_the_right_mean_of_a_ramp_on_a_coarse_grid():
    fine, coarse = Grid.from_spacing((80, 80, 80), (1.0,) * 3), Grid.from_spacing((20, 20, 20), (4.3, 4.3, 4.3))
    index = np.stack(np.meshgrid(*[np.arange(80.0)] * 3, indexing="ij"), -1)
    mask = np.linalg.norm(fine.world(index) - (5.0, -3.0, 2.0), axis=-1) < 20
    centres = coarse.world(np.stack(np.meshgrid(*[np.arange(20.0)] * 3, indexing="ij"), -1))
    ramp = Volume((10 + 0.1 * centres[..., 0]).astype(np.float32), coarse, Quantity.DOSE)
    region = region_on(mask, fine, coarse)
    assert region.mean(ramp) == pytest.approx(10.5, abs=0.02)
    assert region.volume_ml == pytest.approx(4 / 3 * np.pi * 8.0, rel=0.005)


@pytest.mark.parametrize("turn", [np.eye(3), np.array([[0, -1.0, 0], [0, 0, 1], [-1, 0, 0]])])
def test_where_edges_halve_voxels_of_the_mask_both_sides_get_half(turn):
    """Voxels of 3.2 mm on 4.8 mm, as CT on SPECT often is: every second inner edge runs through their middle."""
    coarse = Grid.from_spacing((12, 12, 12), (4.8, 4.8, 4.8))
    fine = Grid((18, 18, 18), np.block([[3.2 * turn, np.zeros((3, 1))], [np.zeros((1, 3)), np.ones((1, 1))]]))
    affine = np.array(fine.affine)
    affine[:3, 3] = coarse.centre_mm - fine.centre_mm
    fine = Grid(fine.shape, affine)
    mask = np.random.default_rng(4).random(fine.shape) < 0.3
    offsets = np.stack(np.meshgrid(*[(-0.25, 0.25)] * 3, indexing="ij"), -1).reshape(-1, 3)
    halves = coarse.index(fine.world((np.argwhere(mask)[:, None] + offsets).reshape(-1, 3)))
    flat = np.ravel_multi_index(tuple(np.rint(halves).astype(int).T), coarse.shape)
    region = region_on(mask, fine, coarse)
    np.testing.assert_array_equal(region.index, np.unique(flat))
    part_ml = fine.voxel_volume_ml / 8.0
    np.testing.assert_allclose(region.part_ml, part_ml * np.bincount(flat, minlength=coarse.size)[region.index])
    assert region.outside_ml == 0.0


@settings(max_examples=20)
@given(st.floats(0.3, 3.0), st.floats(-2.0, 2.0), st.integers(0, 2**32 - 1))
def test_the_first_moment_of_parallel_grids_is_kept(ratio, shift_mm, seed):
    """Overlap is exact: a mask's centre of mass is that of its parts taken as boxes, along each axis."""
    coarse = Grid.from_spacing((14, 14, 14), (3.0, 3.0, 3.0))
    fine = Grid.from_spacing((8, 8, 8), (3.0 * ratio,) * 3)
    affine = np.array(fine.affine)
    affine[:3, 3] += shift_mm
    mask = np.random.default_rng(seed).random(fine.shape) < 0.5
    region = region_on(mask, Grid(fine.shape, affine), coarse)
    edges = coarse.index(Grid(fine.shape, affine).world(np.array([[n - 0.5] * 3 for n in range(9)])))
    held = np.zeros(coarse.shape)
    held.reshape(-1)[region.index] = region.part_ml
    for axis in range(3):
        profile_ml = mask.sum(axis=tuple({0, 1, 2} - {axis})) * (3.0 * ratio) ** 3 / 1000.0
        reached = np.interp(np.arange(15) - 0.5, edges[:, axis], np.concatenate([[0.0], np.cumsum(profile_ml)]))
        if region.outside_ml == 0.0:
            np.testing.assert_allclose(
                held.sum(axis=tuple({0, 1, 2} - {axis})), np.diff(reached), atol=2e-3 * coarse.voxel_volume_ml
            )


def test_what_lies_beyond_the_grid_is_counted():
    grid = Grid.from_spacing((10, 10, 10), (2.0, 2.0, 2.0))
    wide = Grid.from_spacing((20, 10, 10), (2.0, 2.0, 2.0))
    region = region_on(np.ones(wide.shape, bool), wide, grid)
    assert region.outside_ml == pytest.approx(region.volume_ml)


def test_a_union_counts_common_voxels_once_and_keeps_parts():
    grid = Grid.from_spacing((4, 4, 4), (10.0, 10.0, 10.0))
    one = Region(np.array([0, 1, 5]), np.array([1.0, 0.75, 0.2]), 0.5)
    other = Region(np.array([1, 5, 9]), np.array([0.75, 0.3, 1.0]), 0.25)
    union = unite([one, other], grid)
    np.testing.assert_array_equal(union.index, [0, 1, 5, 9])
    np.testing.assert_allclose(union.part_ml, [1.0, 1.0, 0.5, 1.0])
    assert union.outside_ml == 0.75
