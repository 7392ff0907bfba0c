"""Dose maps as RTDOSE and back, as pydicom and ITK read them."""

import math
import os

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.io.dicom.read.rtdose import load_rtdose
from nufitdose.io.dicom.write.rtdose import write_rtdose
from nufitdose.volume import Quantity, Volume

HALF_STEP = 0.5001 / 65535  # of the maximum: what 16 bits may lose, and float32

SOURCE = {
    "PatientName": "Müller^Änne",
    "PatientID": "P-17",
    "PatientBirthDate": "19500102",
    "PatientSex": "F",
    "StudyInstanceUID": "1.2.840.1.1",
    "StudyDate": "20181115",
    "StudyTime": "130628.148",
    "StudyID": "7",
    "AccessionNumber": "A1",
    "ReferringPhysicianName": "Who^Dr",
    "FrameOfReferenceUID": "1.2.840.1.2",
    "PositionReferenceIndicator": "XY",
}


def oblique(shape=(14, 11, 9), spacing=(4.795, 4.1, 3.27), flip: bool = False) -> Grid:
    a, b, c = 0.4, -0.25, 0.15
    x = np.array([[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]])
    y = np.array([[math.cos(b), 0, math.sin(b)], [0, 1, 0], [-math.sin(b), 0, math.cos(b)]])
    z = np.array([[math.cos(c), -math.sin(c), 0], [math.sin(c), math.cos(c), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = z @ y @ x @ np.diag([-1, -1, -1 if flip else 1]) @ np.diag(spacing)
    affine[:3, 3] = (123.456789, -87.654321, 1043.2109876)
    return Grid(shape, affine)


def dose_on(grid: Grid, seed: int = 0, scale: float = 25.0) -> Volume:
    data = np.random.default_rng(seed).gamma(0.7, scale, grid.shape).astype(np.float32)
    return Volume(data, grid, Quantity.DOSE)


def test_round_trip_keeps_place_and_values(tmp_path):
    dose = dose_on(oblique())
    write_rtdose(dose, SOURCE, tmp_path / "rtdose.dcm")
    back = load_rtdose(tmp_path / "rtdose.dcm")
    assert back.quantity is Quantity.DOSE
    assert back.grid.matches(dose.grid, 1e-4)
    np.testing.assert_allclose(back.data, dose.data, rtol=0.0, atol=HALF_STEP * dose.data.max())


def test_a_left_handed_grid_keeps_its_doses_in_place(tmp_path):
    """Frames ascend along row x column: the slices come back in the other order, at the same positions."""
    dose = dose_on(oblique(flip=True))
    write_rtdose(dose, SOURCE, tmp_path / "rtdose.dcm")
    back = load_rtdose(tmp_path / "rtdose.dcm")
    np.testing.assert_allclose(back.data[:, :, ::-1], dose.data, atol=HALF_STEP * dose.data.max())
    index = np.argwhere(np.ones(dose.grid.shape, dtype=bool)).astype(float)
    mirrored = index * (1, 1, -1) + (0, 0, dose.grid.shape[2] - 1)
    np.testing.assert_allclose(back.grid.world(mirrored), dose.grid.world(index), atol=1e-4)


@pytest.mark.parametrize("flip", [False, True])
def test_itk_reads_the_same_dose_at_the_same_place(tmp_path, flip):
    dose = dose_on(oblique(flip=flip))
    write_rtdose(dose, SOURCE, tmp_path / "rtdose.dcm")
    image = sitk.ReadImage(str(tmp_path / "rtdose.dcm"), sitk.sitkFloat64)
    values = sitk.GetArrayFromImage(image)
    if values.max() > 2.0 * dose.data.max():  # an ITK that leaves DoseGridScaling to its caller
        values = values * float(pydicom.dcmread(tmp_path / "rtdose.dcm").DoseGridScaling)
    rng = np.random.default_rng(1)
    for _ in range(50):
        i, j, k = (int(rng.integers(n)) for n in dose.grid.shape)
        point = dose.grid.world(np.array([i, j, k], dtype=float)) * (-1, -1, 1)
        index = image.TransformPhysicalPointToContinuousIndex(point.tolist())
        np.testing.assert_allclose(index, np.rint(index), atol=1e-4)
        a, b, c = np.rint(index).astype(int)
        assert values[c, b, a] == pytest.approx(float(dose.data[i, j, k]), abs=HALF_STEP * float(dose.data.max()))


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 9.9)] * 3),
    flip=st.booleans(),
    scale=st.sampled_from([0.0, 1e-6, 1.0, 3000.0]),
)
def test_any_grid_and_any_dose_come_back(tmp_path, shape, spacing, flip, scale):
    grid = oblique(shape, spacing, flip)
    dose = dose_on(grid, 1, scale) if scale else Volume(np.zeros(shape, np.float32), grid, Quantity.DOSE)
    write_rtdose(dose, SOURCE, tmp_path / "d.dcm")
    back = load_rtdose(tmp_path / "d.dcm")
    assert back.data.max() == pytest.approx(dose.data.max(), rel=1e-6)
    np.testing.assert_allclose(
        back.data[:, :, ::-1] if flip else back.data, dose.data, atol=HALF_STEP * dose.data.max()
    )


