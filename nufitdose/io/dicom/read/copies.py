"""One object found twice: byte for byte, or stored again in another encoding, counts once.

A lossless change of the transfer syntax keeps the SOP Instance UID (PS3.5), so archives and discs hold the same
object in two encodings. Two objects of one UID whose attributes or pixels differ are both kept, and refused later.
"""

from dataclasses import replace

import numpy as np
from pydicom import dcmread
from pydicom.pixels.utils import pixel_array
from pydicom.tag import BaseTag

from nufitdose.io.dicom.read.find import Found
from nufitdose.io.dicom.read.headers import Header, quiet

_ENCODING = {0x00280002, 0x00280004, 0x00280006, 0x00282110, 0x00282112, 0x00282114}  # may change with the encoding


def without_copies(found: Found) -> Found:
    """The same finding with objects that differ in their encoding alone counted once."""
    first: dict[str, Header] = {}
    kept, copies = [], list(found.copies)
    for header in found.headers:
        twin = first.setdefault(header.text("SOPInstanceUID"), header)
        if twin is not header and twin.transfer_syntax != header.transfer_syntax and _same_object(twin, header):
            copies.append(header.path)
        else:
            kept.append(header)
    return replace(found, headers=tuple(kept), copies=tuple(copies))


def _same_object(one: Header, other: Header) -> bool:
    if _attributes(one) != _attributes(other):
        return False
    try:
        with quiet():
            mine, theirs = (pixel_array(dcmread(h.path, force=True), raw=True) for h in (one, other))
            return bool(np.array_equal(mine, theirs))
    except Exception:  # pixels that cannot be read are no proof
        return False


def _attributes(header: Header) -> dict[BaseTag, str]:
    with quiet():
        return {
            element.tag: str(element.value)
            for element in header.elements()
            if not element.tag.is_private and element.tag not in _ENCODING and element.tag.element != 0
        }
