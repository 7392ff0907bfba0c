"""Structures drawn on an image, from RTSTRUCT and SEG files, as label maps on the grid of that image."""

from collections.abc import Sequence
from pathlib import Path

from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.uid import UID, RTStructureSetStorage, SegmentationStorage

from nufitdose.errors import InputError
from nufitdose.io.dicom.read.headers import Header, read_header
from nufitdose.io.dicom.read.images import ImageSeries
from nufitdose.io.dicom.read.references import StructureReferences, usable_frames
from nufitdose.io.dicom.read.rtstruct import rtstruct_references, rtstruct_regions
from nufitdose.io.dicom.read.segmentation import segmentation_references, segmentation_regions
from nufitdose.io.drawn_structures import DrawnStructure, layered
from nufitdose.study import Structures

_LABEL_MAP_SEGMENTATION = UID("1.2.840.10008.5.1.4.1.1.66.7")  # newer than pydicom's list of names
_UNDEFINED = 0xFFFFFFFF  # the length of a sequence that ends with a delimiter

#: The objects that hold structures: RTSTRUCT and SEG (bit planes, fractions, label maps).
STRUCTURE_CLASSES = frozenset({RTStructureSetStorage, SegmentationStorage, _LABEL_MAP_SEGMENTATION})


def references(path: Path) -> StructureReferences:
    """What an RTSTRUCT or SEG file refers to; `InputError` where it is neither or cannot be read."""
    header = _open(path)
    return _references(header)


def read_structure_objects(paths: Sequence[Path], series: ImageSeries) -> Structures | None:
    """All structures of these RTSTRUCT and SEG files on the grid of `series`; None where there are none.

    Positions count where the file refers to images of the series, or shares its frame of reference.
    Structures named as tumours get that role (`nufitdose.io.drawn_structures.looks_like_tumour`). Raises
    `InputError` on a file that belongs to other images or is damaged.
    """
    regions: list[DrawnStructure] = []
    for path in paths:
        header = _open(path)
        found = _references(header)
        frames = usable_frames(found, series)
        if header.sop_class == RTStructureSetStorage:
            regions += rtstruct_regions(header, frames, series.grid)
        else:
            regions += segmentation_regions(header, series.grid, shares_frame=found.shares_frame(series))
    return layered(regions, series.grid) if regions else None


def _open(path: Path) -> Header:
    header = read_header(path)
    if header is None or header.sop_class not in STRUCTURE_CLASSES:
        what = "no DICOM file" if header is None else f"an object of class {header.sop_class.name}"
        raise InputError(
            f"this is {what}, an RTSTRUCT or SEG is wanted", where=path, remedy="Take the file out of the list"
        )
    _check_whole(header)
    return header


def _check_whole(header: Header) -> None:
    """Refuse a file cut short: the sequences would lose their last items without a word."""
    for tag in header.dataset.keys():  # noqa: SIM118  (a dataset iterates over its values)
        raw = header.raw_element(tag)
        if isinstance(raw, RawDataElement) and raw.value is not None and len(raw.value) < raw.length < _UNDEFINED:
            raise InputError(
                f"the file is truncated: {keyword_for_tag(tag) or 'element'} {tag} holds {len(raw.value)} of "
                f"{raw.length} bytes",
                where=header.path,
                remedy="Copy or export the file again",
            )


def _references(header: Header) -> StructureReferences:
    return rtstruct_references(header) if header.sop_class == RTStructureSetStorage else segmentation_references(header)