def test_axes_that_are_not_perpendicular_are_resampled(tmp_path, caplog):
    affine = np.array(oblique((60, 60, 40), (4.0, 4.0, 4.0)).affine)
    affine[:3, 2] += 0.0012 * affine[:3, 0]
    sheared = Grid((60, 60, 40), affine)
    i, j, k = np.meshgrid(*(np.arange(n) for n in sheared.shape), indexing="ij")
    world = sheared.world(np.stack([i, j, k], axis=-1).astype(float))
    ramp = (world @ (0.01, 0.02, 0.005) + 100).astype(np.float32)
    write_rtdose(Volume(ramp, sheared, Quantity.DOSE), SOURCE, tmp_path / "d.dcm")
    assert "not perpendicular" in caplog.text
    back = load_rtdose(tmp_path / "d.dcm")
    inner = (slice(2, -2),) * 3
    places = back.grid.world(np.stack([i, j, k], axis=-1).astype(float))
    np.testing.assert_allclose(back.data[inner], (places @ (0.01, 0.02, 0.005) + 100)[inner], atol=1e-3)


# Type 1 and type 2 attributes of the modules of the RT Dose IOD (PS3.3 A.18.3) for an image of several frames
TYPE_1 = [
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "FrameOfReferenceUID",
    "PixelSpacing",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelData",
    "NumberOfFrames",
    "FrameIncrementPointer",
    "DoseUnits",
    "DoseType",
    "DoseSummationType",
    "GridFrameOffsetVector",
    "DoseGridScaling",
    "PlanOverviewSequence",
    "SpecificCharacterSet",
]
TYPE_2 = [
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
    "SeriesNumber",
    "OperatorsName",
    "PositionReferenceIndicator",
    "Manufacturer",
    "InstanceNumber",
    "SliceThickness",
]


@pytest.mark.parametrize("source", [SOURCE, {}], ids=["from DICOM", "of its own"])
def test_the_object_is_complete(tmp_path, source):
    write_rtdose(dose_on(oblique()), source, tmp_path / "rtdose.dcm")
    file = pydicom.dcmread(tmp_path / "rtdose.dcm")
    assert [keyword for keyword in TYPE_1 if file.get(keyword) in (None, "", [])] == []
    assert [keyword for keyword in TYPE_2 if keyword not in file] == []
    assert file.SOPClassUID == file.file_meta.MediaStorageSOPClassUID == pydicom.uid.RTDoseStorage
    assert file.SOPInstanceUID == file.file_meta.MediaStorageSOPInstanceUID
    assert file.Modality == "RTDOSE"
    assert (file.DoseUnits, file.DoseType, file.BitsStored, file.PixelRepresentation) == ("GY", "PHYSICAL", 16, 0)
    assert file.FrameIncrementPointer == 0x3004000C
    assert file.GridFrameOffsetVector[0] == 0.0
    assert len(file.GridFrameOffsetVector) == file.NumberOfFrames == 9
    assert all(len(str(value)) <= 16 for value in (*file.ImagePositionPatient, *file.GridFrameOffsetVector))
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert pydicom.uid.UID(file[keyword].value).is_valid


def test_no_plan_is_referred_to_and_none_is_needed(tmp_path):
    """PLAN and its kin need a Referenced RT Plan Sequence, RECORD a treatment record; PLAN_OVERVIEW needs neither."""
    write_rtdose(dose_on(oblique()), SOURCE, tmp_path / "rtdose.dcm")
    file = pydicom.dcmread(tmp_path / "rtdose.dcm")
    assert file.DoseSummationType == "PLAN_OVERVIEW"
    assert "ReferencedRTPlanSequence" not in file
    (overview,) = file.PlanOverviewSequence
    assert overview.PlanOverviewIndex == 1
    for keyword in ("RTPlanLabel", "TreatmentSite", "TreatmentSiteCodeSequence", "PrescriptionOverviewSequence"):
        assert keyword in overview


