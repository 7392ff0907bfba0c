"""A study as DICOM: read back by the importer and by SimpleITK, values, places and structures kept."""

import numpy as np
import pytest
import SimpleITK as sitk

from nufitdose import load_study
from nufitdose.io.dicom_plan import ImportOptions
from nufitdose.io.import_command import run_import
from nufitdose.phantom import simulate_patient, write_patient


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    patient = simulate_patient(shape=(32, 28, 30), spacing_mm=10.0, seed=6, times_h=(4.0, 48.0), tumours=2)
    return write_patient(patient, tmp_path_factory.mktemp("dicom") / "patient", dicom=True)


def test_the_importer_makes_the_same_study_again(folder, tmp_path):
    run_import(folder / "dicom", tmp_path / "imported", ImportOptions())
    original, imported = load_study(folder), load_study(tmp_path / "imported")
    assert imported.nuclide == "Lu-177"
    assert imported.administration.activity_mbq == pytest.approx(original.administration.activity_mbq, rel=1e-9)
    for tp, again in zip(original.timepoints, imported.timepoints, strict=True):
        assert again.time_h == pytest.approx(tp.time_h, abs=1e-6)
        same = again.activity.resampled_to(tp.activity.grid)
        assert same.data == pytest.approx(tp.activity.data, abs=float(tp.activity.data.max()) / 65535)
        assert again.activity.total_mbq() == pytest.approx(tp.activity.total_mbq(), rel=1e-4)
        assert again.ct.resampled_to(tp.ct.grid).data == pytest.approx(tp.ct.data, abs=0.02)
        assert set(again.structures.present()) == set(tp.structures.present())
        for name in tp.structures.present():
            was, layer = tp.structures.mask(name)
            now, new_layer = again.structures.mask(name)
            moved = new_layer.with_data(now.astype(np.uint8)).resampled_to(layer.grid).data > 0
            assert moved.sum() == pytest.approx(was.sum()), name
            assert (moved == was).all(), name


def test_simpleitk_reads_the_series_in_the_same_place(folder):
    study = load_study(folder)
    for kind, volume in (("CT", study.reference.ct), ("PT", study.reference.activity)):
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder / "dicom" / "tp1" / kind)))
        image = reader.Execute()
        corner = volume.grid.corners_mm()[0] * np.array([-1.0, -1.0, 1.0])
        index = image.TransformPhysicalPointToContinuousIndex(corner.tolist())
        i, j, k = (round(n) for n in index)
        assert index == pytest.approx((i, j, k), abs=1e-3)
        assert image.GetPixel(i, j, k) == pytest.approx(
            float(volume.data[0, 0, 0]), abs=max(1e-3, float(volume.data.max()) / 60000)
        )
        assert sitk.GetArrayViewFromImage(image).max() == pytest.approx(float(volume.data.max()), rel=1e-4)
