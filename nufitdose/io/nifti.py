"""Volumes as NIfTI files; NRRD and MetaImage are read too."""

import logging
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from nufitdose.errors import InputError
from nufitdose.files import whole_file
from nufitdose.grid import Grid
from nufitdose.io.itk_images import ENDINGS, read_itk
from nufitdose.io.nifti_file import open_nifti, read_voxels
from nufitdose.volume import Quantity, Volume

_LOG = logging.getLogger(__name__)
_IN_MM = {"unknown": 1.0, "mm": 1.0, "meter": 1e3, "micron": 1e-3}
_ALMOST_WHOLE = 0.01  # labels that a scaling by the header left this far off a whole number are rounded
_QFORM_TOLERANCE_MM = 0.1  # qform stores a rounded quaternion


def load_volume(path: str | Path, quantity: Quantity | str) -> Volume:
    """Read a 3-D NIfTI, NRRD or MetaImage file as a `Volume` of `quantity`; float32, or integers for labels.

    World is the sform, or the qform where there is no sform. Raises `InputError` on a missing or broken
    file, no orientation, sform and qform that disagree, other than three dimensions, non-finite values,
    or labels that are not whole numbers.
    """
    path = Path(path)
    if path.is_file() and path.suffix in ENDINGS:
        data, affine = read_itk(path)
    else:
        data, affine = _read_nifti(path)
    try:
        grid = Grid(data.shape, affine)
    except InputError as error:
        raise error.located(path) from error
    if Quantity(quantity) is Quantity.LABELS:
        return Volume(_as_labels(data, path), grid, Quantity.LABELS)
    with np.errstate(over="ignore"):
        data = np.asarray(data, dtype=np.float32)
    if not np.isfinite(data).all():
        raise InputError(
            f"{int((~np.isfinite(data)).sum())} of {data.size} voxels are not finite numbers",
            where=path,
            remedy="Export the image again",
        )
    return Volume(data, grid, Quantity(quantity))


def _read_nifti(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels `[i, j, k]` and the affine to RAS+ mm."""
    image = open_nifti(path)
    shape = tuple(n for n in image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3:
        raise InputError(f"an image of shape {image.shape} was found, three dimensions are wanted", where=path)
    affine = _world_affine(image, path)
    return read_voxels(image, path).reshape(shape), affine


def save_volume(volume: Volume, path: str | Path) -> None:
    """Write a `Volume` as NIfTI: sform and qform both set, float32 (or the label integers), whole or not at all."""
    save_array(volume.data, volume.grid, path, unit=volume.quantity.value)


def save_array(
    data: np.ndarray, grid: Grid, path: str | Path, *, intent: str | None = None, unit: str | None = None
) -> None:
    """Write an array whose first three axes are `grid`'s, under a temporary name and then renamed.

    The unit stands in the header as `intent_name`, and in words in `descrip`; NIfTI has no field for it.
    """
    image = nib.nifti1.Nifti1Image(data, np.array(grid.affine))
    image.header.set_xyzt_units("mm")
    image.set_sform(np.array(grid.affine), code="scanner")
    image.set_qform(np.array(grid.affine), code="scanner")
    if intent is not None:
        image.header.set_intent(intent)
    if unit is not None:
        ascii_unit = unit.replace("·", ".")
        image.header["intent_name"], image.header["descrip"] = ascii_unit, f"nufitdose, values in {ascii_unit}"
    with whole_file(path) as aside:
        nib.save(image, aside)


def _world_affine(image: nib.nifti1.Nifti1Image, path: Path) -> np.ndarray:
    """Voxel indices to RAS+ mm, from an sform or qform in metres, millimetres or microns."""
    try:
        unit = image.header.get_xyzt_units()[0]
    except KeyError as error:
        raise InputError(f"the header says lengths and times in unknown units ({error})", where=path) from error
    if unit not in _IN_MM:
        raise InputError(f"the header says that lengths are in {unit!r}, mm are wanted", where=path)
    affine = _stated_affine(image, path)
    if _IN_MM[unit] != 1.0:
        _LOG.warning("%s: lengths are in %ss by its header, and are taken as such", path, unit)
    affine[:3] *= _IN_MM[unit]
    return affine


def _stated_affine(image: nib.nifti1.Nifti1Image, path: Path) -> np.ndarray:
    sform, sform_code = image.get_sform(coded=True)
    try:
        qform, qform_code = image.get_qform(coded=True)
    except (ValueError, np.linalg.LinAlgError, HeaderDataError) as error:
        raise InputError(f"the qform of the header is damaged ({error})", where=path) from error
    if sform_code == 0 and qform_code == 0:
        raise InputError(
            "the header has neither sform nor qform, so left and right are unknown",
            where=path,
            remedy="Convert the image again with a tool that writes its orientation",
        )
    if sform_code > 0 and qform_code > 0:
        shape = np.array(image.shape[:3], dtype=np.float64) - 1
        corners = np.array([np.zeros(3), shape])
        apart = (corners @ sform[:3, :3].T + sform[:3, 3]) - (corners @ qform[:3, :3].T + qform[:3, 3])
        moved = apart * _IN_MM[image.header.get_xyzt_units()[0]]
        if np.abs(moved).max() > _QFORM_TOLERANCE_MM:
            raise InputError(
                f"sform and qform place the image {np.abs(moved).max():.1f} mm apart",
                where=path,
                remedy="Decide which is right and set both to it",
            )
    affine: np.ndarray = np.array(sform if sform_code > 0 else qform, dtype=np.float64)
    return affine


def _as_labels(data: np.ndarray, path: Path) -> np.ndarray:
    """Whole numbers of at most 32 bits; those that a scaling in the header left almost whole are rounded."""
    if not np.isfinite(data).all():
        raise InputError("the label map holds values that are not finite, whole numbers are wanted", where=path)
    low, high = (float(data.min()), float(data.max())) if data.size else (0.0, 0.0)
    if max(abs(low), abs(high)) > np.iinfo(np.int32).max:
        raise InputError(
            f"the label map holds labels from {low:g} to {high:g}, at most {np.iinfo(np.int32).max} is wanted",
            where=path,
            remedy="Number the structures anew",
        )
    if np.issubdtype(data.dtype, np.integer):
        return data if data.dtype.itemsize <= 4 else data.astype(np.int32)
    whole = np.rint(data)
    off = float(np.abs(whole - data).max()) if data.size else 0.0
    if off > _ALMOST_WHOLE:
        raise InputError(
            f"the label map holds fractions ({off:.3g} off the nearest whole number), whole numbers are wanted",
            where=path,
            remedy="Resample label maps with nearest neighbours, and save them as integers",
        )
    if off > 0.0:
        _LOG.info("%s: labels up to %.2g off a whole number are rounded", path, off)
    return whole.astype(np.int32)
