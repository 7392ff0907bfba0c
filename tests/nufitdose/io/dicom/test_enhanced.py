"""Enhanced multi-frame CT and PET objects, converted and made as such, against the single slices they stand for."""

import warnings
from datetime import timedelta

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedPETImageStorage
from support.dicom_files import ACQUIRED, HALF_LIFE_S, ct, pet, uid, write

from nufitdose.io.dicom.read.find import find_dicom
from nufitdose.io.dicom.read.images import read_ct
from nufitdose.io.dicom.read.series import gather
from nufitdose.io.importer import ImportOptions, plan_import


def converted(folder, datasets, kind):
    """The legacy converted enhanced object of these slices, by highdicom."""
    paths = write(folder / "slices", datasets)
    single = [pydicom.dcmread(path) for path in paths]
    for one in single:
        one.Manufacturer = one.ManufacturerModelName = one.DeviceSerialNumber = "x"
        one.SoftwareVersions, one.BurnedInAnnotation = "1", "NO"
        one.AccessionNumber = one.StudyID = ""
        if "PatientSex" not in one:
            one.PatientSex = ""
        one.PatientName = one.get("PatientName", "")
        one.StudyTime, one.StudyDate = one.get("StudyTime", "130000"), one.get("StudyDate", "20240101")
        one.VolumetricProperties = "VOLUME"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = kind(single, uid("converted"), 7, uid("converted object"), 1)
    made.save_as(folder / "multi.dcm")
    for path in paths:
        path.unlink()
    return made


def only(folder):
    (found,) = gather(find_dicom(folder).headers)
    assert found.refusal is None, found.refusal
    return found.series


def test_a_converted_ct_is_that_of_its_slices(tmp_path):
    write(tmp_path / "single", ct())
    single = only(tmp_path / "single")
    converted(tmp_path / "multi", ct(), highdicom.legacy.LegacyConvertedEnhancedCTImage)
    multi = only(tmp_path / "multi")
    assert multi.grid.matches(single.grid)
    assert np.array_equal(read_ct(multi).data, read_ct(single).data)


@pytest.mark.parametrize("correction", ["ADMIN", "START", "NONE"])
def test_a_converted_pet_is_that_of_its_slices(tmp_path, correction):
    made = pet(correction=correction, slope=lambda k: 10.0 + k)
    write(tmp_path / "single", made)
    converted(tmp_path / "multi", pet(correction=correction, slope=lambda k: 10.0 + k),
              highdicom.legacy.LegacyConvertedEnhancedPETImage)  # fmt: skip
    single, multi = (plan_import(tmp_path / name) for name in ("single", "multi"))
    assert multi.refusal is None, multi.refusal
    for one, other in zip(single.study.timepoints, multi.study.timepoints, strict=True):
        assert other.time_h == pytest.approx(one.time_h)
        assert other.activity.grid.matches(one.activity.grid)
        assert np.array_equal(other.activity.data, one.activity.data)


def code(value, scheme, meaning):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def within(keyword, **values):
    """A functional group of one item."""
    item = Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    group = Dataset()
    setattr(group, keyword, [item])
    return group


def enhanced_pet(*, corrected="YES", attenuation="YES", reference_before_s=600.0):
    """The PET of `pet()` as an enhanced PET object: one volume, values mapped to Bq/mL."""
    slices = pet()
    whole = Dataset()
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID", "FrameOfReferenceUID", "Rows",
                    "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored",
                    "HighBit", "PixelRepresentation", "RadiopharmaceuticalInformationSequence"):  # fmt: skip
        whole[keyword] = slices[0][keyword]
    whole.file_meta = slices[0].file_meta
    whole.SOPClassUID = whole.file_meta.MediaStorageSOPClassUID = EnhancedPETImageStorage
    whole.SOPInstanceUID = whole.file_meta.MediaStorageSOPInstanceUID = uid("enhanced object")
    whole.SeriesInstanceUID, whole.Modality, whole.SeriesDescription = uid("enhanced"), "PT", "enhanced"
    whole.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    whole.NumberOfFrames = len(slices)
    whole.DecayCorrected, whole.AttenuationCorrected, whole.ScatterCorrected = corrected, attenuation, "YES"
    if corrected == "YES":
        whole.DecayCorrectionDateTime = (ACQUIRED - timedelta(seconds=reference_before_s)).strftime("%Y%m%d%H%M%S")
    measures = within("PixelMeasuresSequence", PixelSpacing=slices[0].PixelSpacing, SliceThickness=4.0)
    shared = Dataset()
    shared.update(measures)
    shared.update(within("PlaneOrientationSequence", ImageOrientationPatient=slices[0].ImageOrientationPatient))
    whole.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for one in slices:
        frame = Dataset()
        frame.update(within("PlanePositionSequence", ImagePositionPatient=one.ImagePositionPatient))
        frame.update(
            within(
                "FrameContentSequence",
                FrameAcquisitionDateTime=ACQUIRED.strftime("%Y%m%d%H%M%S"),
                FrameAcquisitionDuration=1200000.0,
            )
        )
        frame.update(
            within("PixelValueTransformationSequence", RescaleSlope=1.0, RescaleIntercept=0.0, RescaleType="US")
        )
        mapping = Dataset()
        mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = 10.0, 0.0
        mapping.MeasurementUnitsCodeSequence = [code("Bq/ml", "UCUM", "Becquerels/milliliter")]
        frame.RealWorldValueMappingSequence = [mapping]
        frames.append(frame)
    whole.PerFrameFunctionalGroupsSequence = frames
    whole.PixelData = b"".join(one.PixelData for one in slices)
    whole["PixelData"].VR = "OW"
    return whole


@pytest.mark.parametrize(("corrected", "before_s"), [("YES", 600.0), ("YES", 4 * 3600.0), ("NO", 0.0)])
def test_an_enhanced_pet_says_what_it_refers_to(tmp_path, corrected, before_s):
    write(tmp_path / "in", [enhanced_pet(corrected=corrected, reference_before_s=before_s)])
    plan = plan_import(tmp_path / "in")
    assert plan.refusal is None, plan.refusal
    (point,) = plan.study.timepoints
    assert point.time_h == pytest.approx(4.0)
    write(tmp_path / "single", pet(correction="NONE"))
    single = plan_import(tmp_path / "single").study.timepoints[0]
    assert point.activity.grid.matches(single.activity.grid)
    rate, lasted = np.log(2.0) / HALF_LIFE_S, 1200.0
    mean = rate * lasted / -np.expm1(-rate * lasted)
    factor = np.exp(-rate * before_s) / mean if corrected == "YES" else 1.0
    np.testing.assert_allclose(point.activity.data, single.activity.data * factor, rtol=1e-6)
    assert plan.record()["timepoints"]["tp1"]["calibration"] == "RealWorldValueMapping of the file"


def test_an_enhanced_pet_without_attenuation_correction_is_refused(tmp_path):
    write(tmp_path, [enhanced_pet(attenuation="NO")])
    assert "ATTN" in plan_import(tmp_path).refusal.problem


def test_time_frames_in_one_object_are_refused_with_the_way_out(tmp_path):
    whole = enhanced_pet()
    whole.PerFrameFunctionalGroupsSequence = [*whole.PerFrameFunctionalGroupsSequence] * 2
    whole.NumberOfFrames *= 2
    whole.PixelData *= 2
    write(tmp_path, [whole])
    refusal = plan_import(tmp_path, ImportOptions()).refusal
    assert "lie at one position" in refusal.problem
    assert "several volumes" in refusal.remedy
