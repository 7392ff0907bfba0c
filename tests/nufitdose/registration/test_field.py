"""Displacement fields against closed forms and SimpleITK."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from support.fields import FLIP, GRID, OTHER, itk_image, noise, oblique, wavy

from nufitdose.grid import Grid
from nufitdose.registration.field import DisplacementField
from nufitdose.registration.inversion import NotInvertibleError
from nufitdose.volume import Quantity, Volume


def rigid(degrees, shift_mm, centre_mm) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    matrix[:3, 3] = np.asarray(centre_mm) + shift_mm - matrix[:3, :3] @ centre_mm
    return matrix


def interior(grid: Grid, margin: int = 3) -> np.ndarray:
    mask = np.zeros(grid.shape, bool)
    mask[(slice(margin, -margin),) * 3] = True
    return mask


angles = st.tuples(*[st.floats(-30, 30)] * 3)
shifts = st.tuples(*[st.floats(-20, 20)] * 3)


def test_shape_of_the_grid_is_demanded():
    with pytest.raises(ValueError, match="shape"):
        DisplacementField(np.zeros((3, 4, 4, 5), np.float32), Grid.from_spacing((4, 4, 4), (1.0, 1.0, 1.0)))


@pytest.mark.parametrize("quantity", [Quantity.ACTIVITY, Quantity.HU])
def test_identity_changes_nothing(quantity):
    volume = Volume(noise(GRID), GRID, quantity)
    assert np.array_equal(DisplacementField.identity(GRID).warp(volume).data, volume.data)


def test_identity_equals_plain_resampling():
    volume = Volume(noise(GRID, sigma=2), GRID, Quantity.ACTIVITY)
    warped = DisplacementField.identity(GRID).warp(volume, OTHER)
    index = GRID.index(OTHER.world(np.moveaxis(np.indices(OTHER.shape), 0, -1).astype(float)))
    deep = ((index >= 0) & (index <= np.array(GRID.shape) - 1)).all(axis=-1)
    assert deep.sum() > 500
    np.testing.assert_allclose(warped.data[deep], volume.resampled_to(OTHER).data[deep], atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(angles, shifts)
def test_affine_warp_equals_simpleitk(degrees, shift_mm):
    matrix = rigid(degrees, shift_mm, GRID.centre_mm)
    volume = Volume(noise(OTHER), OTHER, Quantity.HU)
    ours = DisplacementField.from_affine(matrix, GRID).warp(volume)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0])
    matrix_lps = lps @ matrix @ lps
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(matrix_lps[:3, :3].ravel())
    transform.SetTranslation(matrix_lps[:3, 3])
    reference = itk_image(np.zeros(GRID.shape, np.float32), GRID)
    theirs = sitk.Resample(itk_image(volume.data, OTHER), reference, transform, sitk.sitkLinear, -1000.0)
    expected = np.transpose(sitk.GetArrayFromImage(theirs), (2, 1, 0))
    # a position on the very edge of the field of view may fall either way: float32 displacements
    differing = np.abs(ours.data - expected) > 2e-3
    assert differing.mean() < 1e-3
    assert (np.abs(ours.data - expected)[differing] > 100).all()
    assert np.array_equal(ours.data == -1000.0, ~DisplacementField.from_affine(matrix, GRID).inside(OTHER))


def test_deformable_warp_and_points_equal_simpleitk():
    field = wavy(GRID)
    volume = Volume(noise(OTHER, sigma=1), OTHER, Quantity.ACTIVITY)
    vectors = np.moveaxis(field.data, 0, -1).astype(np.float64) @ FLIP
    transform = sitk.DisplacementFieldTransform(itk_image(vectors, GRID, vector=True))
    reference = itk_image(np.zeros(GRID.shape, np.float32), GRID)
    theirs = sitk.Resample(itk_image(volume.data, OTHER), reference, transform, sitk.sitkLinear, 0.0)
    expected = np.transpose(sitk.GetArrayFromImage(theirs), (2, 1, 0))
    # ITK takes no displacement outside the field's buffer; all voxel centres are inside it
    differing = np.abs(field.warp(volume).data - expected) > 1e-4
    assert differing.mean() < 1e-3
    index = np.random.default_rng(1).uniform(0, np.array(GRID.shape) - 1, (200, 3))
    points = GRID.world(index)
    moved = np.array([FLIP @ transform.TransformPoint(FLIP @ p) for p in points])
    np.testing.assert_allclose(points + field.at(points), moved, atol=1e-3)


def test_field_on_a_coarser_grid_warps_a_fine_image():
    fine, coarse = Grid.from_spacing((60, 50, 40), (2.0, 2.0, 2.0)), Grid.from_spacing((40, 34, 28), (4.0, 4.0, 4.0))
    matrix = rigid((3, -5, 8), (4, -6, 5), (0, 0, 0))
    volume = Volume(noise(fine, sigma=2), fine, Quantity.ACTIVITY)
    expected = DisplacementField.from_affine(matrix, fine).warp(volume)
    warped = DisplacementField.from_affine(matrix, coarse).warp(volume, onto=fine)
    np.testing.assert_allclose(warped.data, expected.data, atol=1e-4)
    on = DisplacementField.from_affine(matrix, coarse).on(fine)
    np.testing.assert_allclose(on.data, DisplacementField.from_affine(matrix, fine).data, atol=1e-4)


@settings(max_examples=15, deadline=None)
@given(angles, shifts, st.tuples(*[st.floats(-3, 3)] * 3))
def test_linear_ramps_are_warped_exactly(degrees, shift_mm, slope):
    matrix = rigid(degrees, shift_mm, GRID.centre_mm)
    world = OTHER.world(np.moveaxis(np.indices(OTHER.shape), 0, -1).astype(float))
    ramp = Volume((world @ np.array(slope)).astype(np.float32), OTHER, Quantity.ACTIVITY)
    field = DisplacementField.from_affine(matrix, GRID)
    target = GRID.world(np.moveaxis(np.indices(GRID.shape), 0, -1).astype(float)) @ matrix[:3, :3].T + matrix[:3, 3]
    index = OTHER.index(target)
    deep = ((index >= 0) & (index <= np.array(OTHER.shape) - 1)).all(axis=-1)
    np.testing.assert_allclose(field.warp(ramp).data[deep], (target @ np.array(slope))[deep], atol=2e-3)


@settings(max_examples=15, deadline=None)
@given(angles, shifts, st.permutations((0, 1, 2)), st.tuples(*[st.sampled_from((-1, 1))] * 3))
def test_the_orientation_of_the_voxel_axes_does_not_matter(degrees, shift_mm, order, signs):
    """The same image with permuted and flipped axes warps to the same values at the same world positions."""
    volume = Volume(noise(OTHER, sigma=1), OTHER, Quantity.ACTIVITY)
    data = np.transpose(volume.data, order)
    affine = np.array(OTHER.affine)
    affine[:3, :3] = affine[:3, list(order)]
    for axis, sign in enumerate(signs):
        if sign < 0:
            data = np.flip(data, axis)
            affine[:3, 3] += affine[:3, axis] * (data.shape[axis] - 1)
            affine[:3, axis] *= -1
    turned = Volume(data, Grid(data.shape, affine), Quantity.ACTIVITY)
    field = DisplacementField.from_affine(rigid(degrees, shift_mm, GRID.centre_mm), GRID)
    a, b = field.warp(volume).data, field.warp(turned).data
    assert (np.abs(a - b) > 1e-4).mean() < 1e-3  # voxels on the edge of the field of view may differ


def test_labels_take_the_argmax_of_the_one_hot_images():
    grid = Grid.from_spacing((14, 13, 12), (2.0, 3.0, 4.0))
    labels = np.random.default_rng(0).integers(0, 6, grid.shape).astype(np.uint8)
    field = DisplacementField.from_affine(rigid((20, 10, -15), (1.3, 0.7, -2.1), (0, 0, 0)), grid)
    one_hot = np.stack(
        [field.warp(Volume((labels == n).astype(np.float32), grid, Quantity.SCALAR)).data for n in range(6)]
    )
    expected = np.where(field.inside(grid), one_hot.argmax(axis=0), 0)
    warped = field.warp(Volume(labels, grid, Quantity.LABELS))
    assert warped.data.dtype == np.uint8
    ordered = np.sort(one_hot, axis=0)
    clear = ordered[-1] - ordered[-2] > 1e-5
    assert np.array_equal(warped.data[clear], expected[clear])


def test_a_tie_of_labels_goes_to_the_lowest():
    grid = Grid.from_spacing((4, 3, 3), (2.0, 2.0, 2.0))
    labels = np.zeros(grid.shape, np.int16)
    labels[2:] = 7
    shift = np.eye(4)
    shift[0, 3] = 1.0  # half a voxel: voxel 1 reads midway between 0 and 7
    warped = DisplacementField.from_affine(shift, grid).warp(Volume(labels, grid, Quantity.LABELS)).data
    assert warped[:, 1, 1].tolist() == [0, 0, 7, 7]


@settings(max_examples=10, deadline=None)
@given(angles, shifts, angles, shifts)
def test_affine_composition_is_the_matrix_product(degrees_1, shift_1, degrees_2, shift_2):
    """First u1 at x, then u2 at x + u1(x): the matrix M2 M1."""
    m1, m2 = rigid(degrees_1, shift_1, GRID.centre_mm), rigid(degrees_2, shift_2, GRID.centre_mm)
    wide = Grid.from_spacing((30, 30, 30), (12.0, 12.0, 12.0), centre_mm=tuple(GRID.centre_mm))
    composed = DisplacementField.from_affine(m1, GRID).compose(DisplacementField.from_affine(m2, wide))
    np.testing.assert_allclose(composed.data, DisplacementField.from_affine(m2 @ m1, GRID).data, atol=1e-3)
    assert composed.grid is GRID


def test_composition_is_associative():
    a, b, c = (wavy(GRID, seed=seed) for seed in range(3))
    left, right = a.compose(b).compose(c).data, a.compose(b.compose(c)).data
    deep = interior(GRID)
    # equal up to the interpolation of a composed field between its voxels
    assert np.abs(left - right)[:, deep].max() < 0.05
    assert np.abs(left - a.data)[:, deep].max() > 1.0


def test_warping_twice_equals_warping_by_the_composition():
    grid = Grid.from_spacing((40, 40, 40), (2.0, 2.0, 2.0))
    u1, u2 = wavy(grid, 5.0, 15.0, seed=1), wavy(grid, 5.0, 15.0, seed=2)
    image = Volume(noise(grid, sigma=4), grid, Quantity.ACTIVITY)
    once, twice = u1.compose(u2).warp(image).data, u1.warp(u2.warp(image)).data
    deep = interior(grid, 6)
    assert np.abs(once - twice)[deep].max() < 0.02 * np.ptp(image.data)
    wrong = u2.compose(u1).warp(image).data
    assert np.abs(wrong - twice)[deep].max() > 3 * np.abs(once - twice)[deep].max()


@pytest.mark.parametrize("onto", [GRID, OTHER])
def test_inverse_undoes_the_field(onto):
    field = wavy(GRID, amplitude_mm=6.0)
    inverse = field.inverse(onto)
    points = onto.world(np.moveaxis(np.indices(onto.shape), 0, -1).astype(float))
    v = np.moveaxis(inverse.data, 0, -1).astype(np.float64)
    assert np.abs(v + field.at(points + v)).max() < 0.011  # the stated 0.01 mm and float32
    back = inverse.compose(field).magnitude
    assert back[interior(onto, 1)].max() < 0.1 * min(onto.spacing_mm)


def test_inverse_of_a_large_rotation_is_found_by_newton():
    grid = Grid.from_spacing((24, 24, 24), (4.0, 4.0, 4.0))
    matrix = rigid((0, 0, 80), (3, -2, 1), (0, 0, 0))  # |grad u| > 1: the fixed point alone diverges
    wide = Grid.from_spacing((44, 44, 44), (4.0, 4.0, 4.0))
    inverse = DisplacementField.from_affine(matrix, wide).inverse(grid)
    np.testing.assert_allclose(inverse.data, DisplacementField.from_affine(np.linalg.inv(matrix), grid).data, atol=0.02)


def test_a_folding_field_has_no_inverse():
    grid = Grid.from_spacing((20, 20, 20), (2.0, 2.0, 2.0))
    data = np.zeros((3, *grid.shape), np.float32)
    x = grid.world(np.moveaxis(np.indices(grid.shape), 0, -1).astype(float))[..., 0]
    data[0] = 25.0 * (x > 0)  # a tear: no point is mapped into the gap
    with pytest.raises(NotInvertibleError, match=r"no inverse at \d+ of 8000 voxels"):
        DisplacementField(data, grid).inverse()


@settings(max_examples=15, deadline=None)
@given(angles, st.tuples(*[st.floats(0.6, 1.6)] * 3), st.tuples(*[st.floats(-0.3, 0.3)] * 3))
def test_jacobian_of_an_affine_field_is_its_determinant(degrees, scales, shears):
    matrix = rigid(degrees, (0, 0, 0), GRID.centre_mm)
    stretch = np.diag(scales)
    stretch[0, 1], stretch[0, 2], stretch[1, 2] = shears
    matrix[:3, :3] = matrix[:3, :3] @ stretch
    field = DisplacementField.from_affine(matrix, GRID)
    np.testing.assert_allclose(field.jacobian_determinant(), np.linalg.det(matrix[:3, :3]), rtol=1e-4)
    statistics = field.jacobian_statistics()
    assert statistics.minimum == pytest.approx(np.linalg.det(matrix[:3, :3]), rel=1e-4)
    assert statistics.folding_percent == 0
    assert statistics.ndv_percent == 0


def test_jacobian_integrates_to_the_volume_brought_in():
    """∫_Ω det(I + grad u) dx over a fixed region is the volume of its image in moving space (change of variables)."""
    grid = oblique((70, 64, 60), (2.0, 2.2, 2.4), (10, 5, -20), (0, 0, 0))
    field = wavy(grid, amplitude_mm=6.0, length_mm=30.0)
    inverse = field.inverse()
    world = grid.world(np.moveaxis(np.indices(grid.shape), 0, -1).astype(float))
    ball = (np.linalg.norm(world - grid.centre_mm, axis=-1) < 40).astype(np.float32)
    image_of_ball = inverse.warp(Volume(ball, grid, Quantity.SCALAR)).data  # where v brings the ball's voxels
    assert (field.jacobian_determinant() * ball).sum() == pytest.approx(image_of_ball.sum(), rel=2e-3)
    assert abs(image_of_ball.sum() / ball.sum() - 1) > 0.005  # the region did change its volume


def test_inside_counts_the_voxels_brought_from_the_field_of_view():
    grid = Grid.from_spacing((10, 10, 10), (4.0, 4.0, 4.0))
    shift = np.eye(4)
    shift[2, 3] = 12.0  # three voxels up
    inside = DisplacementField.from_affine(shift, grid).inside(grid)
    assert inside[:, :, :7].all()
    assert not inside[:, :, 7:].any()


def test_a_single_slice_is_a_grid_too():
    grid = Grid.from_spacing((12, 10, 1), (2.0, 2.0, 5.0))
    volume = Volume(noise(grid), grid, Quantity.ACTIVITY)
    field = DisplacementField.identity(grid)
    assert np.array_equal(field.warp(volume).data, volume.data)
    np.testing.assert_allclose(field.jacobian_determinant(), 1.0)


def test_a_field_read_in_parts_is_the_field_read_at_once():
    chance = np.random.default_rng(4)
    field = DisplacementField(
        chance.normal(0.0, 5.0, (3, 7, 6, 5)).astype(np.float32), Grid.from_spacing((7, 6, 5), (4.0, 4.0, 4.0))
    )
    for onto in (Grid.from_spacing((23, 9, 8), (1.7, 1.7, 1.7), centre_mm=(2.0, -1.0, 3.0)), field.grid):
        parts = list(field.parts_on(onto, planes=5))
        assert [part.shape[1] for part in parts[:-1]] == [5] * (len(parts) - 1)
        np.testing.assert_allclose(np.concatenate(parts, axis=1), field.on(onto).data, atol=1e-5)
