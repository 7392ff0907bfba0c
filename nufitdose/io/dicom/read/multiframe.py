"""Slices of multi-frame objects: reconstructed SPECT (NM) and enhanced CT."""

import numpy as np

from nufitdose.errors import InputError
from nufitdose.io.dicom.read.flat import flat_frames
from nufitdose.io.dicom.read.geometry import Plane
from nufitdose.io.dicom.read.given import NOTHING, Given
from nufitdose.io.dicom.read.headers import Header
from nufitdose.io.dicom.read.images import StoredSlice, rescale

_UNGATED = (
    "Reconstruct or export it without gating (the sum of all gates); a dynamic or gated series is no quantitative scan"
)
_EXPORT_SINGLE = "Export the series as single-frame images"


def nm_frames(header: Header, given: Given = NOTHING) -> list[StoredSlice]:
    """The slices of a reconstructed NM object (ImageType RECON TOMO).

    The first slice lies at ImagePositionPatient of DetectorInformationSequence (0054,0022); slice n lies
    `n · SpacingBetweenSlices` along row x column direction, the spacing being negative where slices are
    stacked in front of the first one (PS3.3 C.8.4.15). Stored values are counts; a rescale that the
    object carries beyond its definition is applied. A slice step the user gives goes before that of the file.
    """
    if "RECON GATED TOMO" in header.image_type() and not given.reconstruction:
        raise header.wrong("ImageType", "a gated reconstruction holds many volumes, one is wanted", _UNGATED)
    detector = _detector(header)
    position, orientation = detector.vector("ImagePositionPatient", 3), detector.vector("ImageOrientationPatient", 6)
    step_mm = given.slice_step_mm
    if step_mm is None:
        step_mm = header.required_number("SpacingBetweenSlices", _step_remedy(header))
    if step_mm == 0.0:
        raise header.wrong("SpacingBetweenSlices", "a spacing other than zero is wanted", _step_remedy(header))
    count = header.count("NumberOfFrames")
    if (slices := header.number("NumberOfSlices")) is not None and slices != count:
        raise header.wrong("NumberOfSlices", f"but there are {count} frames: one volume is wanted", _EXPORT_SINGLE)
    numbers = header.numbers("SliceVector") or tuple(range(1, count + 1))
    if sorted(numbers) != list(range(1, count + 1)):
        raise header.wrong("SliceVector", f"each slice from 1 to {count} once is wanted")
    normal = np.cross(orientation[:3], orientation[3:])
    slope, intercept = rescale(header, given) if header.has("RescaleSlope") else (1.0, 0.0)
    frames = []
    for number, place in enumerate(numbers):
        at = np.array(position) + (place - 1) * step_mm * normal
        plane = Plane(
            position_mm=tuple(float(x) for x in at),
            orientation=orientation,
            pixel_spacing_mm=header.vector("PixelSpacing", 2),
            matrix=(header.count("Rows"), header.count("Columns")),
            thickness_mm=abs(step_mm),
            path=header.path,
            frame=number,
        )
        frames.append(StoredSlice(header, number, plane, slope, intercept))
    return frames


def enhanced_frames(header: Header) -> list[StoredSlice]:
    """The slices of an enhanced (or legacy converted enhanced) CT or PET object, from its functional groups.

    Of several acquisitions, gates or time frames in one object the slices repeat, which is refused later.
    """
    frames = []
    for number, flat in enumerate(flat_frames(header)):
        plane = Plane(
            position_mm=flat.vector("ImagePositionPatient", 3),
            orientation=flat.vector("ImageOrientationPatient", 6),
            pixel_spacing_mm=flat.vector("PixelSpacing", 2),
            matrix=(header.count("Rows"), header.count("Columns")),
            thickness_mm=flat.number("SliceThickness"),
            path=header.path,
            frame=number,
        )
        frames.append(StoredSlice(flat, number, plane, *rescale(flat)))
    return frames


def _step_remedy(header: Header) -> str:
    thickness = header.number("SliceThickness")
    seen = f" (SliceThickness is {thickness:g} mm)" if thickness else ""
    return (
        f"The file does not say how far and in which direction its slices follow each other{seen}: give the step in mm "
        "with --slice-step, negative where slices run against row x column direction"
    )


def _detector(header: Header) -> Header:
    """Where position and orientation stand: the detector items, which must agree, else the object itself."""
    items = [item for item in header.items("DetectorInformationSequence") if item.has("ImagePositionPatient")]
    places = {(i.numbers("ImagePositionPatient"), i.numbers("ImageOrientationPatient")) for i in items}
    if len(places) > 1:
        raise InputError(
            "the items of DetectorInformationSequence (0054,0022) place the volume differently",
            where=header.path,
            remedy="Export the reconstruction again",
        )
    return items[0] if items else header