def test_patient_and_study_are_those_of_the_images(tmp_path):
    write_rtdose(dose_on(oblique()), SOURCE, tmp_path / "rtdose.dcm", comment="Lu-177, local deposition")
    file = pydicom.dcmread(tmp_path / "rtdose.dcm")
    assert {keyword: str(file[keyword].value) for keyword in SOURCE} == SOURCE
    assert "research use only" in file.ImageComments
    assert file.ImageComments.endswith("Lu-177, local deposition")
    assert "research" in file.DoseComment
    assert "research" in file.SeriesDescription


def test_a_dose_without_a_study_gets_one_of_its_own(tmp_path, caplog):
    write_rtdose(dose_on(oblique()), {"PatientID": "P1"}, tmp_path / "a.dcm")
    write_rtdose(dose_on(oblique()), {"PatientID": "P2"}, tmp_path / "b.dcm")
    first, second = (pydicom.dcmread(tmp_path / name) for name in ("a.dcm", "b.dcm"))
    assert first.StudyInstanceUID != second.StudyInstanceUID
    assert first.FrameOfReferenceUID != first.StudyInstanceUID
    assert "the images name no study" in caplog.text
    assert "the images name no frame of reference" in caplog.text


def test_equal_content_is_one_object_and_other_content_another(tmp_path):
    dose = dose_on(oblique())
    write_rtdose(dose, SOURCE, tmp_path / "a.dcm")
    write_rtdose(dose, SOURCE, tmp_path / "b.dcm")
    assert (tmp_path / "a.dcm").read_bytes() == (tmp_path / "b.dcm").read_bytes()
    other = dose.data.copy()
    other[3, 3, 3] += 1.0
    moved = np.array(dose.grid.affine)
    moved[0, 3] += 1.0
    write_rtdose(dose.with_data(other), SOURCE, tmp_path / "c.dcm")
    write_rtdose(Volume(dose.data, Grid(dose.grid.shape, moved), Quantity.DOSE), SOURCE, tmp_path / "d.dcm")
    files = [pydicom.dcmread(tmp_path / name) for name in ("a.dcm", "c.dcm", "d.dcm")]
    assert len({file.SOPInstanceUID for file in files}) == 3
    assert len({file.SeriesInstanceUID for file in files}) == 3


def test_odd_values_of_the_images_are_repeated_as_they_are(tmp_path):
    odd = SOURCE | {"PatientID": "x" * 70, "PatientSex": "unknown", "StudyDate": "2018"}
    write_rtdose(dose_on(oblique()), odd, tmp_path / "rtdose.dcm")
    with pydicom.config.disable_value_validation():
        file = pydicom.dcmread(tmp_path / "rtdose.dcm")
        assert file.PatientID == "x" * 70
        assert file.PatientSex == "unknown"


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(pydicom.dataset.Dataset, "save_as", fail)
    with pytest.raises(OSError, match="disk full"):
        write_rtdose(dose_on(oblique()), SOURCE, tmp_path / "rtdose.dcm")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_what_is_no_dose_is_not_written(tmp_path, bad):
    data = np.ones((3, 3, 3), dtype=np.float32)
    data[1, 1, 1] = bad
    grid = Grid((3, 3, 3), np.eye(4))
    with pytest.raises(ValueError, match="finite doses"):
        write_rtdose(Volume(data, grid, Quantity.DOSE), SOURCE, tmp_path / "d.dcm")
    with pytest.raises(ValueError, match="holds dose"):
        write_rtdose(Volume(np.ones((3, 3, 3)), grid, Quantity.ACTIVITY), SOURCE, tmp_path / "d.dcm")


# ---------------------------------------------------------------- reading


