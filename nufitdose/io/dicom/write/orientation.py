"""Volumes along the axes that DICOM images have: rows towards L, columns towards P, slices towards S."""

import logging
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from nufitdose.grid import Grid
from nufitdose.io.lps import RAS_LPS
from nufitdose.volume import Volume

_log = logging.getLogger(__name__)
_UPRIGHT = 1e-4  # of a cosine
_CELL_MM = 1.5  # half of it is how far interpolation reaches; finer ones make files of 100 MB and more
_MOST_CELLS = 2**25  # 64 MiB of 16 bits


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


def in_cells(volume: Volume) -> Volume:
    """The voxels cut into equal cells of at most 1.5 mm, rows along L and columns along P exactly, each as its voxel.

    Programs that read a dose interpolate between its points. Over voxels of several mm that takes from a hot structure
    and gives to its neighbours; over cells it reaches half a cell. Cells are larger where there would be more than
    2^25. An oblique grid is covered by cells along the patient, which hold the voxel that their centre lies in and 0
    outside, with a warning.
    """
    volume = towards_lps(volume)
    grid = volume.grid
    if np.abs(RAS_LPS[:3, :3] @ grid.directions - np.eye(3)).max() < _UPRIGHT:
        a, b, c = (int(n) for n in _cuts(grid))
        affine = np.array(grid.affine)
        affine[:3, :3] /= (a, b, c)
        affine[:3, 3] = grid.world(np.array([0.5 / a, 0.5 / b, 0.5 / c]) - 0.5)
        data = volume.data.repeat(a, axis=0).repeat(b, axis=1).repeat(c, axis=2)
        return Volume(data, Grid(data.shape, affine), volume.quantity)
    _log.warning(
        "the dose grid is oblique: RTDOSE is laid out along the patient, each cell as the voxel that it lies in"
    )
    return _looked_up(volume, _upright_cover(grid, np.array(grid.spacing_mm) / _cuts(grid)))


def _cuts(grid: Grid) -> NDArray[np.int64]:
    """Into how many cells a voxel is cut along each axis."""
    largest_mm = _CELL_MM
    while True:
        cuts = np.ceil(np.array(grid.spacing_mm) / largest_mm - 1e-6).astype(np.int64)
        if grid.size * int(cuts.prod()) <= _MOST_CELLS or cuts.max() == 1:
            return np.asarray(cuts)
        largest_mm *= 1.1


def _upright_cover(grid: Grid, sides_mm: NDArray[np.float64]) -> Grid:
    """A grid along L, P, S over all of another."""
    corners = np.array(list(product(*((-0.5, n - 0.5) for n in grid.shape))))
    edges = grid.world(corners) @ RAS_LPS[:3, :3]
    low, high = edges.min(axis=0), edges.max(axis=0)
    a, b, c = (int(n) for n in np.ceil((high - low) / sides_mm - 1e-6))
    affine = np.diag([*sides_mm, 1.0])
    affine[:3, 3] = (low + high - sides_mm * (np.array([a, b, c]) - 1)) / 2.0
    return Grid((a, b, c), RAS_LPS @ affine)


def _looked_up(volume: Volume, onto: Grid) -> Volume:
    """At each point the value of the voxel that it lies in, 0 outside; slice by slice."""
    data = np.zeros(onto.shape, dtype=volume.data.dtype)
    plane = np.stack(np.meshgrid(np.arange(onto.shape[0]), np.arange(onto.shape[1]), indexing="ij"), -1).reshape(-1, 2)
    for k in range(onto.shape[2]):
        points = onto.world(np.column_stack([plane, np.full(len(plane), k)]).astype(np.float64))
        index = np.floor(volume.grid.index(points) + 0.5).astype(np.int64)
        within = ((index >= 0) & (index < np.array(volume.grid.shape))).all(axis=1)
        found = np.zeros(len(plane), dtype=volume.data.dtype)
        found[within] = volume.data[tuple(index[within].T)]
        data[:, :, k] = found.reshape(onto.shape[:2])
    return Volume(data, onto, volume.quantity)
