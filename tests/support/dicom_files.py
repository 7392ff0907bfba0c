"""Small synthetic DICOM series for tests: made in memory, changed as a test wants, then written."""

import warnings
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    NuclearMedicineImageStorage,
    PositronEmissionTomographyImageStorage,
    RTStructureSetStorage,
    generate_uid,
)

from nufitdose.io.importer import ImportOptions, plan_import

STUDY = generate_uid(entropy_srcs=["study"])
FRAME = generate_uid(entropy_srcs=["frame of reference"])
ADMINISTERED = datetime(2024, 1, 1, 9, 0, 0)
ACQUIRED = datetime(2024, 1, 1, 13, 0, 0)
HALF_LIFE_S = 574300.0
ACTIVITY_MBQ = 7400.0
SHAPE = (6, 5, 4)  # slices, rows, columns
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def uid(*names: object) -> str:
    """A UID that is the same for the same names."""
    return str(generate_uid(entropy_srcs=[str(name) for name in names]))


def stored_values(seed: int = 1, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Stored values [slice, row, column], 16 bit, all different enough to betray a swapped axis."""
    return np.random.default_rng(seed).integers(100, 30000, shape).astype(np.uint16)


def positions(
    count: int, start: Sequence[float] = (-30.0, -20.0, 100.0), step: float = 4.0, orientation: Sequence[float] = AXIAL
) -> list[list[float]]:
    """Positions of slices along the normal, LPS mm."""
    normal = np.cross(orientation[:3], orientation[3:])
    return [(np.array(start) + k * step * normal).round(6).tolist() for k in range(count)]


def pet(
    name: str = "scan",
    *,
    values: np.ndarray | None = None,
    acquired: datetime = ACQUIRED,
    slope: Callable[[int], float] = lambda k: 10.0,
    correction: str = "ADMIN",
    duration_s: float = 1200.0,
    **geometry: object,
) -> list[Dataset]:
    """A PT series in Bq/mL of Lu-177, one object a slice."""
    made = []
    for k, dataset in enumerate(_slices(name, "PT", PositronEmissionTomographyImageStorage, values, geometry)):
        _stamp(dataset, acquired)
        dataset.RescaleSlope, dataset.RescaleIntercept = slope(k), 0
        dataset.Units, dataset.DecayCorrection = "BQML", correction
        dataset.CorrectedImage = ["ATTN", "SCAT"] if correction == "NONE" else ["ATTN", "SCAT", "DECY"]
        dataset.SeriesType = ["STATIC", "IMAGE"]
        dataset.NumberOfSlices = SHAPE[0] if values is None else len(values)
        dataset.ActualFrameDuration = int(duration_s * 1000)
        dataset.RadiopharmaceuticalInformationSequence = [radiopharmaceutical(ACTIVITY_MBQ * 1e6)]
        made.append(dataset)
    return made


def ct(
    name: str = "ct", *, values: np.ndarray | None = None, acquired: datetime = ACQUIRED, **geometry: object
) -> list[Dataset]:
    """A CT series in HU, one object a slice."""
    values = stored_values(2) % 2048 if values is None else values
    made = []
    for dataset in _slices(name, "CT", CTImageStorage, values, geometry):
        _stamp(dataset, acquired - timedelta(minutes=5))
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
        made.append(dataset)
    return made


def nm(
    name: str = "nm",
    *,
    values: np.ndarray | None = None,
    acquired: datetime = ACQUIRED,
    step: float = 4.0,
    start: Sequence[float] = (-30.0, -20.0, 100.0),
    orientation: Sequence[float] = AXIAL,
) -> Dataset:
    """A reconstructed multi-frame NM object in counts: 60 views of 20 s."""
    values = stored_values(3) if values is None else values
    dataset = _object(name, "NM", NuclearMedicineImageStorage, 0)
    _pixels(dataset, values)
    _stamp(dataset, acquired)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]
    dataset.NumberOfFrames = dataset.NumberOfSlices = len(values)
    dataset.FrameIncrementPointer = 0x00540080
    dataset.SliceVector = list(range(1, len(values) + 1))
    dataset.PixelSpacing, dataset.SpacingBetweenSlices, dataset.SliceThickness = [3.0, 2.0], step, abs(step)
    dataset.CorrectedImage = ["ATTN", "SCAT"]
    detector, rotation = Dataset(), Dataset()
    detector.ImagePositionPatient, detector.ImageOrientationPatient = list(start), list(orientation)
    dataset.DetectorInformationSequence = [detector]
    rotation.ActualFrameDuration, rotation.NumberOfFramesInRotation = 20000, 60
    dataset.RotationInformationSequence = [rotation]
    dataset.RadiopharmaceuticalInformationSequence = [radiopharmaceutical(ACTIVITY_MBQ)]
    return dataset


def rtstruct(images: Sequence[Dataset], name: str = "kidney_left") -> Dataset:
    """One square structure around the second voxel of the first slices of an axial series."""
    first = images[0]
    dataset = _object(f"structures of {first.SeriesDescription}", "RTSTRUCT", RTStructureSetStorage, 0)
    dataset.StructureSetLabel = "structures"
    series, study, frame, region, contours = Dataset(), Dataset(), Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = first.SeriesInstanceUID
    series.ContourImageSequence = [_reference(image) for image in images]
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = "1.2.840.10008.3.1.2.3.1", first.StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID, frame.RTReferencedStudySequence = first.FrameOfReferenceUID, [study]
    dataset.ReferencedFrameOfReferenceSequence = [frame]
    region.ROINumber, region.ROIName, region.ReferencedFrameOfReferenceUID = 1, name, first.FrameOfReferenceUID
    region.ROIGenerationAlgorithm = "MANUAL"
    dataset.StructureSetROISequence = [region]
    contours.ReferencedROINumber, contours.ContourSequence = 1, [_square(image) for image in images[:3]]
    dataset.ROIContourSequence = [contours]
    return dataset


def radiopharmaceutical(total_dose: float) -> Dataset:
    """Lu-177 given at `ADMINISTERED`."""
    drug, code = Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "447553000", "SCT", "^177^Lutetium"
    drug.RadionuclideCodeSequence = [code]
    drug.RadionuclideTotalDose, drug.RadionuclideHalfLife = total_dose, HALF_LIFE_S
    drug.RadiopharmaceuticalStartTime = ADMINISTERED.strftime("%H%M%S")
    drug.RadiopharmaceuticalStartDateTime = ADMINISTERED.strftime("%Y%m%d%H%M%S")
    return drug


def write(folder: Path, datasets: Sequence[Dataset], prefix: str = "") -> list[Path]:
    """Write objects as files of a new folder."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, dataset in enumerate(datasets):
        path = folder / f"{prefix}{dataset.Modality}_{number:03d}.dcm"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tests write what the standard forbids
            dataset.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def _slices(
    name: str, modality: str, sop_class: str, values: np.ndarray | None, geometry: dict[str, object]
) -> list[Dataset]:
    values = stored_values() if values is None else values
    orientation = geometry.pop("orientation", AXIAL)
    spacing, frame = geometry.pop("spacing", (3.0, 2.0)), geometry.pop("frame", FRAME)
    places = geometry.pop("positions", None) or positions(len(values), orientation=orientation, **geometry)  # type: ignore[arg-type]
    made = []
    for k, (plane, place) in enumerate(zip(values, places, strict=True)):
        dataset = _object(name, modality, sop_class, k)
        _pixels(dataset, plane)
        dataset.FrameOfReferenceUID = frame
        dataset.InstanceNumber = len(values) - k  # downwards, as some scanners count
        dataset.ImagePositionPatient = [f"{x:.10g}" for x in place]
        dataset.ImageOrientationPatient = [f"{x:.12g}"[:16] for x in orientation]  # type: ignore[attr-defined]
        dataset.PixelSpacing, dataset.SliceThickness = list(spacing), 5.0  # type: ignore[call-overload]
        made.append(dataset)
    return made


def _object(name: str, modality: str, sop_class: str, number: int) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid(name, modality, number)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY, uid(name, modality)
    dataset.FrameOfReferenceUID = FRAME
    dataset.Modality, dataset.SeriesDescription = modality, name
    dataset.PatientID, dataset.PatientName, dataset.PatientBirthDate = "P1", "Doe^Jane", "19600101"
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20240101", "080000", "S1"
    return dataset


def _stamp(dataset: Dataset, acquired: datetime) -> None:
    dataset.AcquisitionDate = dataset.SeriesDate = acquired.strftime("%Y%m%d")
    dataset.AcquisitionTime = dataset.SeriesTime = acquired.strftime("%H%M%S.%f")


def _pixels(dataset: Dataset, values: np.ndarray) -> None:
    dataset.Rows, dataset.Columns = values.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8 * values.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(np.issubdtype(values.dtype, np.signedinteger))
    dataset.add_new("PixelData", "OW", np.ascontiguousarray(values).tobytes())


def _reference(image: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    return item


def _square(image: Dataset) -> Dataset:
    x, y, z = (float(v) for v in image.ImagePositionPatient)
    rows, columns = (float(v) for v in image.PixelSpacing)
    corners = [(0.5, 0.5), (2.5, 0.5), (2.5, 2.5), (0.5, 2.5)]
    item = Dataset()
    item.ContourGeometricType, item.NumberOfContourPoints = "CLOSED_PLANAR", len(corners)
    item.ContourData = [v for i, j in corners for v in (x + i * columns, y + j * rows, z)]
    item.ContourImageSequence = [_reference(image)]
    return item


def every(scan: list[Dataset], **values: object) -> list[Dataset]:
    """The same objects with these elements set in each; None deletes one."""
    for dataset in scan:
        for keyword, value in values.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)
    return scan


def plan_of(folder, *scans, **options):
    """The plan of an import of these scans, each written into a folder of its own."""
    for number, scan in enumerate(scans):
        write(folder / f"{number:02d}", scan)
    return plan_import(folder, ImportOptions(**options))
