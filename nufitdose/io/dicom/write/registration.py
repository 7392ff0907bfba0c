"""Displacement fields as Deformable Spatial Registration objects (PS3.3 A.39.2, C.20.3)."""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from nufitdose.grid import Grid
from nufitdose.io.dicom.write.objects import code, decimals, describe, name_by_content, reference, save_object
from nufitdose.io.dicom.write.orientation import towards_lps
from nufitdose.io.dicom.write.placement import Placement
from nufitdose.io.lps import RAS_LPS
from nufitdose.types import Field
from nufitdose.volume import Quantity, Volume

_STORAGE = UID("1.2.840.10008.5.1.4.1.1.66.3")


def write_registration(field_mm: Field, grid: Grid, fixed: Placement, moving: Placement, path: str | Path) -> Dataset:
    """Write a pull field (mm, RAS+, `moving = x + u(x)`, [3, i, j, k] on `grid`) that brings `moving` onto `fixed`.

    The object lies in the frame of reference of the fixed images (the registered one of PS3.3 C.20.3.1.3); its grid
    holds, at each of its points, the vector to the same tissue in the moving (source) frame, mm, LPS.
    """
    dataset = Dataset()
    describe(dataset, fixed.dicom, _STORAGE, "REG", "Registration", Path(path))
    dataset.ContentDate, dataset.ContentTime = dataset.StudyDate or "19000101", dataset.StudyTime or "000000"
    dataset.ContentLabel, dataset.ContentDescription = "DEFORMABLE", f"{Path(path).stem} onto the reference"
    dataset.ContentCreatorName, dataset.Laterality, dataset.DeviceSerialNumber = "", "", "0"
    dataset.DeformableRegistrationSequence = Sequence([_registration(field_mm, grid, moving)])
    series = [item for placed in (fixed, moving) if (item := placed.referenced_series()) is not None]
    _refer(dataset, series, fixed, moving)
    lattice = dataset.DeformableRegistrationSequence[0].DeformableRegistrationGridSequence[0]
    name_by_content(dataset, lattice.VectorGridData)
    save_object(dataset, Path(path))
    return dataset


def _registration(field_mm: Field, grid: Grid, moving: Placement) -> Dataset:
    item, lattice = Dataset(), Dataset()
    item.SourceFrameOfReferenceUID = moving.dicom["FrameOfReferenceUID"]
    item.RegistrationTypeCodeSequence = Sequence([code("125024", "DCM", "Image Content-based Alignment")])
    item.PreDeformationMatrixRegistrationSequence = Sequence([_identity()])
    item.PostDeformationMatrixRegistrationSequence = Sequence([_identity()])
    if moving.source is not None:
        item.ReferencedImageSequence = Sequence(
            [reference(moving.source.sop_class_uid, uid) for uid in moving.source.sop_instance_uids]
        )
    parts = [towards_lps(Volume(part, grid, Quantity.SCALAR)) for part in field_mm]
    placed = parts[0].grid
    directions = RAS_LPS[:3, :3] @ placed.directions
    lattice.ImageOrientationPatient = decimals(directions[:, :2].T.ravel())
    lattice.ImagePositionPatient = decimals(RAS_LPS[:3, :3] @ placed.affine[:3, 3])
    lattice.GridDimensions = list(placed.shape)
    lattice.GridResolution = list(placed.spacing_mm)
    vectors = np.empty((*placed.shape[::-1], 3), "<f4")  # x fastest, then y, then z; three numbers each
    for axis, part in enumerate(parts):
        vectors[..., axis] = part.data.T * RAS_LPS[axis, axis]
    lattice.VectorGridData = (vectors + np.float32(0.0)).tobytes()
    item.DeformableRegistrationGridSequence = Sequence([lattice])
    return item


def _identity() -> Dataset:
    item = Dataset()
    item.FrameOfReferenceTransformationMatrixType = "RIGID"
    item.FrameOfReferenceTransformationMatrix = decimals(np.eye(4).ravel())
    return item


def _refer(dataset: Dataset, series: list[Dataset], fixed: Placement, moving: Placement) -> None:
    """The images of the object's own study, and those of others."""
    if not series:
        return
    own = [
        item
        for item, placed in zip(series, [p for p in (fixed, moving) if p.source is not None], strict=True)
        if placed.source is not None and placed.source.study_uid == dataset.StudyInstanceUID
    ]
    if own:
        dataset.ReferencedSeriesSequence = Sequence(own)
    if moving.source is not None and moving.source.study_uid != dataset.StudyInstanceUID:
        other = Dataset()
        other.StudyInstanceUID = moving.source.study_uid
        other.ReferencedSeriesSequence = Sequence([series[-1]])
        dataset.StudiesContainingOtherReferencedInstancesSequence = Sequence([other])
