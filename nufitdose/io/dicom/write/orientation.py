"""Volumes along the axes that DICOM images have: rows towards L, columns towards P, slices towards S."""

import logging
from itertools import permutations, product

import numpy as np

from nufitdose.grid import Grid
from nufitdose.io.lps import RAS_LPS
from nufitdose.volume import Volume

_log = logging.getLogger(__name__)
_UPRIGHT = 1e-4  # of a cosine


def towards_lps(volume: Volume) -> Volume:
    """The same voxels with axes in another order and direction: nearest to L, P, S. Nothing is resampled."""
    directions = RAS_LPS[:3, :3] @ volume.grid.directions
    order = max(permutations(range(3)), key=lambda axes: sum(abs(directions[n, axes[n]]) for n in range(3)))
    data, affine = volume.data.transpose(order), np.array(volume.grid.affine)
    affine[:, :3] = affine[:, list(order)]
    for axis in range(3):
        if directions[axis, order[axis]] < 0:
            data = np.flip(data, axis)
            affine[:3, 3] += affine[:3, axis] * (data.shape[axis] - 1)
            affine[:3, axis] *= -1.0
    return Volume(np.ascontiguousarray(data), Grid(data.shape, affine), volume.quantity)


def upright(volume: Volume) -> Volume:
    """The volume with rows along L and columns along P exactly, as treatment planning systems want doses.

    An oblique grid is resampled, with a warning, onto one over all of it whose spacing is that of its nearest axes.
    """
    volume = towards_lps(volume)
    directions = RAS_LPS[:3, :3] @ volume.grid.directions
    if np.abs(directions - np.eye(3)).max() < _UPRIGHT:
        return volume
    _log.warning("the dose grid is oblique: RTDOSE is resampled to axes along the patient; dose.nii.gz is not")
    spacing = np.array(volume.grid.spacing_mm)
    corners = np.array(list(product(*((-0.5, n - 0.5) for n in volume.grid.shape))))
    edges = volume.grid.world(corners) @ RAS_LPS[:3, :3]
    low, high = edges.min(axis=0), edges.max(axis=0)
    a, b, c = (int(n) for n in np.ceil((high - low) / spacing - 1e-6))
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (low + high - spacing * (np.array([a, b, c]) - 1)) / 2.0
    return volume.resampled_to(Grid((a, b, c), RAS_LPS @ affine))
