"""Maps of quantities as Parametric Map objects, by highdicom (PS3.3 A.75): 32-bit floats in their unit."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from nufitdose.image_sources import made_uid
from nufitdose.io.dicom.read.headers import quiet
from nufitdose.io.dicom.write.objects import EQUIPMENT, save_object
from nufitdose.io.dicom.write.orientation import towards_lps
from nufitdose.io.dicom.write.placement import Placement
from nufitdose.io.dicom.write.stand_ins import keep_real_references, slice_headers
from nufitdose.volume import Volume

_UNKNOWN = -1.0  # no quantity written here is negative


@dataclass(frozen=True)
class MapQuantity:
    """What a map holds: a label of at most 16 characters, words, and the UCUM unit and its meaning."""

    label: str
    words: str
    unit: str
    unit_words: str


def write_parametric_map(volume: Volume, what: MapQuantity, placement: Placement, path: str | Path) -> Dataset:
    """Write a map of zero and more; voxels that are not known (NaN) are -1 and named as padding. Returns the object."""
    import highdicom
    from highdicom.pm import ParametricMap, RealWorldValueMapping

    turned = towards_lps(volume)
    pixels = np.ascontiguousarray(turned.data.T, np.float32)  # slice, row, column
    pixels = np.where(np.isfinite(pixels), pixels, np.float32(_UNKNOWN))
    largest = max(float(pixels.max()), 1e-6)
    digest = hashlib.sha256(pixels.tobytes() + repr((what, turned.grid.affine.tolist())).encode()).hexdigest()
    words = (placement.dicom["FrameOfReferenceUID"], placement.dicom["PatientID"], digest)
    window = highdicom.VOILUTTransformation(largest / 2.0, largest, voi_lut_function="LINEAR_EXACT")
    with quiet():
        found = ParametricMap(
            source_images=slice_headers(turned.grid, placement),
            pixel_array=pixels,
            series_instance_uid=made_uid("map series", *words),
            series_number=1,
            sop_instance_uid=made_uid("map", *words),
            instance_number=1,
            **EQUIPMENT,
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[
                RealWorldValueMapping(
                    lut_label=what.label,
                    lut_explanation=what.words,
                    unit=highdicom.sr.CodedConcept(what.unit, "UCUM", what.unit_words),
                    value_range=(0.0, largest),
                    slope=1.0,
                    intercept=0.0,
                )
            ],
            voi_lut_transformations=[window],
            content_label=what.label.upper().replace(" ", "_"),
            content_description=what.words,
            series_description=f"{what.words} (research use only)",
        )
    if (pixels == _UNKNOWN).any():
        found.FloatPixelPaddingValue = found.FloatPixelPaddingRangeLimit = _UNKNOWN
    found.Laterality = ""
    keep_real_references(found, turned.grid, placement)
    save_object(found, Path(path))
    return found
