"""NRRD and MetaImage files as arrays in RAS+, read by SimpleITK (extra `formats`) in a process of its own."""

import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np

from nufitdose.errors import InputError
from nufitdose.io.guarded import Read, ReadingError, read_guarded
from nufitdose.io.lps import RAS_LPS

#: Endings of the files that are read here.
ENDINGS = (".nrrd", ".nhdr", ".mha", ".mhd")
_MOST_VOXELS = 1 << 29  # 2048 slices of 512 x 512
_MOST_BYTES_A_VOXEL = 8


def read_itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels `[i, j, k]` and the affine to RAS+ mm. Raises `InputError` on files that are no 3-D scalar image."""
    if find_spec("SimpleITK") is None:
        raise InputError(
            f"{path.suffix} files are read by SimpleITK, which is not installed",
            where=path,
            remedy="Install it with: pip install 'nufitdose[formats]'; or convert the file to NIfTI",
        )
    name = str(path.absolute())
    try:
        header, _ = read_guarded(image_header, 0, path=name)
        _check(header, path)
        _, voxels = read_guarded(image_voxels, _MOST_BYTES_A_VOXEL * math.prod(header["size"]), path=name)
    except ReadingError as error:
        last = str(error).strip().splitlines()[-1]
        raise InputError(f"the file cannot be read ({last})", where=path, remedy="Export the image again") from error
    affine = np.eye(4)
    affine[:3, :3] = np.array(header["direction"]).reshape(3, 3) * np.array(header["spacing"])
    affine[:3, 3] = header["origin"]
    return np.ascontiguousarray(cast(np.ndarray, voxels).transpose(2, 1, 0)), RAS_LPS @ affine


def image_header(path: str) -> Read:
    """What the header of an image says, read in this process."""
    reader = _reader(path)
    reader.ReadImageInformation()
    return {
        "size": reader.GetSize(),
        "values": reader.GetNumberOfComponents(),
        "direction": reader.GetDirection(),
        "spacing": reader.GetSpacing(),
        "origin": reader.GetOrigin(),
        "space": reader.HasMetaDataKey("NRRD_space"),
    }, None


def image_voxels(path: str) -> Read:
    """Voxels `[k, j, i]` of an image, read in this process."""
    import SimpleITK as sitk  # noqa: N813

    return {}, sitk.GetArrayFromImage(_reader(path).Execute())


def _reader(path: str) -> Any:
    import SimpleITK as sitk  # noqa: N813

    reader = sitk.ImageFileReader()
    reader.SetFileName(path)
    return reader


def _check(header: dict[str, Any], path: Path) -> None:
    size, values = header["size"], header["values"]
    if math.prod(size) > _MOST_VOXELS:
        raise InputError(
            f"an image of {' x '.join(map(str, size))} voxels was found, at most {_MOST_VOXELS} are wanted", where=path
        )
    if len(size) != 3 or values != 1:
        raise InputError(
            f"an image of {len(size)} dimensions and {values} values a voxel was found, three dimensions and one value "
            "are wanted",
            where=path,
        )
    if path.suffix in {".nrrd", ".nhdr"} and not header["space"]:
        raise InputError(
            "the header names no space, so left and right are unknown",
            where=path,
            remedy="Export the image with its orientation (space: left-posterior-superior)",
        )
