"""A study as DICOM: read back by the importer and by SimpleITK, values, places and structures kept."""

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from nufitdose import load_study
from nufitdose.io.importer.command import run_import
from nufitdose.io.importer.plan import ImportOptions
from nufitdose.phantom import PatientSettings, simulate_patient, write_patient


@pytest.fixture(scope="module")
def patient():
    return simulate_patient(
        PatientSettings(shape=(32, 28, 30), spacing_mm=10.0, seed=6, times_h=(4.0, 48.0), tumours=2)
    )


@pytest.fixture(scope="module", params=["NM", "PT"])
def folder(patient, request, tmp_path_factory):
    return write_patient(patient, tmp_path_factory.mktemp("dicom") / "patient", dicom=request.param)


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
    series = [("CT", study.reference.ct)]
    if (folder / "dicom" / "tp1" / "PT").is_dir():
        series.append(("PT", study.reference.activity))
    for kind, volume in series:
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


def test_spect_is_one_nm_object_and_pet_a_pt_series_unless_said_otherwise(patient, tmp_path):
    pet = simulate_patient(
        PatientSettings(tracer="F-18", shape=(16, 16, 16), spacing_mm=20.0, seed=6, times_h=(1.0,), tumours=0)
    )
    for made, kind, other in ((patient, "NM", "PT"), (pet, "PT", "NM")):
        written = write_patient(made, tmp_path / kind, dicom=True) / "dicom" / "tp1"
        assert (written / kind).is_dir()
        assert not (written / other).exists()


def test_pydicom_and_simpleitk_find_activity_and_place_in_the_nm_object(patient, tmp_path):
    path = write_patient(patient, tmp_path / "p", dicom="NM") / "dicom" / "tp1" / "NM" / "NM.dcm"
    activity = patient.study.reference.activity
    d = pydicom.dcmread(path)
    assert (d.Modality, list(d.ImageType)[2], d.NumberOfFrames) == ("NM", "RECON TOMO", activity.grid.shape[2])
    values = d.pixel_array * d.RealWorldValueMappingSequence[0].RealWorldValueSlope
    voxel_ml = d.PixelSpacing[0] * d.PixelSpacing[1] * d.SliceThickness / 1000
    assert values.sum() * voxel_ml / 1e6 == pytest.approx(activity.total_mbq(), rel=1e-3)
    assert d.RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose == pytest.approx(
        patient.study.administration.activity_mbq
    )
    detector, units = d.DetectorInformationSequence[0], d.RealWorldValueMappingSequence[0].MeasurementUnitsCodeSequence
    assert units[0].CodeValue == "Bq/ml"
    image = sitk.ReadImage(str(path))
    assert image.GetSize() == activity.grid.shape
    assert image.GetSpacing() == pytest.approx(activity.grid.spacing_mm)
    stored = sitk.GetArrayViewFromImage(image)
    assert np.array_equal(stored, d.pixel_array)
    # RAS+ corner of the grid whose x and y run against L and P: the last voxel of the first row and column
    last = np.array([*np.array(activity.grid.shape[:2]) - 1, 0], dtype=float)
    assert list(detector.ImagePositionPatient) == pytest.approx(activity.grid.world(last) * [-1, -1, 1], abs=1e-3)
    k, j, i = np.unravel_index(int(stored.argmax()), stored.shape)
    there = np.array(detector.ImagePositionPatient, dtype=float) + np.array([i, j, k]) * 10.0
    at = np.unravel_index(int(activity.data.argmax()), activity.grid.shape)
    assert there * [-1, -1, 1] == pytest.approx(activity.grid.world(np.array(at, dtype=float)), abs=1e-3)
