"""DICOM SEG: segments as voxels (PS3.3 C.8.20), whatever frames are stored and in which order.

A frame is put where its position says; frames that are not stored are background. Voxels at or above half
of the full value belong to a segment of a FRACTIONAL object, be it a probability or an occupancy. In a
LABELMAP, the Pixel Padding Value and segments coded as background are background.
"""

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.utils import iter_pixels

from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.io.dicom.read.decoding import decode
from nufitdose.io.dicom.read.headers import Header, quiet
from nufitdose.io.dicom.read.pixels import pixel_bytes, reading_pixels
from nufitdose.io.dicom.read.references import StructureReferences, collect
from nufitdose.io.dicom.read.segment_frames import SegmentFrame, fits, own_grid, place, resampled
from nufitdose.io.drawn_structures import DrawnStructure, readable_name
from nufitdose.io.lps import RAS_LPS

_log = logging.getLogger(__name__)
_KINDS = ("BINARY", "FRACTIONAL", "LABELMAP")
_HALF = 0.5
#: SNOMED CT and RT codes of CID 7159: neoplasm, primary, secondary.
_NEOPLASMS = {"108369006", "86049000", "14799000", "M-80003", "M-80006", "M-8FFFF"}
_NEOPLASM = re.compile(r"neoplasm|tumou?r|metasta|malignan|carcinoma|sarcoma", re.IGNORECASE)
_BACKGROUND = ("125040", "DCM")
_EXPORT_AGAIN = "Export the segmentation again, on the grid of the image"


def segmentation_references(header: Header) -> StructureReferences:
    """The images a segmentation refers to: by series, as sources, and frame by frame."""
    frame = header.text("FrameOfReferenceUID")
    named: list[tuple[str, str, frozenset[str]]] = [(frame, "", frozenset())]
    for series in header.items("ReferencedSeriesSequence"):
        images = frozenset(i.text("ReferencedSOPInstanceUID") for i in series.items("ReferencedInstanceSequence"))
        named.append((frame, series.text("SeriesInstanceUID"), images - {""}))
    known = frozenset().union(*(images for _, _, images in named))
    sources = list(header.items("SourceImageSequence"))
    for group in header.items("PerFrameFunctionalGroupsSequence"):
        for derivation in group.items("DerivationImageSequence"):
            sources += derivation.items("SourceImageSequence")
    named.append((frame, "", frozenset(s.text("ReferencedSOPInstanceUID") for s in sources) - known - {""}))
    return collect(header, header.text("ContentLabel") or header.text("SeriesDescription"), named)


def segmentation_regions(header: Header, grid: Grid, *, shares_frame: bool) -> list[DrawnStructure]:
    """The segments of a SEG file on `grid`.

    Frames that lie on the voxels of the grid (axes may run the other way) are copied; otherwise the nearest
    voxel is taken, with a warning, and only where `shares_frame` says that both are in one frame of
    reference. Raises `InputError` on objects that cannot be placed or read.
    """
    kind = header.required_text("SegmentationType").upper()
    if kind not in _KINDS:
        raise header.wrong("SegmentationType", f"one of {', '.join(_KINDS)} is wanted", _EXPORT_AGAIN)
    names, neoplasms = _segments(header)
    frames = _frames(header, kind)
    described = {int(segment.required_number("SegmentNumber")) for segment in header.items("SegmentSequence")}
    if kind != "LABELMAP" and (unknown := sorted({frame.segment for frame in frames} - described)):
        raise InputError(
            f"frames belong to the segments {unknown[:10]}, which SegmentSequence (0062,0002) does not describe",
            where=header.path,
            remedy=_EXPORT_AGAIN,
        )
    own, same = grid, all(fits(frame, header, grid) for frame in frames)
    if not same:
        if not shares_frame:
            raise InputError(
                "the segmentation lies on other voxels than the image, and in another frame of reference",
                where=header.path,
                remedy=_EXPORT_AGAIN,
            )
        own = own_grid(header, frames)
    regions, lost = [], 0
    for number, group, pixels in _by_segment(header, kind, names, frames):
        region, outside = place(names[number], group, pixels, own)
        lost += outside
        if region is not None and not same:
            region = resampled(header, region, own, grid)
        if region is None:
            _log.warning("%s: %s: no voxel lies in the image; it is left out", header.path.name, names[number])
        else:
            regions.append(replace(region, tumour=True) if number in neoplasms else region)
    if lost:
        _log.warning("%s: %d segmented voxels lie outside the image and are left out", header.path.name, lost)
    return regions


