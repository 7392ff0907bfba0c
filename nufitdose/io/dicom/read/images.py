"""Image series: CT, PT and NM objects put together into volumes.

A series is a stack of single-frame files, or one multi-frame file (`nufitdose.io.dicom.read.multiframe`). Slices are
ordered by their position in space, never by their number or name.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.pixels.utils import pixel_array
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.image_sources import ImageSource
from nufitdose.io.dicom.read.decoding import decode
from nufitdose.io.dicom.read.geometry import Plane, Stack, stack_planes
from nufitdose.io.dicom.read.given import NOTHING, Given
from nufitdose.io.dicom.read.headers import Header
from nufitdose.io.dicom.read.pixels import check_voxels, pixel_bytes, reading_pixels
from nufitdose.types import Image32
from nufitdose.volume import Quantity, Volume

#: Below this there is nothing: padding outside the field of view (-3024, -2000, ...) becomes this.
LOWEST_HU = -1024.0
_GIVE_INTERCEPT = (
    "Export the series again; for an image of counts give --calibration, and the intercept is taken as zero"
)
_HU_TYPES = {"", "HU", "US"}  # RescaleType (0028,1054); US: unspecified


@dataclass(frozen=True, eq=False)
class StoredSlice:
    """One slice: its object, its frame in a multi-frame object, its place, and value = slope * stored + intercept."""

    header: Header
    number: int
    plane: Plane
    slope: float
    intercept: float


@dataclass(frozen=True, eq=False)
class ImageSeries:
    """One volume made of DICOM images; everything but the pixels.

    `frames` are in order of slice index k. `deviation_mm` is how far the worst slice lies from its
    place on the uniform grid; where slices lie in blocks of different steps, `heights_mm` says where (see `on_grid`).
    """

    modality: str
    series_uid: str
    study_uid: str
    frame_of_reference_uid: str
    sop_class_uid: str
    description: str
    grid: Grid
    frames: tuple[StoredSlice, ...] = field(repr=False)
    deviation_mm: float
    heights_mm: tuple[float, ...] | None = None

    @property
    def headers(self) -> tuple[Header, ...]:
        """The objects in slice order; one entry for an NM object, one a frame for enhanced objects."""
        return tuple({id(frame.header): frame.header for frame in self.frames}.values())

    @property
    def header(self) -> Header:
        """The object of the first slice."""
        return self.frames[0].header

    @property
    def files(self) -> tuple[Path, ...]:
        """The files in slice order; one entry for a multi-frame object."""
        return tuple(dict.fromkeys(header.path for header in self.headers))

    @property
    def sop_instance_uids(self) -> tuple[str, ...]:
        """In order of slice index k; one entry for a multi-frame object."""
        return tuple(dict.fromkeys(header.text("SOPInstanceUID") for header in self.headers))

    def source(self) -> ImageSource:
        """These images by their UIDs."""
        return ImageSource(
            self.study_uid,
            self.series_uid,
            self.frame_of_reference_uid,
            self.sop_class_uid,
            self.sop_instance_uids,
            self.header.text("StudyDate"),
            self.header.text("StudyTime"),
        )

    @property
    def where(self) -> str:
        """The series in words for messages: its folder, description and UID."""
        return f"{self.header.path.parent} (series {self.description or self.modality!r}, {self.series_uid})"

    def same_text(self, keyword: str) -> str:
        """An attribute all objects of the series must share; empty where absent from all."""
        first = self.header.text(keyword)
        for header in self.headers:
            if header.text(keyword) != first:
                raise header.wrong(keyword, f"but {self.header.path.name} of the same series has {first!r}")
        return first

    def stored_slices(self) -> Iterator[np.ndarray]:
        """The stored values slice by slice in order of k, `[row, column]`, before any rescaling."""
        wanted = (self.grid.shape[1], self.grid.shape[0])
        held: tuple[Path, np.ndarray] | None = None
        for frame in self.frames:
            if held is None or held[0] != frame.header.path:
                held = (frame.header.path, _stored(frame.header))
            slices = held[1] if held[1].ndim == 3 else held[1][None]
            if frame.number >= len(slices) or slices.shape[1:] != wanted:
                raise InputError(
                    f"pixels of shape {held[1].shape} were found, {wanted} are wanted for frame {frame.number + 1}",
                    where=frame.header.path,
                    remedy="Export the file again",
                )
            yield slices[frame.number]

    def read_values(self) -> Image32:
        """The rescaled values `[i, j, slice]`: slope * stored + intercept, with each slice's own slope."""
        columns, rows, _ = self.grid.shape
        values = np.empty((len(self.frames), rows, columns), dtype=np.float32)
        for k, (frame, stored) in enumerate(zip(self.frames, self.stored_slices(), strict=True)):
            values[k] = stored * np.float64(frame.slope) + frame.intercept
        if not np.isfinite(values).all():
            raise InputError("the rescaled values are not finite", where=self.where, remedy="Export the series again")
        return values.transpose(2, 1, 0)

    def on_grid(self, values: np.ndarray) -> Image32:
        """Values of the slices on the grid, linear between slices where they lie in blocks of different steps."""
        if self.heights_mm is None:
            return values
        heights, (columns, rows, count) = np.array(self.heights_mm), self.grid.shape
        placed = np.empty((count, rows, columns), dtype=np.float32)
        for k in range(count):
            height = min(k * self.grid.spacing_mm[2], heights[-1])
            above = int(np.clip(np.searchsorted(heights, height), 1, len(heights) - 1))
            weight = np.float32((height - heights[above - 1]) / (heights[above] - heights[above - 1]))
            placed[k] = ((1 - weight) * values[:, :, above - 1] + weight * values[:, :, above]).T
        return placed.transpose(2, 1, 0)


