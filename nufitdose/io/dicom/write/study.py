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
    RTStructureSetStorage,
    generate_uid,
)
from pydicom.valuerep import format_number_as_ds

from nufitdose.grid import Grid
from nufitdose.io.dicom.write.nm import fill_nm
from nufitdose.io.lps import RAS_LPS
from nufitdose.nuclides import half_life_h
from nufitdose.study import Structures, Study, TimePoint
from nufitdose.types import Mask
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
        image = _towards_lps(timepoint.activity)
        if activity == "PT":
            _write_pt(image, common, _drug(study, administered_at, bq_per_unit=1.0), folder / timepoint.id / "PT")
        else:
            d = _new(common, NuclearMedicineImageStorage, "NM")
            fill_nm(d, image, _drug(study, administered_at, bq_per_unit=1e6))
            _save(d, folder / timepoint.id / "NM" / "NM.dcm")
        if timepoint.structures is not None:
            where = folder / timepoint.id / "RTSTRUCT" / "structures.dcm"
            _write_structures(timepoint.structures, common, ct_uids, where)
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


def _towards_lps(volume: Volume) -> Volume:
    """The same image with every axis reversed that runs against L, P or S: what viewers expect to find."""
    data, affine = volume.data, np.array(volume.grid.affine)
    directions = RAS_LPS[:3, :3] @ volume.grid.directions
    for axis in range(3):
        if directions[int(np.argmax(np.abs(directions[:, axis]))), axis] < 0:
            data = np.flip(data, axis)
            affine[:3, 3] += affine[:3, axis] * (volume.grid.shape[axis] - 1)
            affine[:3, axis] *= -1.0
    return Volume(np.ascontiguousarray(data), Grid(volume.grid.shape, affine), volume.quantity)


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
    volume, uids = _towards_lps(ct), []
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


def _write_structures(structures: Structures, common: Dataset, ct_uids: list[str], path: Path) -> None:
    d = _new(common, RTStructureSetStorage, "RTSTRUCT")
    d.StructureSetLabel, d.InstanceNumber = "structures", 1
    d.StructureSetDate, d.StructureSetTime = common.SeriesDate, common.SeriesTime
    d.ApprovalStatus = "UNAPPROVED"
    d.ReferencedFrameOfReferenceSequence = Sequence([_reference(common, ct_uids)])
    rois, contours, observations = [], [], []
    for number, name in enumerate(structures.present(), start=1):
        mask, layer = structures.mask(name)
        roi, contour, observation = Dataset(), Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ROIGenerationAlgorithm = number, name, "AUTOMATIC"
        roi.ReferencedFrameOfReferenceUID = common.FrameOfReferenceUID
        contour.ReferencedROINumber = number
        contour.ContourSequence = Sequence(list(_outlines(mask, layer.grid)))
        observation.ObservationNumber = observation.ReferencedROINumber = number
        observation.RTROIInterpretedType = "GTV" if structures.role(name) == "tumour" else "ORGAN"
        observation.ROIInterpreter = ""
        rois.append(roi)
        contours.append(contour)
        observations.append(observation)
    d.StructureSetROISequence, d.ROIContourSequence = Sequence(rois), Sequence(contours)
    d.RTROIObservationsSequence = Sequence(observations)
    _save(d, path)


def _reference(common: Dataset, ct_uids: list[str]) -> Dataset:
    frame, study, series = Dataset(), Dataset(), Dataset()
    frame.FrameOfReferenceUID = common.FrameOfReferenceUID
    series.SeriesInstanceUID = _uid("series", "CT", str(common.StudyInstanceUID))
    images = []
    for uid in ct_uids:
        image = Dataset()
        image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = CTImageStorage, uid
        images.append(image)
    series.ContourImageSequence = Sequence(images)
    study.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"
    study.ReferencedSOPInstanceUID = common.StudyInstanceUID
    study.RTReferencedSeriesSequence = Sequence([series])
    frame.RTReferencedStudySequence = Sequence([study])
    return frame


def _outlines(mask: Mask, grid: Grid) -> Iterator[Dataset]:
    """Closed contours along the edges of the voxels, slice by slice along k: they enclose just the voxels' volume."""
    for k in np.flatnonzero(mask.any(axis=(0, 1))):
        for ring in _rings(mask[:, :, k]):
            points = np.column_stack([ring, np.full(len(ring), float(k))])
            contour = Dataset()
            contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", len(points)
            contour.ContourData = _numbers(np.round(grid.world(points) @ RAS_LPS[:3, :3], 4).ravel())
            yield contour


def _rings(plane: np.ndarray) -> Iterator[np.ndarray]:
    """Corner points (i, j) of the closed lines between True and False; outer lines and holes alike."""
    padded = np.pad(plane, 1)
    following: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for (di, dj), (ai, aj), (bi, bj) in (
        ((-1, 0), (0, 1), (0, 0)),
        ((1, 0), (1, 0), (1, 1)),
        ((0, -1), (0, 0), (1, 0)),
        ((0, 1), (1, 1), (0, 1)),
    ):
        edge = padded[1:-1, 1:-1] & ~padded[1 + di : padded.shape[0] - 1 + di, 1 + dj : padded.shape[1] - 1 + dj]
        for i, j in np.argwhere(edge).tolist():
            following.setdefault((i + ai, j + aj), []).append((i + bi, j + bj))
    while following:
        start = next(iter(following))
        ring, corner = [start], start
        while True:
            corner = following[corner].pop()
            if not following[ring[-1]]:
                del following[ring[-1]]
            if corner == start:
                break
            ring.append(corner)
        points = np.array(ring, dtype=np.float64)
        turns = np.any(np.roll(points, -1, axis=0) - points != points - np.roll(points, 1, axis=0), axis=1)
        yield points[turns] - 0.5
