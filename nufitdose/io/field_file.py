"""Displacement fields as files: vector NIfTI that ITK reads as a displacement field (dim 5, intent 1007, LPS mm)."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.io.lps import RAS_LPS
from nufitdose.io.nifti import _world_affine, save_array
from nufitdose.io.nifti_file import open_nifti, read_voxels
from nufitdose.types import Field

#: Displacements are rounded to this step (0.004 mm) before they are written: the file shrinks and nothing is lost.
STEP_MM = 2.0**-8

_VECTOR = 1007  # NIFTI_INTENT_VECTOR


def save_field(parts_mm: Iterable[Field], grid: Grid, path: str | Path) -> None:
    """Write a pull field (mm, RAS+, on the fixed grid) as an ITK displacement field: whole or not at all.

    `parts_mm` follow each other along the first axis of `grid`, so that a large field need not be held beside its file.
    Values are rounded to `STEP_MM`. `path` ends in .nii or .nii.gz.
    """
    lps = np.empty((*grid.shape, 1, 3), np.float32, order="F")
    first = 0
    for part_mm in parts_mm:
        last = first + part_mm.shape[1]
        for axis in range(3):
            steps = part_mm[axis] * np.float32(RAS_LPS[axis, axis] / STEP_MM)  # a power of two: exact
            np.rint(steps, out=steps)
            steps += 0.0  # no negative zeros
            lps[first:last, ..., 0, axis] = np.multiply(steps, np.float32(STEP_MM), out=steps)
        first = last
    if first != grid.shape[0]:
        raise ValueError(f"parts of {first} planes were given for a grid of {grid.shape[0]}")
    save_array(lps, grid, path, intent="vector")


def load_field(path: str | Path) -> tuple[Field, Grid]:
    """Read a displacement field written by `save_field`, ITK or ANTs: the field (mm, RAS+) and its grid.

    Raises `InputError` where the file is not a readable NIfTI of three-component vectors with finite values.
    """
    path = Path(path)
    image = open_nifti(path)
    if len(image.shape) != 5 or image.shape[3:] != (1, 3) or int(image.header["intent_code"]) != _VECTOR:
        raise InputError(
            f"an image of shape {image.shape} and intent {int(image.header['intent_code'])} was found, "
            f"a displacement field (i, j, k, 1, 3) of intent {_VECTOR} is wanted",
            where=path,
            remedy="Export the field as an ITK displacement field",
        )
    try:
        grid = Grid(image.shape[:3], _world_affine(image, path))
    except InputError as error:
        raise InputError(error.problem, where=path, remedy=error.remedy) from error
    lps = read_voxels(image, path)
    if not np.isfinite(lps).all():
        raise InputError("some displacements are not finite numbers", where=path)
    field = np.empty((3, *grid.shape), np.float32)
    for axis in range(3):
        field[axis] = lps[..., 0, axis] * RAS_LPS[axis, axis]
    return field, grid
