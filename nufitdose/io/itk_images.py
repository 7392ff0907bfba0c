"""NRRD and MetaImage files as arrays in RAS+, read by SimpleITK (extra `formats`)."""

import math
from pathlib import Path

import numpy as np

from nufitdose.errors import InputError
from nufitdose.io.lps import RAS_LPS

#: Endings of the files that are read here.
ENDINGS = (".nrrd", ".nhdr", ".mha", ".mhd")
_MOST_VOXELS = 1 << 29  # 2048 slices of 512 x 512


def read_itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels `[i, j, k]` and the affine to RAS+ mm. Raises `InputError` on files that are no 3-D scalar image."""
    try:
        import SimpleITK as sitk  # noqa: N813
    except ImportError as error:
        raise InputError(
            f"{path.suffix} files are read by SimpleITK, which is not installed",
            where=path,
            remedy="Install it with: pip install 'nufitdose[formats]'; or convert the file to NIfTI",
        ) from error
    try:
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        if math.prod(reader.GetSize()) > _MOST_VOXELS:
            raise InputError(
                f"an image of {' x '.join(map(str, reader.GetSize()))} voxels was found, at most {_MOST_VOXELS} are "
                "wanted",
                where=path,
            )
        image = reader.Execute()
        voxels = sitk.GetArrayFromImage(image)
    except RuntimeError as error:
        last = str(error).strip().splitlines()[-1]
        raise InputError(f"the file cannot be read ({last})", where=path, remedy="Export the image again") from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(
            f"an image of {image.GetDimension()} dimensions and {image.GetNumberOfComponentsPerPixel()} values a voxel "
            "was found, three dimensions and one value are wanted",
            where=path,
        )
    if path.suffix in {".nrrd", ".nhdr"} and not image.HasMetaDataKey("NRRD_space"):
        raise InputError(
            "the header names no space, so left and right are unknown",
            where=path,
            remedy="Export the image with its orientation (space: left-posterior-superior)",
        )
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return np.ascontiguousarray(voxels.transpose(2, 1, 0)), RAS_LPS @ affine
