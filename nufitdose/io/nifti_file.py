"""NIfTI files read without trust: the header is checked against the file before memory is taken for voxels."""

import gzip
import io
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from nufitdose.errors import InputError
from nufitdose.printable import printable

_KINDS = {348: nib.nifti1.Nifti1Image, 540: nib.nifti2.Nifti2Image}  # by the size of their header
_MOST_VOXELS = 1 << 29  # 2048 slices of 512 x 512
_GZIP_RATIO = 1040  # deflate packs no more than this into a byte
_MOST_AFTER = 64 << 20  # bytes after the last voxel that are read for the checksum


def open_nifti(path: Path) -> nib.nifti1.Nifti1Image:
    """The image of a NIfTI file, its voxels not read; `InputError` where the header cannot be that of the file."""
    if not path.is_file():
        raise InputError("there is no such file", where=path, remedy="Check the path in study.yaml")
    packed = path.name.lower().endswith(".nii.gz")
    if not packed and not path.name.lower().endswith(".nii"):
        raise InputError(
            f"a file that ends with {path.suffix[:20]!r} was given, NIfTI (.nii, .nii.gz) is wanted",
            where=path,
            remedy="Convert the image to NIfTI",
        )
    with _reading(path, "this is not a readable NIfTI image"):
        size = path.stat().st_size
        if packed:  # from one stream, so that its end and checksum can be reached
            stream = gzip.GzipFile(fileobj=io.BytesIO(path.read_bytes()))
            kind = _kind(stream.read(4))
            stream.seek(0)
            image = kind.from_stream(stream)
        else:
            with path.open("rb") as file:
                kind = _kind(file.read(4))
            image = kind.from_filename(path)
    _check_size(image, size * _GZIP_RATIO if packed else size, path)
    return image


def read_voxels(image: nib.nifti1.Nifti1Image, path: Path) -> np.ndarray:
    """The voxels, and the checksum of a compressed file: a reader that stops at the last voxel would not see it."""
    with _reading(path, "the voxels cannot be read, the file is truncated or damaged"):
        with np.errstate(over="ignore", invalid="ignore"):  # voxels that are not finite are found by who asked
            voxels = np.ascontiguousarray(image.dataobj)  # the file runs along i fastest, the program along k
        stream = image.file_map["image"].fileobj
        after = 0
        while stream is not None and (more := len(stream.read(1 << 22))):
            after += more
            if after > _MOST_AFTER:
                raise ValueError(f"more than {_MOST_AFTER >> 20} MB follow its last voxel")
        return voxels


def _kind(start: bytes) -> Any:
    """The class of images whose header has the size that the first four bytes say."""
    for order in "<>":
        if len(start) == 4 and (kind := _KINDS.get(struct.unpack(f"{order}i", start)[0])):
            return kind
    raise ValueError("a header of 348 or 540 bytes is wanted at the start")


def _check_size(image: nib.nifti1.Nifti1Image, most_bytes: int, path: Path) -> None:
    kind, shape = image.get_data_dtype(), image.shape
    if kind.kind not in "iuf" or kind.itemsize > 8:
        raise InputError(f"voxels of type {kind} were found, plain numbers are wanted", where=path)
    voxels = math.prod(int(n) for n in shape)
    if not shape or min(shape) < 1 or voxels > _MOST_VOXELS:
        raise InputError(
            f"an image of shape {shape} was found, at most {_MOST_VOXELS} voxels in three dimensions are wanted",
            where=path,
        )
    if voxels * kind.itemsize > most_bytes:
        raise InputError(
            f"the voxels cannot be read, the file is truncated or damaged: it cannot hold the {voxels * kind.itemsize} "
            "bytes of voxels that its header promises",
            where=path,
            remedy="Export the image again",
        )


@contextmanager
def _reading(path: Path, problem: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # nibabel raises whatever damaged bytes lead it into
        raise InputError(f"{problem} ({printable(str(error), most=300)})", where=path) from error
