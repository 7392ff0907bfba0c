"""Headers of single slices that highdicom takes patient, study, place and references from."""

from collections.abc import Mapping

import numpy as np
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from nufitdose.grid import Grid
from nufitdose.image_sources import made_uid
from nufitdose.io.dicom.read.headers import quiet
from nufitdose.io.dicom.write.objects import code, decimals, reference
from nufitdose.io.dicom.write.placement import Placement
from nufitdose.io.lps import RAS_LPS

_TYPE_2 = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
           "AccessionNumber", "ReferringPhysicianName")  # fmt: skip


def slice_headers(grid: Grid, placement: Placement) -> list[Dataset]:
    """The header of each slice along k of `grid`: the image in its plane, or a stand-in where there is none.

    References to stand-ins are taken out of the finished object by `keep_real_references`.
    """
    images = placement.images_of_slices(grid)
    found = [_header(grid, k, placement.dicom) for k in range(grid.shape[2])]
    for k, dataset in enumerate(found):
        if images and placement.source is not None:
            dataset.SOPClassUID, dataset.SOPInstanceUID = placement.source.sop_class_uid, images[k]
            dataset.SeriesInstanceUID = placement.source.series_uid
    return found


def keep_real_references(dataset: Dataset, grid: Grid, placement: Placement) -> None:
    """Take the references to stand-ins out of an object; images that hold all slices in one are named as a whole."""
    if placement.images_of_slices(grid):
        return
    for word in ("ReferencedSeriesSequence", "SourceImageSequence", "ReferencedImageSequence"):
        if word in dataset:
            del dataset[word]
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        if "DerivationImageSequence" in frame:
            del frame.DerivationImageSequence
    series = placement.referenced_series()
    if series is not None:
        dataset.ReferencedSeriesSequence = [series]
        dataset.SourceImageSequence = [_source(item) for item in series.ReferencedInstanceSequence]


def _source(image: Dataset) -> Dataset:
    item = reference(image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID)
    item.PurposeOfReferenceCodeSequence = [code("121322", "DCM", "Source image for image processing operation")]
    return item


def _header(grid: Grid, k: int, dicom: Mapping[str, str]) -> Dataset:
    dataset = Dataset()
    directions = RAS_LPS[:3, :3] @ grid.directions
    between_columns, between_rows, between_slices = grid.spacing_mm
    with quiet(), config.disable_value_validation():
        for word in (*_TYPE_2, "StudyInstanceUID", "FrameOfReferenceUID", "PositionReferenceIndicator"):
            setattr(dataset, word, dicom.get(word, ""))
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.Modality = "OT"
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SeriesInstanceUID = made_uid("stand-in", str(dataset.StudyInstanceUID))
    dataset.SOPInstanceUID = made_uid("stand-in", str(dataset.StudyInstanceUID), str(k))
    dataset.ImagePositionPatient = decimals(RAS_LPS[:3, :3] @ grid.world(np.array([0.0, 0.0, float(k)])))
    dataset.ImageOrientationPatient = decimals(directions[:, :2].T.ravel())
    dataset.PixelSpacing = decimals(np.array([between_rows, between_columns]))
    dataset.SliceThickness = dataset.SpacingBetweenSlices = decimals(np.array([between_slices]))[0]
    dataset.Columns, dataset.Rows = grid.shape[:2]
    dataset.InstanceNumber = k + 1
    return dataset
