"""Field files against SimpleITK's reading of them."""

import numpy as np
import pytest
import SimpleITK as sitk
from support.fields import FLIP, GRID, OTHER, itk_image, noise, wavy

from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.io.field_file import STEP_MM, load_field, save_field
from nufitdose.io.nifti import save_array
from nufitdose.registration.field import DisplacementField
from nufitdose.volume import Quantity, Volume


@pytest.fixture
def written(tmp_path):
    field = wavy(GRID, amplitude_mm=12.0)
    rounded = DisplacementField(np.rint(field.data / STEP_MM) * np.float32(STEP_MM), GRID)
    save_field([field.data], GRID, tmp_path / "field.nii.gz")
    return rounded, tmp_path / "field.nii.gz"


def test_round_trip_keeps_the_rounded_field(written):
    field, path = written
    data, grid = load_field(path)
    assert grid.matches(GRID)
    assert np.array_equal(data, field.data)
    assert np.abs(data - wavy(GRID, amplitude_mm=12.0).data).max() <= STEP_MM / 2 + 1e-6
    assert [p.name for p in path.parent.iterdir()] == ["field.nii.gz"]  # no temporary file is left


def test_simpleitk_moves_points_alike(written):
    field, path = written
    image = sitk.ReadImage(str(path), sitk.sitkVectorFloat64)
    assert image.GetNumberOfComponentsPerPixel() == 3
    assert image.GetDimension() == 3
    transform = sitk.DisplacementFieldTransform(image)
    points = GRID.world(np.random.default_rng(0).uniform(0.01, np.array(GRID.shape) - 1.01, (300, 3)))
    theirs = np.array([FLIP @ transform.TransformPoint(FLIP @ p) for p in points])
    np.testing.assert_allclose(points + field.at(points), theirs, atol=1e-3)


def test_simpleitk_warps_images_alike(written):
    field, path = written
    transform = sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))
    image = noise(OTHER, sigma=2)
    reference = itk_image(np.zeros(GRID.shape, np.float32), GRID)
    theirs = sitk.Resample(itk_image(image, OTHER), reference, transform, sitk.sitkLinear, 0.0)
    expected = np.transpose(sitk.GetArrayFromImage(theirs), (2, 1, 0))
    ours = field.warp(Volume(image, OTHER, Quantity.ACTIVITY)).data
    differing = np.abs(ours - expected) > 1e-3 * np.ptp(image)
    assert differing.mean() < 1e-3  # only where a position meets the edge of the field of view
    assert np.count_nonzero(expected) > 1000


def test_a_field_that_itk_wrote_is_read(tmp_path):
    field = wavy(GRID)
    vectors = np.moveaxis(field.data, 0, -1).astype(np.float64) @ FLIP
    sitk.WriteImage(itk_image(vectors, GRID, vector=True), str(tmp_path / "itk.nii.gz"))
    data, grid = load_field(tmp_path / "itk.nii.gz")
    assert grid.matches(GRID)
    np.testing.assert_allclose(data, field.data, atol=1e-5)


def test_an_image_is_not_a_field(tmp_path):
    grid = Grid.from_spacing((4, 4, 4), (2.0, 2.0, 2.0))
    save_array(np.zeros(grid.shape, np.float32), grid, tmp_path / "image.nii.gz")
    with pytest.raises(InputError, match="displacement field"):
        load_field(tmp_path / "image.nii.gz")


def test_no_file_and_no_number_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_field(tmp_path / "missing.nii.gz")
    grid = Grid.from_spacing((4, 4, 4), (2.0, 2.0, 2.0))
    field = np.zeros((3, *grid.shape), np.float32)
    field[1, 2, 2, 2] = np.nan
    save_field([field], grid, tmp_path / "nan.nii.gz")
    with pytest.raises(InputError, match="finite"):
        load_field(tmp_path / "nan.nii.gz")
