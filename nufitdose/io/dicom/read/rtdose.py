"""RTDOSE objects as dose maps (PS3.3 C.8.8.3)."""

import logging
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.uid import RTDoseStorage

from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.io.dicom.read.decoding import decode
from nufitdose.io.dicom.read.headers import Header, read_header
from nufitdose.io.dicom.read.pixels import pixel_bytes, reading_pixels
from nufitdose.io.lps import RAS_LPS
from nufitdose.volume import Quantity, Volume

_log = logging.getLogger(__name__)
_EXPORT_AGAIN = "Export the dose again"
_EVEN_MM = 0.05  # how far a frame may lie from its place on the uniform grid


def load_rtdose(path: str | Path) -> Volume:
    """The dose of an RTDOSE file in Gy: stored value times DoseGridScaling (3004,000e).

    The DVHs in the file are not read. Raises `InputError` on other units than GY, on frames that are not
    evenly spaced, and on files that are no RTDOSE or cannot be read.
    """
    header = read_header(Path(path))
    if header is None or header.sop_class != RTDoseStorage:
        raise InputError("this is no RTDOSE", where=path, remedy="Give the RTDOSE file of the dose")
    if (units := header.required_text("DoseUnits").upper()) != "GY":
        remedy = "Export the dose in Gy: relative dose has no scale of its own"
        raise header.wrong("DoseUnits", f"GY is wanted, not {units}", remedy)
    if (kind := header.required_text("DoseType").upper()) == "ERROR":
        raise header.wrong("DoseType", "a dose is wanted, this is a difference of doses", _EXPORT_AGAIN)
    if kind != "PHYSICAL":
        _log.warning("%s: DoseType is %s: weighted, not absorbed dose", header.path.name, kind)
    scaling = header.required_number("DoseGridScaling", _EXPORT_AGAIN)
    if scaling <= 0.0:
        raise header.wrong("DoseGridScaling", "a positive number is wanted", _EXPORT_AGAIN)
    grid = _grid(header)
    stored = _stored(header, (grid.shape[2], grid.shape[1], grid.shape[0]))
    dose_gy = np.empty(stored.shape, dtype=np.float32)
    for frame, values in zip(dose_gy, stored, strict=True):
        frame[:] = values * scaling
    return Volume(dose_gy.transpose(2, 1, 0), grid, Quantity.DOSE)


def _grid(header: Header) -> Grid:
    cosines = np.array(header.vector("ImageOrientationPatient", 6))
    row, column = cosines[:3], cosines[3:]
    position = np.array(header.vector("ImagePositionPatient", 3))
    between_rows, between_columns = header.vector("PixelSpacing", 2)
    normal = np.cross(row, column)
    step = _frame_step_mm(header, position, normal)
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([row * between_columns, column * between_rows, normal * step])
    affine[:3, 3] = position
    shape = (header.count("Columns"), header.count("Rows"), header.count("NumberOfFrames"))
    try:
        return Grid(shape, RAS_LPS @ affine)
    except InputError as error:
        raise InputError(error.problem, where=header.path, remedy=_EXPORT_AGAIN) from error


def _frame_step_mm(header: Header, position: np.ndarray, normal: np.ndarray) -> float:
    """From one frame to the next along the normal.

    GridFrameOffsetVector (3004,000c) either starts at zero, or gives positions z of axial frames.
    """
    offsets = np.array(header.numbers("GridFrameOffsetVector"))
    frames = header.count("NumberOfFrames")
    if len(offsets) != frames:
        raise header.wrong("GridFrameOffsetVector", f"{frames} numbers are wanted, one a frame", _EXPORT_AGAIN)
    if offsets[0] != 0.0:
        if abs(abs(normal[2]) - 1.0) > 1e-4 or abs(offsets[0] - position[2]) > _EVEN_MM:
            wanted = "it starts neither at 0 nor at the position of the first frame"
            raise header.wrong("GridFrameOffsetVector", wanted, _EXPORT_AGAIN)
        offsets = (offsets - position[2]) * np.sign(normal[2])
    if frames == 1:
        thickness = header.number("SliceThickness")
        if not thickness:
            raise header.missing("SliceThickness", _EXPORT_AGAIN)
        return thickness
    step = float(offsets[-1] - offsets[0]) / (frames - 1)
    uneven = float(np.abs(offsets - offsets[0] - step * np.arange(frames)).max())
    if uneven > _EVEN_MM or step == 0.0:
        wanted = f"evenly spaced frames are wanted, one lies {uneven:.2f} mm off its place"
        raise header.wrong("GridFrameOffsetVector", wanted, "Export the dose on a uniform grid")
    return step


def _stored(header: Header, shape: tuple[int, int, int]) -> np.ndarray:
    most_bytes = pixel_bytes(header)
    with reading_pixels(header.path, _EXPORT_AGAIN):
        if header.transfer_syntax and header.transfer_syntax.is_encapsulated:
            return decode(header.path, most_bytes).reshape(shape)
        return np.asarray(dcmread(header.path).pixel_array).reshape(shape)
