import numpy as np
import pytest
from hypothesis import given
from support.strategies import grids

from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.volume import Quantity, Volume


def ramp(grid: Grid, slope=(0.3, -0.2, 0.5), offset=7.0) -> np.ndarray:
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1).astype(float)
    return (grid.world(index) @ np.array(slope) + offset).astype(np.float32)


@given(grids(smallest=4))
def test_resampling_a_linear_ramp_is_exact(grid):
    inner = Grid.from_spacing((3, 4, 2), np.full(3, min(grid.spacing_mm) / 8), centre_mm=grid.centre_mm)
    volume = Volume(ramp(grid), grid, Quantity.SCALAR)
    np.testing.assert_allclose(volume.resampled_to(inner).data, ramp(inner), rtol=1e-4, atol=1e-3)


def test_outside_the_field_of_view_is_air_or_nothing():
    grid = Grid.from_spacing((4, 4, 4), (2.0, 2.0, 2.0))
    far = Grid.from_spacing((4, 4, 4), (2.0, 2.0, 2.0), centre_mm=(100.0, 0.0, 0.0))
    ones = np.ones(grid.shape, np.float32)
    assert (Volume(ones, grid, Quantity.HU).resampled_to(far).data == -1000).all()
    assert (Volume(ones, grid, Quantity.ACTIVITY).resampled_to(far).data == 0).all()


def test_labels_stay_labels():
    grid = Grid.from_spacing((6, 6, 6), (2.0, 2.0, 2.0))
    labels = np.zeros(grid.shape, np.uint8)
    labels[2:4] = 7
    finer = Volume(labels, grid, Quantity.LABELS).resampled_to(grid.resampled(0.9))
    assert set(np.unique(finer.data)) == {0, 7}
    assert finer.data.dtype == np.uint8


def test_averaging_onto_a_coarser_grid_keeps_the_integral():
    fine = Grid.from_spacing((60, 60, 60), (1.0, 1.0, 1.0))
    coarse = Grid.from_spacing((12, 12, 12), (5.0, 5.0, 5.0))
    rng = np.random.default_rng(3)
    data = np.zeros(fine.shape, np.float32)
    data[20:40, 22:41, 18:39] = 1 + rng.random((20, 19, 21))
    mean = Volume(data, fine, Quantity.DENSITY).averaged_onto(coarse)
    assert mean.data.sum() * coarse.voxel_volume_ml == pytest.approx(data.sum() * fine.voxel_volume_ml, rel=1e-5)


def test_parallel_grids_average_exactly_whatever_their_axes():
    """Blocks of 2 x 3 x 4 voxels have their plain mean, on grids stored with permuted and flipped axes too."""
    fine = Grid.from_spacing((12, 12, 12), (1.0, 2.0, 1.5))
    data = np.random.default_rng(5).normal(size=fine.shape).astype(np.float32)
    blocks = data.reshape(6, 2, 4, 3, 3, 4).mean(axis=(1, 3, 5))
    coarse = fine.resampled((2.0, 6.0, 6.0))
    turned = np.array(coarse.affine)
    turned[:3, :3] = coarse.affine[:3, [2, 0, 1]] * (-1.0, 1.0, 1.0)
    turned[:3, 3] = coarse.world(np.array([0.0, 0.0, 2.0]))
    volume = Volume(data, fine, Quantity.DENSITY)
    np.testing.assert_allclose(volume.averaged_onto(coarse).data, blocks, atol=1e-5)
    stored = volume.averaged_onto(Grid((3, 6, 4), turned)).data
    np.testing.assert_allclose(stored, np.transpose(blocks, (2, 0, 1))[::-1], atol=1e-5)


@given(grids(smallest=5))
def test_averages_of_a_constant_are_that_constant_on_any_grid(grid):
    coarse = Grid.from_spacing((3, 3, 3), np.full(3, 2.5 * max(grid.spacing_mm)), centre_mm=grid.centre_mm)
    volume = Volume(np.full(grid.shape, 3.5, np.float32), grid, Quantity.DENSITY)
    np.testing.assert_allclose(volume.averaged_onto(coarse).data, 3.5, rtol=1e-5)


def test_total_activity_is_concentration_times_volume():
    grid = Grid.from_spacing((10, 10, 10), (4.0, 4.0, 5.0))
    volume = Volume(np.full(grid.shape, 2.5e5, np.float32), grid, Quantity.ACTIVITY)
    assert volume.total_mbq() == pytest.approx(0.25 * 80.0)  # 80 mL at 0.25 MBq/mL


def test_array_and_grid_must_agree():
    with pytest.raises(InputError, match=r"\(2, 2, 2\)"):
        Volume(np.zeros((2, 2, 2), np.float32), Grid.from_spacing((2, 2, 3), (1.0, 1.0, 1.0)), Quantity.HU)


def test_labels_reach_to_the_edges_of_the_outer_voxels():
    coarse = Grid.from_spacing((3, 3, 1), (4.0, 4.0, 4.0))
    fine = Grid.from_spacing((16, 16, 8), (1.0, 1.0, 1.0))
    found = Volume(np.ones(coarse.shape, np.uint8), coarse, Quantity.LABELS).resampled_to(fine)
    assert found.data.sum() == 12 * 12 * 4
