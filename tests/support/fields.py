"""Oblique grids, smooth fields known in closed form, and images as ITK has them."""

import numpy as np
import SimpleITK as sitk
from scipy import ndimage
from scipy.spatial.transform import Rotation

from nufitdose.grid import Grid
from nufitdose.registration.field import DisplacementField

FLIP = np.diag([-1.0, -1.0, 1.0])  # RAS <-> LPS


def oblique(shape, spacing_mm, degrees, centre_mm, order=(0, 1, 2), signs=(1, 1, 1)) -> Grid:
    """A grid turned by Euler angles, with its axes permuted and flipped."""
    turn = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = (turn * np.array(signs))[:, list(order)] * np.array(spacing_mm)
    affine[:3, 3] = np.array(centre_mm) - affine[:3, :3] @ (np.array(shape) - 1) / 2
    return Grid(shape, affine)


GRID = oblique((21, 18, 16), (2.0, 3.1, 4.3), (12, -20, 33), (-40.0, 15.0, 220.0))
OTHER = oblique((17, 23, 19), (3.3, 2.2, 3.0), (-8, 14, -5), (-36.0, 12.0, 223.0), (1, 2, 0), (-1, 1, -1))


def wavy(grid: Grid, amplitude_mm: float = 3.0, length_mm: float = 25.0, seed: int = 0) -> DisplacementField:
    """A smooth field known in closed form at the voxels of any grid: its gradient stays below 1."""
    phases = np.random.default_rng(seed).uniform(0, 2 * np.pi, (3, 3))
    world = grid.world(np.moveaxis(np.indices(grid.shape), 0, -1).astype(float))
    data = [amplitude_mm * np.sin(world / length_mm + phases[axis]).sum(axis=-1) / 3 for axis in range(3)]
    return DisplacementField(np.stack(data).astype(np.float32), grid)


def itk_image(data: np.ndarray, grid: Grid, vector: bool = False) -> sitk.Image:
    axes = (2, 1, 0, 3) if vector else (2, 1, 0)
    image = sitk.GetImageFromArray(np.transpose(data, axes), isVector=vector)
    image.SetSpacing(grid.spacing_mm)
    image.SetOrigin(FLIP @ grid.affine[:3, 3])
    image.SetDirection((FLIP @ grid.directions).ravel())
    return image


def noise(grid: Grid, seed: int = 0, sigma: float = 0.0) -> np.ndarray:
    data = np.random.default_rng(seed).normal(size=grid.shape)
    return ndimage.gaussian_filter(data, sigma).astype(np.float32) if sigma else data.astype(np.float32)
