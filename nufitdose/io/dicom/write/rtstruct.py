"""Structures as RTSTRUCT objects (PS3.3 A.19, C.8.8.5, C.8.8.6).

Own code: rt-utils, the library for it, takes its contours from OpenCV, which draws them through the centres of the
outer pixels (they enclose less than the voxels), and wants a CT series of files.
"""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, RTStructureSetStorage

from nufitdose.io.dicom.write.objects import RESEARCH, decimals, describe, name_by_content, reference, save_object
from nufitdose.io.dicom.write.orientation import towards_lps
from nufitdose.io.dicom.write.outlines import outlines
from nufitdose.io.dicom.write.placement import Placement
from nufitdose.io.lps import RAS_LPS
from nufitdose.study import Structures

_log = logging.getLogger(__name__)
_STUDY_COMPONENT = UID("1.2.840.10008.3.1.2.3.1")
#: Colours that colour-blind people tell apart (Okabe and Ito 2008).
_COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))


def roi_numbers(structures: Structures) -> dict[str, int]:
    """The numbers of the structures with voxels, in RTSTRUCT and SEG alike."""
    return {name: number for number, name in enumerate(structures.present(), start=1)}


def write_rtstruct(structures: Structures, placement: Placement, path: str | Path) -> Dataset:
    """Write the structures with voxels as closed planar contours slice by slice; returns the object.

    Structures without voxels are left out, with a warning. Slices run along the axis nearest to S.
    """
    dataset = Dataset()
    describe(dataset, placement.dicom, RTStructureSetStorage, "RTSTRUCT", "Structures", Path(path))
    dataset.StructureSetLabel, dataset.StructureSetDescription = "structures", RESEARCH[:22]
    dataset.StructureSetDate, dataset.StructureSetTime = dataset.StudyDate, dataset.StudyTime
    dataset.ApprovalStatus = "UNAPPROVED"
    dataset.ReferencedFrameOfReferenceSequence = Sequence([_frame(placement)])
    numbers = roi_numbers(structures)
    for name in set(structures.names.values()) - set(numbers):
        _log.warning("the structure %r has no voxels: it is not in the DICOM objects", name)
    dataset.StructureSetROISequence = Sequence([_roi(name, n, placement.dicom) for name, n in numbers.items()])
    dataset.ROIContourSequence = Sequence([_contours(structures, name, n, placement) for name, n in numbers.items()])
    dataset.RTROIObservationsSequence = Sequence([_observation(structures, name, n) for name, n in numbers.items()])
    name_by_content(dataset)
    save_object(dataset, Path(path))
    return dataset


def _frame(placement: Placement) -> Dataset:
    frame = Dataset()
    frame.FrameOfReferenceUID = placement.dicom["FrameOfReferenceUID"]
    source = placement.source
    if source is not None:
        study, series = reference(_STUDY_COMPONENT, source.study_uid), Dataset()
        series.SeriesInstanceUID = source.series_uid
        series.ContourImageSequence = Sequence(
            [reference(source.sop_class_uid, uid) for uid in source.sop_instance_uids]
        )
        study.RTReferencedSeriesSequence = Sequence([series])
        frame.RTReferencedStudySequence = Sequence([study])
    return frame


def _roi(name: str, number: int, dicom: Mapping[str, str]) -> Dataset:
    roi = Dataset()
    roi.ROINumber, roi.ROIName, roi.ROIGenerationAlgorithm = number, name[:64], ""
    roi.ReferencedFrameOfReferenceUID = dicom["FrameOfReferenceUID"]
    return roi


def _observation(structures: Structures, name: str, number: int) -> Dataset:
    seen = Dataset()
    seen.ObservationNumber = seen.ReferencedROINumber = number
    seen.RTROIInterpretedType = "GTV" if structures.role(name) == "tumour" else "ORGAN"
    seen.ROIInterpreter = ""
    return seen


def _contours(structures: Structures, name: str, number: int, placement: Placement) -> Dataset:
    item = Dataset()
    item.ReferencedROINumber = number
    item.ROIDisplayColor = list(_COLOURS[(number - 1) % len(_COLOURS)])
    item.ContourSequence = Sequence(list(_closed(structures, name, placement)))
    return item


def _closed(structures: Structures, name: str, placement: Placement) -> Iterator[Dataset]:
    mask, layer = structures.mask(name)
    turned = towards_lps(layer.with_data(mask.astype(np.uint8)))
    images = placement.images_of_slices(turned.grid)
    inside = turned.data > 0
    for k in np.flatnonzero(inside.any(axis=(0, 1))):
        for ring in outlines(inside[:, :, k]):
            points = np.column_stack([ring, np.full(len(ring), float(k))])
            contour = Dataset()
            if images and placement.source is not None:
                contour.ContourImageSequence = Sequence([reference(placement.source.sop_class_uid, images[k])])
            contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", len(points)
            contour.ContourData = decimals(np.round(turned.grid.world(points) @ RAS_LPS[:3, :3], 4).ravel())
            yield contour
