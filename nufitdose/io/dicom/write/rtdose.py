"""Dose maps as RTDOSE objects (PS3.3 A.18, C.8.8.3)."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import RTDoseStorage
from pydicom.valuerep import format_number_as_ds

from nufitdose.grid import Grid
from nufitdose.io.dicom.write.objects import RESEARCH, decimals, describe, name_by_content, reference, save_object
from nufitdose.io.lps import RAS_LPS
from nufitdose.types import F64
from nufitdose.volume import Quantity, Volume

_log = logging.getLogger(__name__)
_LARGEST = 2**16 - 1
_SAME_PLACE_MM = 0.01


@dataclass(frozen=True, eq=False)
class Histogram:
    """The cumulative DVH of the region `roi_number` of a structure set.

    At least `volume_ml[n]` receives `n` times `bin_gy`.
    """

    roi_number: int
    bin_gy: float
    volume_ml: F64
    minimum_gy: float
    mean_gy: float
    maximum_gy: float


def write_rtdose(
    dose: Volume,
    dicom: Mapping[str, str],
    path: str | Path,
    *,
    comment: str = "",
    histograms: tuple[Histogram, ...] = (),
    structure_set: Dataset | None = None,
) -> None:
    """Write absorbed dose in Gy as a multi-frame RTDOSE, whole or not at all.

    `dicom` holds the attributes (keyword -> value) of the patient and the study the object belongs to.
    Without a study or a frame of reference it gets new ones, with a warning. Stored values are 16-bit
    integers of DoseGridScaling = max / 65535: half a step is 7.6e-6 of the maximum, and there are programs that stop
    at 32 bits. The frames lie along the normal, as the standard wants them, so a grid whose axes are not
    perpendicular is resampled. Equal content gives equal bytes.

    `histograms` are those of the regions of `structure_set`, an RTSTRUCT object.

    Dose Summation Type is PLAN_OVERVIEW: all others need an RT Plan or a treatment record to refer to
    (Referenced RT Plan Sequence, type 1C), and radionuclide therapy has neither.
    """
    if dose.quantity is not Quantity.DOSE:
        raise ValueError(f"RTDOSE holds dose, a volume of {dose.quantity} was given")
    if not np.isfinite(dose.data).all() or dose.data.min() < 0.0:
        raise ValueError("RTDOSE holds finite doses of zero and more")
    dose = _along_the_normal(dose)
    dataset = Dataset()
    describe(dataset, dicom, RTDoseStorage, "RTDOSE", "Absorbed dose", Path(path))
    _place(dataset, dose.grid)
    _store(dataset, dose)
    dataset.DoseComment = "For research use only"
    dataset.ImageComments = f"{RESEARCH} {comment}".strip()
    if structure_set is not None:
        refer_to = reference(structure_set.SOPClassUID, structure_set.SOPInstanceUID)
        dataset.ReferencedStructureSetSequence = Sequence([refer_to])
        if histograms:
            dataset.DVHSequence = Sequence([_histogram(found) for found in histograms])
    name_by_content(dataset, dataset.PixelData)
    save_object(dataset, Path(path))


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


def _place(dataset: Dataset, grid: Grid) -> None:
    """Geometry in LPS; columns run along i, rows along j, frames along k."""
    directions = RAS_LPS[:3, :3] @ grid.directions
    between_columns, between_rows, between_frames = grid.spacing_mm
    dataset.ImagePositionPatient = decimals(RAS_LPS[:3, :3] @ grid.affine[:3, 3])
    dataset.ImageOrientationPatient = decimals(directions[:, :2].T.ravel())
    dataset.PixelSpacing = decimals(np.array([between_rows, between_columns]))
    dataset.SliceThickness = decimals(np.array([between_frames]))[0]
    dataset.Columns, dataset.Rows, dataset.NumberOfFrames = grid.shape
    dataset.FrameIncrementPointer = Tag("GridFrameOffsetVector")
    dataset.GridFrameOffsetVector = decimals(between_frames * np.arange(grid.shape[2]))


def _store(dataset: Dataset, dose: Volume) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
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
    stored = np.empty(dose.grid.shape[::-1], dtype="<u2")
    for k in range(dose.grid.shape[2]):
        # the scaling is rounded to 16 characters
        stored[k] = np.minimum(np.rint(dose.data[:, :, k].T / np.float64(scaling)), _LARGEST)
    dataset.PixelData = stored.tobytes()
    dataset["PixelData"].VR = "OW"


def _histogram(found: Histogram) -> Dataset:
    item, roi = Dataset(), Dataset()
    roi.ReferencedROINumber, roi.DVHROIContributionType = found.roi_number, "INCLUDED"
    item.DVHReferencedROISequence = Sequence([roi])
    item.DVHType, item.DoseUnits, item.DoseType = "CUMULATIVE", "GY", "PHYSICAL"
    item.DVHDoseScaling, item.DVHVolumeUnits = "1", "CM3"
    item.DVHNumberOfBins = len(found.volume_ml)
    pairs = np.column_stack([np.full(len(found.volume_ml), found.bin_gy), found.volume_ml])
    item.DVHData = decimals(pairs.ravel())
    item.DVHMinimumDose, item.DVHMeanDose, item.DVHMaximumDose = decimals(
        np.array([found.minimum_gy, found.mean_gy, found.maximum_gy])
    )
    return item
