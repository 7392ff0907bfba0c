"""Structures as SEG objects, by highdicom (PS3.3 A.51)."""

import hashlib
import logging
import re
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from nufitdose.errors import InputError
from nufitdose.image_sources import made_uid
from nufitdose.io.dicom.read.headers import quiet
from nufitdose.io.dicom.write.objects import EQUIPMENT, save_object
from nufitdose.io.dicom.write.orientation import towards_lps
from nufitdose.io.dicom.write.placement import Placement
from nufitdose.io.dicom.write.rtstruct import roi_numbers
from nufitdose.io.dicom.write.stand_ins import keep_real_references, slice_headers
from nufitdose.study import Structures
from nufitdose.volume import Volume

_log = logging.getLogger(__name__)
_ORGAN, _LESION = ("91723000", "SCT", "Anatomical structure"), ("49755003", "SCT", "Morphologically abnormal structure")
#: Codes of CID 7166 and 7159 for names that say them; what is not known is coded as its category.
_KINDS = (
    (r"kidney|nier", ("64033007", "SCT", "Kidney")),
    (r"liver|leber", ("10200004", "SCT", "Liver")),
    (r"spleen|milz", ("78961009", "SCT", "Spleen")),
    (r"parotid", ("45289007", "SCT", "Parotid gland")),
    (r"thyroid", ("69748006", "SCT", "Thyroid gland")),
    (r"lung", ("39607008", "SCT", "Lung")),
    (r"bladder", ("89837001", "SCT", "Urinary bladder")),
    (r"heart", ("80891009", "SCT", "Heart")),
    (r"marrow", ("14016003", "SCT", "Bone marrow")),
)
_NEOPLASM = ("108369006", "SCT", "Neoplasm")


def write_segmentation(structures: Structures, placement: Placement, path: str | Path) -> Dataset:
    """Write the structures with voxels as binary segments; returns the object.

    Segments carry the numbers of `roi_numbers`, frames without a voxel are left out. Frames are the
    slices of the grid of the first structures; those drawn on other voxels are resampled. Raises `InputError` where
    there is no voxel.
    """
    import highdicom
    from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentDescription

    numbers = roi_numbers(structures)
    if not numbers:
        raise InputError("no structure has a voxel: there is nothing to write as SEG")
    pixels, turned = _pixels(structures, numbers)
    described = []
    for name, number in numbers.items():
        category, kind = _coded(name, structures.role(name) == "tumour")
        described.append(
            SegmentDescription(
                segment_number=number,
                segment_label=name[:64],
                segmented_property_category=highdicom.sr.CodedConcept(*category),
                segmented_property_type=highdicom.sr.CodedConcept(*kind),
                algorithm_type=SegmentAlgorithmTypeValues.MANUAL,
                tracking_uid=made_uid("structure", placement.dicom["StudyInstanceUID"], name),
                tracking_id=name[:64],
            )
        )
    digest = hashlib.sha256(pixels.tobytes() + repr((list(numbers), turned.grid.affine.tolist())).encode()).hexdigest()
    words = (placement.dicom["FrameOfReferenceUID"], placement.dicom["PatientID"], digest)
    with quiet():
        found = Segmentation(
            source_images=slice_headers(turned.grid, placement),
            pixel_array=pixels,
            segmentation_type="BINARY",
            segment_descriptions=described,
            series_instance_uid=made_uid("seg series", *words),
            series_number=1,
            sop_instance_uid=made_uid("seg", *words),
            instance_number=1,
            **EQUIPMENT,
            content_label="STRUCTURES",
            series_description="Structures (research use only)",
        )
    keep_real_references(found, turned.grid, placement)
    save_object(found, Path(path))
    return found


def _pixels(structures: Structures, numbers: dict[str, int]) -> tuple[np.ndarray, Volume]:
    """Segment numbers `[slice, row, column]`, or planes `[slice, row, column, segment]` where structures overlap."""
    grid = structures.layers[0].grid
    if not all(layer.grid.matches(grid) for layer in structures.layers):
        _log.warning(
            "structures drawn on other voxels than the first are resampled for SEG; RTSTRUCT keeps each as it is"
        )
    turned = [towards_lps(layer.resampled_to(grid)) for layer in structures.layers]
    columns, rows, slices = turned[0].grid.shape
    label_of = {name: label for label, name in structures.names.items()}
    if len(turned) == 1:
        table = np.zeros(int(turned[0].data.max()) + 1, np.uint16 if len(numbers) > 255 else np.uint8)
        for name, number in numbers.items():
            table[label_of[name]] = number
        labels = np.where(turned[0].data >= 0, turned[0].data, 0)
        return np.ascontiguousarray(table[labels].T), turned[0]
    planes = np.zeros((slices, rows, columns, len(numbers)), np.uint8)
    for name, number in numbers.items():
        for layer in turned:
            planes[..., number - 1] |= (layer.data == label_of[name]).T.astype(np.uint8)
    return planes, turned[0]


def _coded(name: str, tumour: bool) -> tuple[tuple[str, str, str], tuple[str, str, str]]:
    """Category and type of a structure."""
    if tumour:
        return _LESION, _NEOPLASM
    return _ORGAN, next((kind for word, kind in _KINDS if re.search(word, name, re.IGNORECASE)), _ORGAN)
