"""Damage and slips that would change numbers without a word: each is noticed."""

import gzip
import logging

import nibabel as nib
import numpy as np
import pytest
import yaml

from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.io.nifti import load_volume, save_volume
from nufitdose.io.study_folder import load_study
from nufitdose.volume import Quantity, Volume

GRID = Grid((6, 5, 4), np.diag([2.0, 3.0, 4.0, 1.0]))


def activity(seed=0):
    return Volume(np.random.default_rng(seed).uniform(0, 1e5, GRID.shape).astype(np.float32), GRID, Quantity.ACTIVITY)


def labels_file(path, values, dtype):
    image = nib.nifti1.Nifti1Image(np.asarray(values, dtype=dtype).reshape(GRID.shape), GRID.affine, dtype=dtype)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    return path


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.9])
def test_one_flipped_bit_in_a_compressed_image_is_noticed(tmp_path, share):
    """Stored blocks carry the numbers as they are, so that a flipped bit breaks nothing but the checksum."""
    path, grid = tmp_path / "a.nii.gz", Grid((20, 20, 20), np.eye(4))
    volume = Volume(np.random.default_rng(2).uniform(0, 1e5, grid.shape).astype(np.float32), grid, Quantity.ACTIVITY)
    save_volume(volume, tmp_path / "a.nii")
    content = bytearray(gzip.compress((tmp_path / "a.nii").read_bytes(), compresslevel=0))
    path.write_bytes(content)
    assert np.array_equal(load_volume(path, "Bq/mL").data, volume.data)
    content[int(share * len(content))] ^= 0x40
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        load_volume(path, "Bq/mL")


@pytest.mark.parametrize("unit", ["meter", "micron"])
def test_lengths_in_other_units_are_honoured(tmp_path, unit, caplog):
    scale = {"meter": 1e-3, "micron": 1e3}[unit]
    affine = GRID.affine.copy()
    affine[:3] *= scale
    image = nib.nifti1.Nifti1Image(activity().data, affine)
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "a.nii")
    with caplog.at_level(logging.WARNING):
        volume = load_volume(tmp_path / "a.nii", "Bq/mL")
    assert volume.grid.spacing_mm == pytest.approx((2.0, 3.0, 4.0), rel=1e-5)
    assert unit in caplog.text


@pytest.mark.parametrize("off", [1e-7, 0.009])
def test_labels_almost_whole_are_rounded(tmp_path, off):
    wanted = np.arange(120) % 4
    path = labels_file(tmp_path / "l.nii", wanted - off * (wanted > 0), np.float32)
    assert np.array_equal(load_volume(path, Quantity.LABELS).data.ravel(), wanted)


@pytest.mark.parametrize("values", [np.full(120, 1.5), np.arange(120) + 0.02])
def test_labels_between_whole_numbers_are_refused(tmp_path, values):
    with pytest.raises(InputError, match="fractions") as caught:
        load_volume(labels_file(tmp_path / "l.nii", values, np.float32), Quantity.LABELS)
    assert caught.value.remedy


@pytest.mark.parametrize("label", [2**32 + 1, -(2**40)])
def test_labels_that_would_wrap_are_refused(tmp_path, label):
    values = np.zeros(120)
    values[7] = label
    with pytest.raises(InputError, match="at most 2147483647"):
        load_volume(labels_file(tmp_path / "l.nii", values, np.int64), Quantity.LABELS)


def study(folder, *, ct=None, **changes):
    folder.mkdir(parents=True)
    save_volume(activity(), folder / "a.nii.gz")
    entry = {"id": "tp1", "hours": 4.0, "activity": "a.nii.gz", "decay_corrected_to": "acquisition"}
    if ct is not None:
        save_volume(Volume(ct.astype(np.float32), GRID, Quantity.HU), folder / "ct.nii.gz")
        entry["ct"] = "ct.nii.gz"
    content = {
        "patient": "P", "nuclide": "Lu-177", "administration": {"activity_mbq": 7400.0}, "reference": "tp1",
        "timepoints": [entry],
    }  # fmt: skip
    for path, value in changes.items():
        place, key = (entry, path) if path in {"hours", "time"} else (content["administration"], path)
        place[key] = value
    (folder / "study.yaml").write_text(yaml.safe_dump(content))
    return folder


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hours": True}, "not yes or no"),
        ({"activity_mbq": True}, "not yes or no"),
        ({"time": 20181115}, "in quotes"),
        ({"time": 1542273720.0}, "in quotes"),
    ],
)
def test_numbers_that_are_none_are_refused_in_the_manifest(tmp_path, changes, words):
    with pytest.raises(InputError, match=words):
        load_study(study(tmp_path / "s", **changes))


def body(low=-1000.0):
    return np.random.default_rng(1).uniform(low, 900.0, GRID.shape)


@pytest.mark.parametrize(
    ("ct", "words"),
    [
        (activity(3).data, "no Hounsfield units"),
        (-activity(3).data, "no Hounsfield units"),
    ],
)
def test_a_ct_that_is_none_is_refused(tmp_path, ct, words):
    loaded = load_study(study(tmp_path / "s", ct=ct))
    with pytest.raises(InputError, match=words):
        _ = loaded.reference.ct


def test_a_ct_that_is_the_activity_is_refused(tmp_path):
    folder = study(tmp_path / "s", ct=body())
    small = activity().data / 100.0
    save_volume(Volume(small, GRID, Quantity.ACTIVITY), folder / "a.nii.gz")
    save_volume(Volume(small, GRID, Quantity.HU), folder / "ct.nii.gz")
    with pytest.raises(InputError, match="same values as the activity"):
        _ = load_study(folder).reference.ct


def test_a_ct_of_one_value_is_questioned(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        _ = load_study(study(tmp_path / "s", ct=np.zeros(GRID.shape))).reference.ct
    assert "no anatomy" in caplog.text


@pytest.mark.parametrize(("shift", "said"), [(0.0, False), (1024.0, True)])
def test_a_ct_shifted_by_its_intercept_is_questioned(tmp_path, caplog, shift, said):
    with caplog.at_level(logging.WARNING):
        _ = load_study(study(tmp_path / "s", ct=body() + shift)).reference.ct
    assert ("RescaleIntercept" in caplog.text) == said


def test_weights_that_are_not_numbers_are_refused(tmp_path):
    import torch

    from nufitdose.registration.network import NetworkSettings, NufitReg, save_weights
    from nufitdose.registration.network.weights import load_weights

    model = NufitReg(NetworkSettings())
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    path = save_weights(model, tmp_path / "w.safetensors", {})
    with pytest.raises(InputError, match="finite"):
        load_weights(path)
