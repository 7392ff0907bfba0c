"""Enhanced multi-frame objects frame by frame, each as if it were a single-frame object.

What stands in functional groups, shared or of the frame, comes to the top, and so do the attributes that conversion
from single frames has put aside (legacy converted objects, PS3.3 C.7.6.16.2). Attributes that the enhanced PET object
(PS3.3 C.8.22) has in place of those of the PET object are put in their terms.
"""

from collections.abc import Iterator

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence

from nufitdose.errors import InputError
from nufitdose.io.dicom.read.headers import Header, quiet

_EXPORT_SINGLE = "Export the series as single-frame images"
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_WHOLE = {"RealWorldValueMappingSequence", "RadiopharmaceuticalInformationSequence"}
_CORRECTIONS = {
    "AttenuationCorrected": "ATTN",
    "ScatterCorrected": "SCAT",
    "RandomsCorrected": "RAN",
    "DeadTimeCorrected": "DTIM",
    "DecayCorrected": "DECY",
}


def flat_frames(header: Header) -> Iterator[Header]:
    """One header a frame, in stored order. Raises `InputError` where frames are not described one by one."""
    shared = header.items(_GROUPS[0])
    per_frame = header.items(_GROUPS[1])
    if len(per_frame) != header.count("NumberOfFrames"):
        raise InputError(
            f"NumberOfFrames (0028,0008) is {header.count('NumberOfFrames')}, PerFrameFunctionalGroupsSequence "
            f"(5200,9230) has {len(per_frame)} items",
            where=header.path,
            remedy=_EXPORT_SINGLE,
        )
    with quiet():
        common = Dataset()
        common.update({e.tag: e for e in header.elements() if e.keyword not in _GROUPS})
        for item in shared:
            _raise_groups(common, item)
        for own in per_frame:
            flat = Dataset()
            flat.update(common)
            _raise_groups(flat, own)
            _in_terms_of_pet(flat)
            flat.file_meta = getattr(header.dataset, "file_meta", FileMetaDataset())
            yield Header(header.path, flat, header.bytes_after_header, own.trail)


def _raise_groups(flat: Dataset, groups: Header) -> None:
    """Bring the attributes of functional groups to the top."""
    for element in groups.elements():
        if element.keyword in _WHOLE or not isinstance(element.value, Sequence):
            flat[element.tag] = element
        elif element.value:
            flat.update(element.value[0])


def _in_terms_of_pet(flat: Dataset) -> None:
    if "FrameAcquisitionDateTime" in flat:
        flat.AcquisitionDateTime = flat.FrameAcquisitionDateTime
        for keyword in ("AcquisitionDate", "AcquisitionTime"):
            if keyword in flat:
                del flat[keyword]
    if "FrameAcquisitionDuration" in flat and "ActualFrameDuration" not in flat:
        flat.ActualFrameDuration = str(flat.FrameAcquisitionDuration)
    if "DecayCorrected" in flat and "DecayCorrection" not in flat:
        flat.DecayCorrection = "START" if flat.DecayCorrected == "YES" else "NONE"
    if "AttenuationCorrected" in flat and "CorrectedImage" not in flat:
        flat.CorrectedImage = [code for keyword, code in _CORRECTIONS.items() if flat.get(keyword) == "YES"]
