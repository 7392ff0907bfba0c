"""Dose maps as RTDOSE objects (PS3.3 A.18, C.8.8.3)."""

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydicom import config
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, RTDoseStorage, generate_uid
from pydicom.valuerep import format_number_as_ds

from nufitdose.files import whole_file
from nufitdose.grid import Grid
from nufitdose.io.dicom.read.headers import quiet
from nufitdose.io.lps import RAS_LPS
from nufitdose.version import __version__
from nufitdose.volume import Quantity, Volume

_log = logging.getLogger(__name__)
_RESEARCH = "For research use only. Not a medical device, not for diagnosis or treatment planning."
_LARGEST = 2**31 - 1  # also right in programs that take the stored values for signed ones
_SAME_PLACE_MM = 0.01
#: Type 1 and 2 attributes of the patient, the study and the frame of reference, repeated from the images.
_REPEATED = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
)


def write_rtdose(dose: Volume, dicom: Mapping[str, str], path: str | Path, *, comment: str = "") -> None:
    """Write absorbed dose in Gy as a multi-frame RTDOSE, whole or not at all.

    `dicom` holds the attributes (keyword -> value) of the patient and the study the object belongs to.
    Without a study or a frame of reference it gets new ones, with a warning. Stored values are 32-bit
    integers of DoseGridScaling = max / (2^31 - 1); the frames lie along the normal, as the standard wants
    them, so a grid whose axes are not perpendicular is resampled. Equal content gives equal bytes.

    Dose Summation Type is PLAN_OVERVIEW: all others need an RT Plan or a treatment record to refer to
    (Referenced RT Plan Sequence, type 1C), and radionuclide therapy has neither.
    """
    if dose.quantity is not Quantity.DOSE:
        raise ValueError(f"RTDOSE holds dose, a volume of {dose.quantity} was given")
    if not np.isfinite(dose.data).all() or dose.data.min() < 0.0:
        raise ValueError("RTDOSE holds finite doses of zero and more")
    dose = _along_the_normal(dose)
    dataset = Dataset()
    _describe(dataset, dicom, Path(path))
    _place(dataset, dose.grid)
    _store(dataset, dose)
    dataset.DoseComment = "For research use only"
    dataset.ImageComments = f"{_RESEARCH} {comment}".strip()
    _identify(dataset)
    _save(dataset, Path(path))


def _along_the_normal(dose: Volume) -> Volume:
    """The dose with frames ascending along row x column direction, axes perpendicular."""
    affine, data = np.array(dose.grid.affine), dose.data
    if np.linalg.det(affine[:3, :3]) < 0.0:
        affine[:3, 3] += affine[:3, 2] * (dose.grid.shape[2] - 1)
        affine[:3, 2] *= -1.0
        dose = Volume(data[:, :, ::-1], Grid(dose.grid.shape, affine), dose.quantity)
    row, column, _ = dose.grid.directions.T
    column = column - row * (row @ column)
    column = column / np.linalg.norm(column)
    affine[:3, :3] = np.column_stack([row, column, np.cross(row, column)]) * dose.grid.spacing_mm
    square = Grid(dose.grid.shape, affine)
    if square.matches(dose.grid, _SAME_PLACE_MM):
        return dose
    _log.warning("the axes of the dose grid are not perpendicular: it is resampled for RTDOSE")
    return dose.resampled_to(square)


def _describe(dataset: Dataset, dicom: Mapping[str, str], path: Path) -> None:
    """Patient, study, series, equipment: every type 2 attribute is there, empty where unknown."""
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = RTDoseStorage
    dataset.Modality = "RTDOSE"
    with quiet(), config.disable_value_validation():  # repeated as the images have them
        for keyword in _REPEATED:
            setattr(dataset, keyword, dicom.get(keyword, ""))
    for keyword, what in (("StudyInstanceUID", "study"), ("FrameOfReferenceUID", "frame of reference")):
        if not dicom.get(keyword):
            setattr(dataset, keyword, generate_uid(entropy_srcs=[keyword, *dicom.values()]))
            _log.warning("%s: the images name no %s: the dose gets one of its own (%s)", path.name, what, keyword)
    dataset.SeriesNumber = None
    dataset.InstanceNumber = 1
    dataset.OperatorsName = ""
    dataset.SeriesDescription = "Absorbed dose (research use only)"
    dataset.Manufacturer = dataset.ManufacturerModelName = "nufitdose"
    dataset.SoftwareVersions = __version__


def _place(dataset: Dataset, grid: Grid) -> None:
    """Geometry in LPS; columns run along i, rows along j, frames along k."""
    directions = RAS_LPS[:3, :3] @ grid.directions
    between_columns, between_rows, between_frames = grid.spacing_mm
    dataset.ImagePositionPatient = _decimals(RAS_LPS[:3, :3] @ grid.affine[:3, 3])
    dataset.ImageOrientationPatient = _decimals(directions[:, :2].T.ravel())
    dataset.PixelSpacing = _decimals(np.array([between_rows, between_columns]))
    dataset.SliceThickness = _decimals(np.array([between_frames]))[0]
    dataset.Columns, dataset.Rows, dataset.NumberOfFrames = grid.shape
    dataset.FrameIncrementPointer = Tag("GridFrameOffsetVector")
    dataset.GridFrameOffsetVector = _decimals(between_frames * np.arange(grid.shape[2]))


def _store(dataset: Dataset, dose: Volume) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 32
    dataset.HighBit = 31
    dataset.PixelRepresentation = 0
    dataset.DoseUnits = "GY"
    dataset.DoseType = "PHYSICAL"
    dataset.DoseSummationType = "PLAN_OVERVIEW"
    overview = Dataset()
    overview.PlanOverviewIndex = 1
    overview.RTPlanLabel = ""
    overview.NumberOfFractionsIncluded = 1
    overview.TreatmentSite = ""
    overview.TreatmentSiteCodeSequence = Sequence()
    overview.PrescriptionOverviewSequence = Sequence()
    dataset.PlanOverviewSequence = Sequence([overview])
    scaling = format_number_as_ds(float(dose.data.max()) / _LARGEST or 1.0)
    dataset.DoseGridScaling = scaling
    stored = np.empty(dose.grid.shape[::-1], dtype="<u4")
    for k in range(dose.grid.shape[2]):
        stored[k] = np.rint(dose.data[:, :, k].T / np.float64(scaling))
    dataset.PixelData = stored.tobytes()
    dataset["PixelData"].VR = "OW"


def _identify(dataset: Dataset) -> None:
    """UIDs from the content, so that one result written twice is one object and another result another."""
    content = hashlib.sha256(dataset.PixelData)
    content.update(dataset.to_json(bulk_data_threshold=0, bulk_data_element_handler=lambda _: "").encode())
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=["series", content.hexdigest()])
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=["instance", content.hexdigest()])


def _save(dataset: Dataset, path: Path) -> None:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    with whole_file(path) as aside, quiet(), config.disable_value_validation():
        dataset.save_as(aside, enforce_file_format=True)


def _decimals(values: np.ndarray) -> list[str]:
    """Decimal strings of at most 16 characters."""
    return [format_number_as_ds(float(value) + 0.0) for value in values]
