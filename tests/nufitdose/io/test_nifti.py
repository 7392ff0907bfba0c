import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from support.strategies import grids

import nufitdose
from nufitdose.errors import InputError
from nufitdose.io.nifti import load_volume, save_volume
from nufitdose.volume import Quantity, Volume


@settings(max_examples=25)
@given(grids())
def test_a_volume_survives_the_file_and_itk_sees_the_same_world(tmp_path_factory, grid):
    path = tmp_path_factory.getbasetemp() / "v.nii.gz"
    data = np.random.default_rng(1).normal(size=grid.shape).astype(np.float32)
    save_volume(Volume(data, grid, Quantity.HU), path)
    found = nufitdose.load_volume(path, quantity="HU")
    assert found.grid.matches(grid, 2e-3)
    np.testing.assert_array_equal(found.data, data)
    image = sitk.ReadImage(str(path))
    index = [n - 1 for n in grid.shape]
    lps = np.array(image.TransformIndexToPhysicalPoint(index))
    np.testing.assert_allclose(lps * (-1, -1, 1), grid.world(np.array(index, float)), atol=1e-2)
    assert image.GetPixel(index) == pytest.approx(float(data[tuple(index)]))


def test_labels_come_back_as_integers(tmp_path):
    data = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    nib.save(nib.Nifti1Image(data.astype(np.float64), np.eye(4)), tmp_path / "l.nii")
    found = load_volume(tmp_path / "l.nii", "label")
    assert np.issubdtype(found.data.dtype, np.integer)
    np.testing.assert_array_equal(found.data, data)


def broken(path, how):
    image = nib.Nifti1Image(np.ones((3, 4, 5), np.float32), np.diag([2.0, 2.0, 3.0, 1.0]))
    if how == "no orientation":
        image.set_sform(None, 0)
        image.set_qform(None, 0)
    if how == "disagreement":
        image.set_qform(np.diag([2.0, 2.0, 3.0, 1.0]), 1)
        shifted = np.diag([2.0, 2.0, 3.0, 1.0])
        shifted[2, 3] = 246.0
        image.set_sform(shifted, 1)
    if how == "four dimensions":
        image = nib.Nifti1Image(np.ones((3, 4, 5, 2), np.float32), np.eye(4))
    if how == "not a number":
        image = nib.Nifti1Image(np.full((3, 4, 5), np.nan, np.float32), np.eye(4))
    if how == "fractions":
        image = nib.Nifti1Image(np.full((3, 4, 5), 0.5, np.float32), np.eye(4))
    nib.save(image, path)
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:-80])
    if how == "damaged":
        content = bytearray(path.read_bytes())
        content[40:60] = b"x" * 20
        path.write_bytes(content)
    if how == "text":
        path.write_text("not an image")


@pytest.mark.parametrize(
    ("how", "name", "said"),
    [
        ("no orientation", "v.nii", "left and right"), ("disagreement", "v.nii", "246.0 mm"),
        ("four dimensions", "v.nii", "three dimensions"), ("not a number", "v.nii", "60 voxels"),
        ("truncated", "v.nii", "truncated"), ("damaged", "v.nii.gz", "damaged|readable"), ("text", "v.nii", "readable"),
        ("truncated", "v.nii.gz", "truncated|damaged|readable"),
    ],
)  # fmt: skip
def test_a_broken_file_is_named(tmp_path, how, name, said):
    path = tmp_path / name
    broken(path, how)
    with pytest.raises(InputError, match=said) as caught:
        load_volume(path, "HU")
    assert name in str(caught.value)


def test_labels_must_be_whole(tmp_path):
    broken(tmp_path / "v.nii", "fractions")
    with pytest.raises(InputError, match="whole numbers"):
        load_volume(tmp_path / "v.nii", "label")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_volume(tmp_path / "none.nii", "HU")


def test_the_real_ct_and_its_labels_are_read_in_place(real_data):
    folder = real_data("totalseg_ct")
    ct = load_volume(folder / "abdomen_crop_ct_3mm.nii.gz", "HU")
    labels = load_volume(folder / "abdomen_crop_seg_3mm.nii.gz", "label")
    assert ct.grid.axis_codes == "RAS"
    assert ct.grid.matches(labels.grid)
    liver = labels.data == 5
    assert liver.sum() == 38634
    assert ct.data[liver].mean() == pytest.approx(45.29, abs=0.01)
    assert len(np.unique(labels.data)) == 42
    for label, x in ((2, 64.4), (3, -76.2)):  # right kidney, left kidney
        assert labels.grid.world(np.argwhere(labels.data == label).astype(float)).mean(axis=0)[0] == pytest.approx(
            x, abs=0.1
        )
    thorax = load_volume(folder / "thorax_ct_1p5mm.nii.gz", "HU")
    heart = load_volume(folder / "thorax_heart_mask_1p5mm.nii.gz", "label")
    assert thorax.grid.axis_codes == "LPS"
    centroid = heart.grid.world(np.argwhere(heart.data == 1).astype(float)).mean(axis=0)
    np.testing.assert_allclose(centroid, (-23.57, 184.44, 646.64), atol=0.01)
    assert thorax.data[heart.data == 1].mean() == pytest.approx(405.26, abs=0.01)


@pytest.mark.parametrize("kind", [np.complex64, [("R", "u1"), ("G", "u1"), ("B", "u1")]])
def test_colours_and_complex_numbers_are_refused(tmp_path, kind):
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5), kind), np.eye(4)), tmp_path / "v.nii")
    with pytest.raises(InputError, match="plain numbers"):
        load_volume(tmp_path / "v.nii", "Bq/mL")
