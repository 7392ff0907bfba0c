import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import grids

from nufitdose.errors import InputError
from nufitdose.grid import Grid


@given(grids(), st.lists(st.tuples(*[st.floats(-20, 20)] * 3), min_size=1, max_size=5))
def test_index_and_world_undo_each_other(grid, points):
    index = np.array(points)
    np.testing.assert_allclose(grid.index(grid.world(index)), index, atol=1e-8)


@given(grids())
def test_a_step_along_an_axis_is_the_spacing(grid):
    for axis in range(3):
        step = grid.world(np.eye(3)[axis]) - grid.world(np.zeros(3))
        assert np.linalg.norm(step) == pytest.approx(grid.spacing_mm[axis])
    assert grid.voxel_volume_ml == pytest.approx(np.prod(grid.spacing_mm) / 1000)


@given(grids(), st.floats(0.3, 3.0))
def test_resampling_keeps_the_first_edge_and_covers_the_field_of_view(grid, factor):
    new = grid.resampled(np.array(grid.spacing_mm) * factor)
    np.testing.assert_allclose(new.world(np.full(3, -0.5)), grid.world(np.full(3, -0.5)), atol=1e-6)
    old_extent = np.array(grid.shape) * grid.spacing_mm
    new_extent = np.array(new.shape) * new.spacing_mm
    assert (new_extent >= old_extent - 1e-4).all()
    assert (new_extent < old_extent + np.array(new.spacing_mm) + 1e-4).all()


@given(grids(), grids())
def test_covers_agrees_with_contains(one, other):
    index = np.stack(np.meshgrid(*map(np.arange, other.shape), indexing="ij"), -1).reshape(-1, 3)
    expected = one.contains(other.world(index.astype(float))).reshape(other.shape)
    assert (one.covers(other) != expected).mean() < 0.01  # rounding at the very edge
    assert one.covers(one).all()


def test_axis_codes_name_where_the_axes_point():
    affine = np.diag([-2.0, -2.0, 3.0, 1.0])
    assert Grid((4, 4, 4), affine).axis_codes == "LPS"
    turned = np.array([[0, 0, 3.0, 0], [-2.0, 0, 0, 0], [0, 2.0, 0, 0], [0, 0, 0, 1.0]])
    assert Grid((4, 4, 4), turned).axis_codes == "PSR"


def test_from_spacing_is_centred():
    grid = Grid.from_spacing((5, 6, 7), (2.0, 3.0, 4.0), centre_mm=(10.0, -20.0, 30.0))
    np.testing.assert_allclose(grid.centre_mm, (10, -20, 30))


def test_matches_tells_a_tenth_of_a_millimetre():
    one = Grid.from_spacing((5, 6, 7), (2.0, 3.0, 4.0))
    moved = np.array(one.affine)
    moved[0, 3] += 0.1
    assert one.matches(Grid(one.shape, np.array(one.affine)))
    assert not one.matches(Grid(one.shape, moved))
    assert not one.matches(Grid((5, 6, 8), np.array(one.affine)))


@pytest.mark.parametrize(
    ("affine", "said"),
    [
        (np.diag([1.0, 1.0, 0.0, 1.0]), "singular"),
        (np.diag([1.0, np.nan, 1.0, 1.0]), "finite"),
        (np.array([[1, 0, 0.2, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), "sheared"),
        (np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1.0]]), "last row"),
    ],
)
def test_an_impossible_affine_is_refused(affine, said):
    with pytest.raises(InputError, match=said):
        Grid((3, 3, 3), affine)


def test_an_empty_shape_is_refused():
    with pytest.raises(InputError, match="positive sizes"):
        Grid((3, 0, 3), np.eye(4))
