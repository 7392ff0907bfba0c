"""A quantitative SPECT volume as one multi-frame NM object (PS3.3 A.5, C.8.4): `RECON TOMO`, values in Bq/mL.

The NM object knows counts alone; Bq/mL are told by a Real World Value Mapping (PS3.3 C.7.6.16.2.11), as quantitative
SPECT systems do.
"""

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.valuerep import format_number_as_ds

from nufitdose.io.lps import RAS_LPS
from nufitdose.volume import Volume

_SLICE_VECTOR = 0x00540080
_VIEWS, _VIEW_MS = 60, 17  # a second in all: the values are those of a moment


def fill_nm(d: Dataset, volume: Volume, drug: Dataset) -> None:
    """Make `d`, which names patient, study, series and acquisition, the NM object of `volume` (Bq/mL), slices along k.

    16 bit with one slope for all slices, not decay-corrected; `drug` is the item of Radiopharmaceutical Information.
    """
    slices = volume.grid.shape[2]
    d.ImageType = ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]
    d.InstanceNumber, d.AcquisitionNumber = 1, 1
    d.CorrectedImage, d.LossyImageCompression = ["ATTN", "SCAT"], "00"
    d.NumberOfFrames = d.NumberOfSlices = slices
    d.FrameIncrementPointer, d.SliceVector = _SLICE_VECTOR, list(range(1, slices + 1))
    d.NumberOfEnergyWindows = d.NumberOfDetectors = d.NumberOfRotations = 1
    d.CountsAccumulated = d.ReconstructionDiameter = d.ConvolutionKernel = None
    d.EnergyWindowInformationSequence, d.TypeOfDetectorMotion = Sequence([]), "STEP AND SHOOT"
    d.PatientOrientationCodeSequence = Sequence([_code("102538003", "SCT", "recumbent")])
    d.PatientOrientationCodeSequence[0].PatientOrientationModifierCodeSequence = Sequence(
        [_code("40199007", "SCT", "supine")]
    )
    d.PatientGantryRelationshipCodeSequence = Sequence([_code("102540008", "SCT", "headfirst")])
    d.RadiopharmaceuticalInformationSequence = Sequence([drug])
    d.RotationInformationSequence = Sequence([_rotation()])
    _place(d, volume)
    _values(d, volume)


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def _rotation() -> Dataset:
    rotation = Dataset()
    rotation.StartAngle, rotation.AngularStep, rotation.ScanArc = "0", format_number_as_ds(360.0 / _VIEWS), "360"
    rotation.RotationDirection, rotation.RadialPosition = "CW", None
    rotation.ActualFrameDuration, rotation.NumberOfFramesInRotation = _VIEW_MS, _VIEWS
    return rotation


def _place(d: Dataset, volume: Volume) -> None:
    """Slice n lies `n · SpacingBetweenSlices` along row x column direction from the first."""
    grid = volume.grid
    directions = RAS_LPS[:3, :3] @ grid.directions
    between_columns, between_rows, between_slices = grid.spacing_mm
    normal = np.cross(directions[:, 0], directions[:, 1])
    # negative where slices are stacked in front of the first one
    step_mm = between_slices if normal @ directions[:, 2] > 0 else -between_slices
    detector = Dataset()
    detector.CollimatorType = "PARA"
    detector.ImagePositionPatient = [format_number_as_ds(float(v) + 0.0) for v in RAS_LPS[:3, :3] @ grid.affine[:3, 3]]
    detector.ImageOrientationPatient = [format_number_as_ds(float(v) + 0.0) for v in directions[:, :2].T.ravel()]
    d.DetectorInformationSequence = Sequence([detector])
    d.PixelSpacing = [format_number_as_ds(v) for v in (between_rows, between_columns)]
    d.SpacingBetweenSlices, d.SliceThickness = format_number_as_ds(step_mm), format_number_as_ds(between_slices)


def _values(d: Dataset, volume: Volume) -> None:
    slope = max(float(volume.data.max()), 1e-3) / 65535.0
    stored = np.clip(np.rint(volume.data.T / np.float32(slope)), 0, 65535).astype("<u2")  # frame, row, column
    d.SamplesPerPixel, d.PhotometricInterpretation, d.PixelRepresentation = 1, "MONOCHROME2", 0
    d.BitsAllocated = d.BitsStored = 16
    d.HighBit = 15
    _, d.Rows, d.Columns = stored.shape
    d.PixelData = np.ascontiguousarray(stored).tobytes()
    d["PixelData"].VR = "OW"
    mapping = Dataset()
    mapping.LUTExplanation, mapping.LUTLabel = "activity concentration", "BQML"
    mapping.add_new("RealWorldValueFirstValueMapped", "US", 0)
    mapping.add_new("RealWorldValueLastValueMapped", "US", 65535)
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = slope, 0.0
    mapping.MeasurementUnitsCodeSequence = Sequence([_code("Bq/ml", "UCUM", "Becquerels/milliliter")])
    d.RealWorldValueMappingSequence = Sequence([mapping])
