"""Pixels read without trust: what a damaged file leads the decoders into is one error."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nufitdose.errors import InputError
from nufitdose.io.dicom.read.headers import Header, quiet
from nufitdose.printable import printable

_MOST_A_SLICE = 1 << 24  # 4096 x 4096
_MOST_VOXELS = 1 << 29  # 2048 slices of 512 x 512


def check_voxels(header: Header, slices: int) -> None:
    """Raise `InputError` where a volume of so many slices like this one is larger than any scanner makes."""
    a_slice = header.count("Rows") * header.count("Columns")
    if a_slice > _MOST_A_SLICE or a_slice * slices > _MOST_VOXELS:
        raise InputError(
            f"Rows (0028,0010) and Columns (0028,0011) are {header.count('Rows')} and {header.count('Columns')} in "
            f"{slices} slices, at most {_MOST_A_SLICE} pixels a slice and {_MOST_VOXELS} in all are wanted",
            where=header.path,
            remedy="Export the series again, or take the damaged file out of the folder",
        )


def pixel_bytes(header: Header) -> int:
    """What the pixels of a file take once decoded, by its header; `InputError` where no scanner makes so many."""
    frames = header.count("NumberOfFrames") if header.has("NumberOfFrames") else 1
    check_voxels(header, frames)
    return header.count("Rows") * header.count("Columns") * frames * header.count("BitsAllocated") // 8


@contextmanager
def reading_pixels(path: Path, remedy: str = "Copy or export the file again") -> Iterator[None]:
    """Whatever pydicom and its decoders raise in the block becomes an `InputError` that names the file."""
    try:
        with quiet():
            yield
    except Exception as error:
        raise InputError(
            f"the pixels cannot be read, the file looks truncated or damaged ({printable(str(error), most=300)})",
            where=path,
            remedy=remedy,
        ) from error
