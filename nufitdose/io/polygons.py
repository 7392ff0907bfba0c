"""Polygons on a plane of voxels, line by line, combined by even-odd.

Coordinates (u, v) are voxel indices in the plane, counted at voxel centres. Lines run along v at fixed u.
"""

from collections.abc import Sequence
from typing import no_type_check

import numpy as np

from nufitdose.compiled import compiled

_LINES = 1024  # scan lines, at least, that measure the area of a plane
_SUBLINES = 16  # scan lines that measure the share of a voxel inside


def outline(polygons: Sequence[np.ndarray]) -> np.ndarray:
    """Edges `[n, 4]` (u0, v0, u1, v1) of closed polygons, u0 < u1; an edge and its reverse come out equal."""
    starts = np.concatenate([points[:, :2] for points in polygons])
    ends = np.concatenate([np.roll(points[:, :2], -1, axis=0) for points in polygons])
    swap = starts[:, 0] > ends[:, 0]
    starts[swap], ends[swap] = ends[swap], starts[swap].copy()
    edges = np.concatenate([starts, ends], axis=1)
    return np.ascontiguousarray(edges[edges[:, 0] < edges[:, 2]])


@compiled
@no_type_check
def _crossings(edges, u, found):
    """Where the line at `u` crosses the edges, ascending in `found`; returns how many."""
    count = 0
    for n in range(edges.shape[0]):
        if edges[n, 0] <= u < edges[n, 2]:
            part = (u - edges[n, 0]) / (edges[n, 2] - edges[n, 0])
            found[count] = edges[n, 1] + part * (edges[n, 3] - edges[n, 1])
            count += 1
    found[:count].sort()
    return count


@compiled
@no_type_check
def fill(edges, plane, first_u, first_v):
    """Set the voxels of `plane` (its corner at index first_u, first_v) whose centres lie inside."""
    found = np.empty(edges.shape[0])
    for row in range(plane.shape[0]):
        count = _crossings(edges, float(row + first_u), found)
        for n in range(0, count - 1, 2):
            start = max(int(np.ceil(found[n])) - first_v, 0)
            stop = min(int(np.ceil(found[n + 1])) - first_v, plane.shape[1])
            for column in range(start, stop):
                plane[row, column] = True


@compiled
@no_type_check
def cover(edges, plane, first_u, first_v):
    """Add to every voxel of `plane` the share of its area that lies inside."""
    found = np.empty(edges.shape[0])
    for line in range(plane.shape[0] * _SUBLINES):
        row = line // _SUBLINES
        count = _crossings(edges, first_u - 0.5 + (line + 0.5) / _SUBLINES, found)
        for n in range(0, count - 1, 2):
            start = max(found[n] - first_v + 0.5, 0.0)
            stop = min(found[n + 1] - first_v + 0.5, float(plane.shape[1]))
            for column in range(int(start), min(int(np.ceil(stop)), plane.shape[1])):
                plane[row, column] += max(0.0, min(stop, column + 1.0) - max(start, float(column))) / _SUBLINES


@compiled
@no_type_check
def area(edges, low_u, high_u, low_v, high_v):
    """Even-odd area of the polygons within a rectangle: ∫ length(u) du.

    The midpoint rule between the corners of the polygons, exact where no edges cross.
    """
    if edges.shape[0] == 0:
        return 0.0
    low_u = max(low_u, edges[:, 0].min())
    high_u = min(high_u, edges[:, 2].max())
    if high_u <= low_u:
        return 0.0
    corners = np.unique(np.minimum(np.maximum(np.concatenate((edges[:, 0], edges[:, 2])), low_u), high_u))
    lines = max(2, _LINES // corners.size)
    found = np.empty(edges.shape[0])
    total = 0.0
    for part in range(corners.size - 1):
        step = (corners[part + 1] - corners[part]) / lines
        for line in range(lines):
            count = _crossings(edges, corners[part] + (line + 0.5) * step, found)
            for n in range(0, count - 1, 2):
                total += step * max(0.0, min(found[n + 1], high_v) - max(found[n], low_v))
    return total
