"""NRRD and MetaImage against the NIfTI file of the same image: one voxel, one place."""

import numpy as np
import pytest

from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.io.nifti import load_volume, save_volume
from nufitdose.volume import Quantity, Volume

sitk = pytest.importorskip("SimpleITK")


def oblique():
    a, b = 0.3, -0.2
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ tilt * np.array([2.0, 3.0, 4.5])
    affine[:3, 3] = [-20.0, 35.0, -110.0]
    return Grid((7, 6, 5), affine)


@pytest.mark.parametrize("ending", ["nrrd", "mha", "mhd", "nhdr"])
@pytest.mark.parametrize("quantity", [Quantity.ACTIVITY, Quantity.LABELS])
def test_the_same_image_in_another_format(tmp_path, ending, quantity):
    grid, rng = oblique(), np.random.default_rng(4)
    data = rng.integers(0, 9, grid.shape).astype(np.uint8 if quantity is Quantity.LABELS else np.float32)
    save_volume(Volume(data, grid, quantity), tmp_path / "a.nii.gz")
    sitk.WriteImage(sitk.ReadImage(str(tmp_path / "a.nii.gz")), str(tmp_path / f"a.{ending}"))
    other = load_volume(tmp_path / f"a.{ending}", quantity)
    assert other.grid.matches(grid, 1e-3)
    assert np.array_equal(other.data, data)


def test_what_is_no_image_or_has_no_place_is_refused(tmp_path):
    (tmp_path / "a.mha").write_text("no image")
    with pytest.raises(InputError, match="cannot be read"):
        load_volume(tmp_path / "a.mha", Quantity.ACTIVITY)
    (tmp_path / "b.nrrd").write_bytes(
        b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 2\nencoding: raw\nspacings: 1 1 1\n\n" + bytes(8)
    )
    with pytest.raises(InputError, match="left and right"):
        load_volume(tmp_path / "b.nrrd", Quantity.LABELS)
    with pytest.raises(InputError, match="no such file"):
        load_volume(tmp_path / "c.nrrd", Quantity.LABELS)
    sitk.WriteImage(sitk.Image([4, 4, 4], sitk.sitkVectorFloat32, 3), str(tmp_path / "d.mha"))
    with pytest.raises(InputError, match="3 values a voxel"):
        load_volume(tmp_path / "d.mha", Quantity.ACTIVITY)