@pytest.fixture
def rtdose(tmp_path):
    """`rtdose(**attributes)`: an RTDOSE file with some attributes changed (None: removed)."""

    def make(**attributes):
        path = tmp_path / "rtdose.dcm"
        grid = Grid((5, 4, 3), np.diag([-2.0, -2.0, 3.0, 1.0]) + np.array([[0, 0, 0, 9.0]] * 3 + [[0] * 4]))
        write_rtdose(dose_on(grid), SOURCE, path)
        file = pydicom.dcmread(path)
        for keyword, value in attributes.items():
            if value is None:
                del file[keyword]
            else:
                setattr(file, keyword, value)
        file.save_as(path)
        return path

    return make


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ({"DoseUnits": "RELATIVE"}, r"DoseUnits \(3004,0002\) is 'RELATIVE', GY is wanted.*Export the dose in Gy"),
        ({"DoseUnits": None}, r"DoseUnits \(3004,0002\) is missing"),
        ({"DoseType": "ERROR"}, r"DoseType \(3004,0004\) is 'ERROR', a dose is wanted"),
        ({"DoseGridScaling": None}, r"DoseGridScaling \(3004,000e\) is missing"),
        ({"DoseGridScaling": "-1"}, "a positive number is wanted"),
        ({"GridFrameOffsetVector": None}, r"GridFrameOffsetVector \(3004,000c\) is '', 3 numbers are wanted"),
        ({"GridFrameOffsetVector": [0, 3]}, "3 numbers are wanted, one a frame"),
        ({"GridFrameOffsetVector": [0, 3, 7]}, "evenly spaced frames are wanted, one lies 0.50 mm off"),
        ({"GridFrameOffsetVector": [0, 0, 0]}, "evenly spaced frames are wanted"),
        ({"GridFrameOffsetVector": [1, 4, 7]}, "it starts neither at 0 nor at the position"),
        ({"ImagePositionPatient": None}, r"ImagePositionPatient \(0020,0032\) is missing"),
        ({"PixelSpacing": [2.0, 0.0]}, "singular"),
        ({"PixelData": b"\x00" * 8}, "looks truncated"),
    ],
)
def test_doses_that_cannot_be_used_are_refused(rtdose, attributes, problem):
    with pytest.raises(InputError, match=problem) as caught:
        load_rtdose(rtdose(**attributes))
    assert "rtdose.dcm" in str(caught.value)


def test_other_files_are_refused(tmp_path, rtdose):
    (tmp_path / "dose.txt").write_text("no DICOM")
    with pytest.raises(InputError, match="this is no RTDOSE"):
        load_rtdose(tmp_path / "dose.txt")
    with pytest.raises(InputError, match="this is no RTDOSE"):
        load_rtdose(rtdose(SOPClassUID="1.2.840.10008.5.1.4.1.1.481.5"))


def test_offsets_may_be_positions_of_axial_frames(rtdose):
    relative = load_rtdose(rtdose())
    z = 9.0
    absolute = load_rtdose(rtdose(GridFrameOffsetVector=[z, z + 3, z + 6]))
    assert absolute.grid.matches(relative.grid)
    np.testing.assert_array_equal(absolute.data, relative.data)


def test_frames_may_descend(rtdose):
    down = load_rtdose(rtdose(GridFrameOffsetVector=[0, -3, -6]))
    assert down.grid.world(np.array([0.0, 0.0, 2.0]))[2] == pytest.approx(9.0 - 6.0)


def test_weighted_dose_is_told(rtdose, caplog):
    load_rtdose(rtdose(DoseType="EFFECTIVE"))
    assert "DoseType is EFFECTIVE" in caplog.text


def test_the_dose_of_the_breast_plan(real_data):
    dose = load_rtdose(real_data("rt_dicom") / "breast_plan" / "rtdose.dcm")  # deflated
    assert dose.grid.shape == (194, 129, 98)
    assert dose.grid.spacing_mm == pytest.approx((2.5, 2.5, 3.0))
    np.testing.assert_allclose(dose.grid.affine[:3, 3] * (-1, -1, 1), (-228.6541915, -419.2444776, -122.4407))
    assert np.unravel_index(np.argmax(dose.data), dose.data.shape) == (137, 51, 32)
    assert float(dose.data.max()) == pytest.approx(14.680764, rel=1e-6)
    assert float(dose.data.mean(dtype=np.float64)) == pytest.approx(0.1520417, rel=1e-6)
    assert float(dose.data.sum(dtype=np.float64)) == pytest.approx(26634963153 * 1.4e-5, rel=1e-7)


def test_the_breast_plan_survives_a_round_trip(real_data, tmp_path):
    dose = load_rtdose(real_data("rt_dicom") / "breast_plan" / "rtdose.dcm")
    write_rtdose(dose, SOURCE, tmp_path / "rtdose.dcm")
    back = load_rtdose(tmp_path / "rtdose.dcm")
    assert back.grid.matches(dose.grid)
    np.testing.assert_allclose(back.data, dose.data, atol=HALF_STEP * float(dose.data.max()))