def _segments(header: Header) -> tuple[dict[int, str], set[int]]:
    """Segment number -> name, background left out; and which are coded as neoplasms."""
    names, neoplasms = dict[int, str](), set[int]()
    padding = header.number("PixelPaddingValue") if header.text("SegmentationType").upper() == "LABELMAP" else None
    for segment in header.items("SegmentSequence"):
        number = int(segment.required_number("SegmentNumber"))
        types = segment.items("SegmentedPropertyTypeCodeSequence")
        codes = [(code.text("CodeValue"), code.text("CodingSchemeDesignator")) for code in types]
        if number == padding or _BACKGROUND in codes:
            continue
        if number in names:
            raise segment.wrong("SegmentNumber", "a number of its own is wanted for every segment", _EXPORT_AGAIN)
        meaning = types[0].text("CodeMeaning") if types else ""
        if _NEOPLASMS & {value for value, _ in codes} or _NEOPLASM.search(meaning):
            neoplasms.add(number)
        names[number] = readable_name(segment.text("SegmentLabel") or meaning, f"segment {number}")
    if not names:
        raise InputError("the segmentation describes no segment", where=header.path, remedy=_EXPORT_AGAIN)
    return names, neoplasms


def _frames(header: Header, kind: str) -> list[SegmentFrame]:
    shared = header.items("SharedFunctionalGroupsSequence")
    groups = header.items("PerFrameFunctionalGroupsSequence")
    if len(groups) != header.count("NumberOfFrames"):
        raise header.wrong("NumberOfFrames", f"the object describes {len(groups)} frames", _EXPORT_AGAIN)

    def item(group: Header, sequence: str) -> Header:
        for source in (group, *shared):
            if found := source.items(sequence):
                return found[0]
        raise group.missing(sequence, _EXPORT_AGAIN)

    frames = []
    for number, group in enumerate(groups):
        orientation = item(group, "PlaneOrientationSequence")
        cosines = np.array(orientation.vector("ImageOrientationPatient", 6)).reshape(2, 3)
        if np.abs(cosines @ cosines.T - np.eye(2)).max() > 1e-2:
            raise orientation.wrong(
                "ImageOrientationPatient", "two perpendicular unit vectors are wanted", _EXPORT_AGAIN
            )
        measures = item(group, "PixelMeasuresSequence")
        between_rows, between_columns = measures.vector("PixelSpacing", 2)
        if min(between_rows, between_columns) <= 0.0:
            raise measures.wrong("PixelSpacing", "two positive numbers are wanted", _EXPORT_AGAIN)
        segment = 0
        if kind != "LABELMAP":
            identification = item(group, "SegmentIdentificationSequence")
            segment = int(identification.required_number("ReferencedSegmentNumber"))
        position = item(group, "PlanePositionSequence").vector("ImagePositionPatient", 3)
        to_ras = RAS_LPS[:3, :3]
        frames.append(
            SegmentFrame(
                number,
                segment,
                to_ras @ position,
                to_ras @ cosines[0] * between_columns,
                to_ras @ cosines[1] * between_rows,
            )
        )
    return frames


def _by_segment(
    header: Header, kind: str, names: dict[int, str], frames: Sequence[SegmentFrame]
) -> Iterator[tuple[int, list[SegmentFrame], list[np.ndarray]]]:
    """Every segment with its frames and which pixels `[row, column]` of them belong to it."""
    pixel_bytes(header)
    dataset = _with_pixels(header.path)
    if kind == "LABELMAP":
        stored = _decode(header, dataset, [frame.number for frame in frames])
        found = set(np.unique(np.concatenate([np.unique(plane) for plane in stored])).tolist())
        padding = header.number("PixelPaddingValue")
        described = {int(s.required_number("SegmentNumber")) for s in header.items("SegmentSequence")}
        if unknown := sorted(found - described - {0, padding}):
            _log.warning("%s: labels %s are not described and are left out", header.path.name, unknown)
        for number in names:
            yield number, list(frames), [plane == number for plane in stored]
        return
    threshold = 1.0
    if kind == "FRACTIONAL":
        full = header.required_number("MaximumFractionalValue", _EXPORT_AGAIN)
        if not 1.0 <= full <= 255.0:
            raise header.wrong("MaximumFractionalValue", "a number from 1 to 255 is wanted", _EXPORT_AGAIN)
        threshold = _HALF * full
        meaning = header.text("SegmentationFractionalType").lower() or "fraction"
        _log.warning("%s: voxels with a %s of at least one half are taken", header.path.name, meaning)
    for number in names:
        group = [frame for frame in frames if frame.segment == number]
        yield number, group, [plane >= threshold for plane in _decode(header, dataset, [f.number for f in group])]


def _with_pixels(path: Path) -> Dataset:
    try:
        with quiet():
            return dcmread(path)
    except Exception as error:  # pydicom raises whatever damaged bytes lead it into
        raise InputError(f"the file cannot be read ({error})", where=path, remedy=_EXPORT_AGAIN) from error


def _decode(header: Header, dataset: Dataset, numbers: Sequence[int]) -> list[np.ndarray]:
    """Stored values of some frames, `[row, column]`."""
    if not numbers:
        return []
    with reading_pixels(header.path, _EXPORT_AGAIN):
        if header.transfer_syntax and header.transfer_syntax.is_encapsulated:
            return list(decode(header.path, pixel_bytes(header), numbers))
        return list(iter_pixels(dataset, indices=numbers, raw=True))