def read_ct(series: ImageSeries) -> Volume:
    """A CT series in HU.

    Values below -1024 HU are padding and become -1024; so do voxels that hold PixelPaddingValue
    (0028,0120), unless that value would be tissue (-900 to 3000 HU).
    """
    if (kind := series.same_text("RescaleType")) not in _HU_TYPES:
        raise series.header.wrong("RescaleType", "HU is wanted", f"Export a CT in Hounsfield units, not {kind}")
    padding = [frame.header.number("PixelPaddingValue") for frame in series.frames]
    values = series.read_values()
    for k, (frame, pad) in enumerate(zip(series.frames, padding, strict=True)):
        if pad is not None and not -900.0 <= (hu := frame.slope * pad + frame.intercept) <= 3000.0:
            values[:, :, k][values[:, :, k] == np.float32(hu)] = LOWEST_HU
    np.maximum(values, np.float32(LOWEST_HU), out=values)
    return Volume(series.on_grid(values), series.grid, Quantity.HU)


def slices_of(headers: Sequence[Header], given: Given = NOTHING) -> list[StoredSlice]:
    """The slices of single-frame CT or PT objects."""
    return [_slice(header, given) for header in headers]


def make_series(frames: Sequence[StoredSlice], *, in_blocks: bool = False) -> ImageSeries:
    """Put the slices of one volume together; `InputError` where they do not make one (see `stack_planes`)."""
    check_voxels(frames[0].header, len(frames))
    stack: Stack = stack_planes([frame.plane for frame in frames], in_blocks=in_blocks)
    ordered = tuple(frames[n] for n in stack.order)
    header = ordered[0].header
    series = ImageSeries(
        modality=header.modality,
        series_uid=header.text("SeriesInstanceUID"),
        study_uid=header.text("StudyInstanceUID"),
        frame_of_reference_uid=header.text("FrameOfReferenceUID"),
        sop_class_uid=str(header.sop_class),
        description=header.text("SeriesDescription"),
        grid=stack.grid,
        frames=ordered,
        deviation_mm=stack.deviation_mm,
        heights_mm=stack.heights_mm,
    )
    for keyword in ("Modality", "StudyInstanceUID", "FrameOfReferenceUID"):
        series.same_text(keyword)
    for one in series.headers:
        _check_pixels(one)
    return series


