"""Digital patients on disk: read back as anyone's study, fields that ITK understands, no half patients."""

import csv
import errno
import math

import numpy as np
import pytest
import SimpleITK as sitk

from nufitdose import load_study, load_volume
from nufitdose.errors import InputError
from nufitdose.phantom import PatientSettings, require_free_folder, simulate_patient, write_patient, writer


@pytest.fixture(scope="module")
def patient():
    return simulate_patient(PatientSettings(shape=(36, 32, 36), spacing_mm=9.0, seed=8, times_h=(4.0, 48.0), tumours=3))


@pytest.fixture(scope="module")
def folder(patient, tmp_path_factory):
    return write_patient(patient, tmp_path_factory.mktemp("out") / "patient")


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_folder_reads_back_as_the_study(patient, folder):
    study = load_study(folder)
    assert [tp.time_h for tp in study.timepoints] == [4.0, 48.0]
    assert study.nuclide == "Lu-177"
    assert study.structures is not None
    assert {"liver", "kidney_left", "tumour_1"} <= set(study.structures.present())
    assert study.structures.tumours == patient.study.structures.tumours
    for tp, original in zip(study.timepoints, patient.study.timepoints, strict=True):
        assert np.array_equal(tp.activity.data, original.activity.data)
        assert np.array_equal(tp.ct.data, original.ct.data)
        assert tp.activity.grid.matches(original.activity.grid)
        assert tp.structures is not None


def test_truth_is_complete_and_on_the_reference_grid(patient, folder):
    grid = patient.study.reference.activity.grid
    for name, quantity in (("tia", "Bq·h/mL"), ("effective_half_life", "h"), ("labels", "label"), ("ct", "HU")):
        assert load_volume(folder / "truth" / f"{name}.nii.gz", quantity).grid.matches(grid)
    tia = load_volume(folder / "truth" / "tia.nii.gz", "Bq·h/mL")
    labels = load_volume(folder / "truth" / "labels.nii.gz", "label")
    for row in rows(folder / "truth" / "organs.csv"):
        inside = labels.data == int(row["label"])
        total = tia.data[inside].sum(dtype=float) * grid.voxel_volume_ml * 1e-6
        assert float(row["tia_mbq_h"]) == pytest.approx(total, rel=1e-4)
        assert row["role"] == ("tumour" if row["structure"].startswith("tumour") else "organ")
        # a label takes whole voxels, the volume counts shares of voxels
        surface = 6 * (inside.sum() ** (2 / 3)) * grid.voxel_volume_ml
        assert float(row["volume_ml"]) == pytest.approx(inside.sum() * grid.voxel_volume_ml, abs=surface + 1)


def test_itk_applies_the_fields_to_the_landmarks(folder):
    """An independent program moves each landmark from the reference to the scan, and back with the inverse."""
    marks = [row for row in rows(folder / "truth" / "landmarks.csv") if row["timepoint"] == "tp2"]
    assert len(marks) > 30

    def transform(name):
        image = sitk.ReadImage(str(folder / "truth" / name), sitk.sitkVectorFloat64)
        return sitk.DisplacementFieldTransform(image)

    forward, back = transform("tp2_field.nii.gz"), transform("tp2_inverse_field.nii.gz")
    flip = np.array([-1.0, -1.0, 1.0])  # RAS to LPS
    errors, returned = [], []
    for row in marks:
        fixed = np.array([float(row[f"fixed_{axis}_mm"]) for axis in "xyz"])
        moving = np.array([float(row[f"moving_{axis}_mm"]) for axis in "xyz"])
        errors.append(np.linalg.norm(flip * forward.TransformPoint(flip * fixed) - moving))
        returned.append(np.linalg.norm(flip * back.TransformPoint(flip * moving) - fixed))
    assert np.median(errors) < 0.3
    assert np.percentile(errors, 90) < 1.8  # a fifth of a voxel
    assert np.percentile(returned, 85) < 1.8
    moved = [math.dist(*[[float(r[f"{p}_{a}_mm"]) for a in "xyz"] for p in ("fixed", "moving")]) for r in marks]
    assert np.median(moved) > 3.0


def test_an_existing_folder_is_left_alone(patient, folder, tmp_path):
    before = sorted(p.name for p in folder.iterdir())
    with pytest.raises(InputError, match="already something here"):
        write_patient(patient, folder)
    assert sorted(p.name for p in folder.iterdir()) == before
    require_free_folder(tmp_path / "new" / "patient")
    assert not any((tmp_path / "new").iterdir())


def test_a_place_that_cannot_be_written_is_refused_in_words(patient, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be made"):
        write_patient(patient, tmp_path / "file" / "patient")
    with pytest.raises(InputError, match="already something here"):
        require_free_folder(tmp_path / "file")


def test_a_full_disk_leaves_no_half_patient(patient, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writer, "save_field", full)
    with pytest.raises(InputError, match="No space left on device"):
        write_patient(patient, tmp_path / "patient")
    assert not any(tmp_path.iterdir())
