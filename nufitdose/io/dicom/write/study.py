"""A study as DICOM: CT, PT or NM, and RTSTRUCT objects that other programs read (PS3.3 A.3, A.21, A.5, A.19)."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    NuclearMedicineImageStorage,
    PositronEmissionTomographyImageStorage,
    generate_uid,
)
from pydicom.valuerep import format_number_as_ds

from nufitdose.image_sources import ImageSource
from nufitdose.io.dicom.write.nm import fill_nm
from nufitdose.io.dicom.write.objects import REPEATED
from nufitdose.io.dicom.write.orientation import towards_lps
from nufitdose.io.dicom.write.placement import Placement
from nufitdose.io.dicom.write.rtstruct import write_rtstruct
from nufitdose.io.lps import RAS_LPS
from nufitdose.nuclides import half_life_h
from nufitdose.study import Study, TimePoint
from nufitdose.volume import Volume

ActivityObject = Literal["NM", "PT"]

_CT_OFFSET = -1024


def write_dicom_study(
    study: Study, folder: str | Path, administered_at: datetime, *, activity: ActivityObject = "PT"
) -> Path:
    """Write every time point as `<id>/CT`, `<id>/PT` or `<id>/NM`, and `<id>/RTSTRUCT`; returns `folder`.

    Activity is in Bq/mL without decay correction, 16 bit: as slices of PT objects, one slope a slice (Units BQML,
    Decay Correction NONE; quantitative SPECT comes so too), or as one multi-frame NM object, one slope for all. HU
    are stored as whole numbers. All time points share one patient; each is a study of its own with one frame of
    reference. Equal content gives equal UIDs.
    """
    folder = Path(folder)
    for timepoint in study.timepoints:
        acquired = administered_at + timedelta(hours=timepoint.time_h)
        common = _common(study, timepoint, acquired)
        ct_uids: list[str] = []
        if timepoint.ct is not None:
            ct_uids = _write_ct(timepoint.ct, common, folder / timepoint.id / "CT")
        image = towards_lps(timepoint.activity)
        if activity == "PT":
            _write_pt(image, common, _drug(study, administered_at, bq_per_unit=1.0), folder / timepoint.id / "PT")
        else:
            d = _new(common, NuclearMedicineImageStorage, "NM")
            fill_nm(d, image, _drug(study, administered_at, bq_per_unit=1e6))
            _save(d, folder / timepoint.id / "NM" / "NM.dcm")
        if timepoint.structures is not None:
            where = folder / timepoint.id / "RTSTRUCT" / "structures.dcm"
            where.parent.mkdir(parents=True, exist_ok=True)
            write_rtstruct(timepoint.structures, _ct_placement(common, timepoint.ct, ct_uids), where)
    return folder


def _uid(*sources: str) -> str:
    return generate_uid(entropy_srcs=list(sources))


def _common(study: Study, timepoint: TimePoint, acquired: datetime) -> Dataset:
    d = Dataset()
    d.PatientName = d.PatientID = study.patient
    d.PatientBirthDate = d.PatientSex = ""
    d.StudyInstanceUID = _uid("study", study.patient, timepoint.id, acquired.isoformat())
    d.FrameOfReferenceUID = _uid("frame", study.patient, timepoint.id, acquired.isoformat())
    d.StudyID, d.AccessionNumber, d.ReferringPhysicianName = timepoint.id, "", ""
    d.PositionReferenceIndicator = d.StudyDescription = ""
    d.StudyDate = d.SeriesDate = d.AcquisitionDate = d.ContentDate = acquired.strftime("%Y%m%d")
    d.StudyTime = d.SeriesTime = d.AcquisitionTime = d.ContentTime = acquired.strftime("%H%M%S.%f")
    d.Manufacturer = d.ManufacturerModelName = "nufitdose"
    d.PatientPosition = "HFS"
    return d


def _new(common: Dataset, sop_class: UID, modality: str, *names: str) -> Dataset:
    d = Dataset()
    d.update(common)
    d.SOPClassUID, d.Modality = sop_class, modality
    d.SeriesInstanceUID = _uid("series", modality, str(common.StudyInstanceUID))
    d.SOPInstanceUID = _uid("instance", modality, str(common.StudyInstanceUID), *names)
    d.SeriesNumber, d.SeriesDescription = {"CT": 1, "PT": 2, "NM": 2, "RTSTRUCT": 3}[modality], modality
    d.file_meta = FileMetaDataset()
    d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d.file_meta.MediaStorageSOPClassUID, d.file_meta.MediaStorageSOPInstanceUID = sop_class, d.SOPInstanceUID
    return d


def _numbers(values: np.ndarray) -> list[str]:
    return [format_number_as_ds(float(v) + 0.0) for v in values]


def _slices(volume: Volume, common: Dataset, sop_class: UID, modality: str) -> Iterator[tuple[int, Dataset]]:
    """One object for each slice with its place; pixel values are left to the caller."""
    grid = volume.grid
    directions = RAS_LPS[:3, :3] @ grid.directions
    between_columns, between_rows, between_slices = grid.spacing_mm
    for k in range(grid.shape[2]):
        d = _new(common, sop_class, modality, str(k))
        d.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        d.InstanceNumber = k + 1
        d.ImagePositionPatient = _numbers(RAS_LPS[:3, :3] @ grid.world(np.array([0.0, 0.0, float(k)])))
        d.ImageOrientationPatient = _numbers(directions[:, :2].T.ravel())
        d.PixelSpacing = _numbers(np.array([between_rows, between_columns]))
        d.SliceThickness = _numbers(np.array([between_slices]))[0]
        d.Columns, d.Rows = grid.shape[0], grid.shape[1]
        d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
        d.BitsAllocated = d.BitsStored = 16
        d.HighBit = 15
        yield k, d


def _store(d: Dataset, stored: np.ndarray, signed: bool, slope: str, intercept: str, path: Path) -> None:
    d.PixelRepresentation = int(signed)
    d.RescaleSlope, d.RescaleIntercept = slope, intercept
    d.PixelData = np.ascontiguousarray(stored.T).astype("<i2" if signed else "<u2").tobytes()
    d["PixelData"].VR = "OW"
    _save(d, path)


def _save(d: Dataset, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    d.save_as(path, enforce_file_format=True)


def _write_ct(ct: Volume, common: Dataset, folder: Path) -> list[str]:
    volume, uids = towards_lps(ct), []
    for k, d in _slices(volume, common, CTImageStorage, "CT"):
        d.RescaleType, d.KVP, d.AcquisitionNumber = "HU", "120", 1
        uids.append(str(d.SOPInstanceUID))
        stored = np.rint(np.clip(volume.data[:, :, k], _CT_OFFSET, 3071)) - _CT_OFFSET
        _store(d, stored, True, "1", str(_CT_OFFSET), folder / f"CT_{k + 1:04d}.dcm")
    return uids


def _drug(study: Study, administered_at: datetime, *, bq_per_unit: float) -> Dataset:
    """What was given; the activity is in Bq in PT objects (PS3.3 C.8.9.2), in MBq in NM objects (C.8.4.10)."""
    drug, code = Dataset(), Dataset()
    drug.Radiopharmaceutical = study.tracer or study.nuclide
    drug.RadiopharmaceuticalStartDateTime = administered_at.strftime("%Y%m%d%H%M%S.%f")
    drug.RadiopharmaceuticalStartTime = administered_at.strftime("%H%M%S.%f")
    drug.RadionuclideTotalDose = format_number_as_ds(study.administration.activity_mbq * 1e6 / bq_per_unit)
    drug.RadionuclideHalfLife = format_number_as_ds(half_life_h(study.nuclide) * 3600.0)
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = study.nuclide, "99NUFITDOSE", study.nuclide
    drug.RadionuclideCodeSequence = Sequence([code])
    return drug


def _write_pt(volume: Volume, common: Dataset, drug: Dataset, folder: Path) -> None:
    for k, d in _slices(volume, common, PositronEmissionTomographyImageStorage, "PT"):
        d.SeriesType, d.Units, d.CountsSource = ["WHOLE BODY", "IMAGE"], "BQML", "EMISSION"
        d.DecayCorrection, d.CorrectedImage, d.CollimatorType = "NONE", ["ATTN", "SCAT"], "NONE"
        d.NumberOfSlices, d.ImageIndex = volume.grid.shape[2], k + 1
        d.FrameReferenceTime, d.ActualFrameDuration = "0", "1000"
        d.RadiopharmaceuticalInformationSequence = Sequence([drug])
        plane = volume.data[:, :, k].astype(np.float64)
        slope = format_number_as_ds(max(float(plane.max()), 1e-3) / 65535.0)
        stored = np.clip(np.rint(plane / float(slope)), 0, 65535)
        _store(d, stored, False, slope, "0", folder / f"PT_{k + 1:04d}.dcm")


def _ct_placement(common: Dataset, ct: Volume | None, ct_uids: list[str]) -> Placement:
    """Where structures drawn on the CT belong."""
    dicom = {word: str(common[word].value) for word in REPEATED if word in common}
    if ct is None:
        return Placement(dicom)
    source = ImageSource(
        common.StudyInstanceUID,
        _uid("series", "CT", str(common.StudyInstanceUID)),
        common.FrameOfReferenceUID,
        CTImageStorage,
        tuple(ct_uids),
    )
    return Placement(dicom, source, towards_lps(ct).grid)