def _slice(header: Header, given: Given) -> StoredSlice:
    plane = Plane(
        position_mm=header.vector("ImagePositionPatient", 3),
        orientation=header.vector("ImageOrientationPatient", 6),
        pixel_spacing_mm=header.vector("PixelSpacing", 2),
        matrix=(header.count("Rows"), header.count("Columns")),
        thickness_mm=header.number("SliceThickness"),
        path=header.path,
    )
    if header.has("NumberOfFrames") and header.count("NumberOfFrames") != 1:
        raise header.wrong("NumberOfFrames", "a single-frame object has one")
    return StoredSlice(header, 0, plane, *rescale(header, given))


def rescale(header: Header, given: Given = NOTHING) -> tuple[float, float]:
    """Slope and intercept (0028,1053), (0028,1052).

    Both must be there; only where the user says what a count is worth, an absent intercept is zero.
    """
    if header.has("ModalityLUTSequence"):
        raise header.wrong("ModalityLUTSequence", "RescaleSlope and RescaleIntercept are wanted")
    slope = header.required_number("RescaleSlope")
    if slope == 0.0:
        raise header.wrong("RescaleSlope", "a slope other than zero is wanted")
    if not header.has("RescaleIntercept") and (given.calibration or given.sensitivity):
        return slope, 0.0
    return slope, header.required_number("RescaleIntercept", _GIVE_INTERCEPT)


def _check_pixels(header: Header) -> None:
    """What can be known of the pixels without reading them."""
    if (samples := header.count("SamplesPerPixel")) != 1:
        raise header.wrong("SamplesPerPixel", f"one value per voxel is wanted, this is a colour image of {samples}")
    if header.text("PhotometricInterpretation") not in {"MONOCHROME1", "MONOCHROME2"}:
        raise header.wrong("PhotometricInterpretation", "MONOCHROME2 is wanted")
    allocated, stored = header.count("BitsAllocated"), header.count("BitsStored")
    high = header.number("HighBit") if header.has("HighBit") else stored - 1
    if allocated not in {8, 16, 32} or stored > allocated or high != stored - 1:
        raise header.wrong("BitsStored", f"with {allocated} bits allocated, a plain integer image is wanted")
    if header.required_number("PixelRepresentation") not in {0.0, 1.0}:
        raise header.wrong("PixelRepresentation", "0 or 1 is wanted")
    syntax = header.transfer_syntax
    wanted = pixel_bytes(header)
    there = header.bytes_after_header - (12 if syntax and not syntax.is_implicit_VR else 8)  # the element's own header
    if syntax and not syntax.is_compressed and there < wanted:
        raise InputError(
            f"the file is truncated: {wanted} bytes of pixels are wanted, {max(0, there)} are there",
            where=header.path,
            remedy="Copy or export the file again",
        )


def _stored(header: Header) -> np.ndarray:
    """Stored values of all frames of a file, `[row, column]` or `[frame, row, column]`."""
    if header.transfer_syntax and header.transfer_syntax.is_encapsulated:
        with reading_pixels(header.path):
            stored = decode(header.path, pixel_bytes(header))
    else:
        stored = _plain(header)
    unused = 8 * stored.dtype.itemsize - header.count("BitsStored")
    if unused:  # bits above the high bit are not part of the value; shift in the value's sign
        stored = np.right_shift(np.left_shift(stored, unused), unused)
    return stored


def _plain(header: Header) -> np.ndarray:
    """Stored values that are not compressed."""
    with reading_pixels(header.path):
        dataset = dcmread(header.path, force=True)
        if "TransferSyntaxUID" not in dataset.file_meta:  # a file without preamble and meta information
            implicit, little = dataset.original_encoding
            explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
        return pixel_array(dataset, raw=True)
