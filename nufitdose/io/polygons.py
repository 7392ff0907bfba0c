"""Polygons on a plane of voxels, line by line, combined by even-odd.

Coordinates (u, v) are voxel indices in the plane, counted at voxel centres. Lines run along v at fixed u.
"""

from collections.abc import Sequence
from typing import no_type_check

import numpy as np

from nufitdose.compiled import compiled

_LINES = 1024  # scan lines, at least, that measure the area of a plane
_MOST_CORNERS = 8192  # of a plane that are taken one by one: contours of people have hundreds
_SUBLINES = 16  # scan lines that measure the share of a voxel inside


def outline(polygons: Sequence[np.ndarray]) -> np.ndarray:
    """Edges `[n, 4]` (u0, v0, u1, v1) of closed polygons, u0 < u1, in order of u0; an edge equals its reverse."""
    starts = np.concatenate([points[:, :2] for points in polygons])
    ends = np.concatenate([np.roll(points[:, :2], -1, axis=0) for points in polygons])
    swap = starts[:, 0] > ends[:, 0]
    starts[swap], ends[swap] = ends[swap], starts[swap].copy()
    edges = np.concatenate([starts, ends], axis=1)
    edges = edges[edges[:, 0] < edges[:, 2]]
    return np.ascontiguousarray(edges[np.argsort(edges[:, 0], kind="stable")])


@compiled
@no_type_check
def _enter(edges, u, entered, active, alive):
    """Bring `active`, the edges that the line at `u` crosses, up to date; returns how many entered and are in it.

    `edges` ascend in u0, and lines come in ascending u.
    """
    kept = 0
    for n in range(alive):
        if edges[active[n], 2] > u:
            active[kept] = active[n]
            kept += 1
    while entered < edges.shape[0] and edges[entered, 0] <= u:
        if edges[entered, 2] > u:
            active[kept] = entered
            kept += 1
        entered += 1
    return entered, kept


@compiled
@no_type_check
def _crossings(edges, active, alive, u, found):
    """Where the line at `u` crosses the active edges, ascending in `found`; returns how many."""
    for n in range(alive):
        edge = active[n]
        part = (u - edges[edge, 0]) / (edges[edge, 2] - edges[edge, 0])
        found[n] = edges[edge, 1] + part * (edges[edge, 3] - edges[edge, 1])
    found[:alive].sort()
    return alive


@compiled
@no_type_check
def fill(edges, plane, first_u, first_v):
    """Set the voxels of `plane` (its corner at index first_u, first_v) whose centres lie inside."""
    found, active = np.empty(edges.shape[0]), np.empty(edges.shape[0], dtype=np.int64)
    entered = alive = 0
    for row in range(plane.shape[0]):
        u = float(row + first_u)
        entered, alive = _enter(edges, u, entered, active, alive)
        count = _crossings(edges, active, alive, u, found)
        for n in range(0, count - 1, 2):
            start = max(int(np.ceil(found[n])) - first_v, 0)
            stop = min(int(np.ceil(found[n + 1])) - first_v, plane.shape[1])
            for column in range(start, stop):
                plane[row, column] = True


@compiled
@no_type_check
def cover(edges, plane, first_u, first_v):
    """Add to every voxel of `plane` the share of its area that lies inside."""
    found, active = np.empty(edges.shape[0]), np.empty(edges.shape[0], dtype=np.int64)
    entered = alive = 0
    for line in range(plane.shape[0] * _SUBLINES):
        row = line // _SUBLINES
        u = first_u - 0.5 + (line + 0.5) / _SUBLINES
        entered, alive = _enter(edges, u, entered, active, alive)
        count = _crossings(edges, active, alive, u, found)
        for n in range(0, count - 1, 2):
            start = max(found[n] - first_v + 0.5, 0.0)
            stop = min(found[n + 1] - first_v + 0.5, float(plane.shape[1]))
            for column in range(int(start), min(int(np.ceil(stop)), plane.shape[1])):
                plane[row, column] += max(0.0, min(stop, column + 1.0) - max(start, float(column))) / _SUBLINES


@compiled
@no_type_check
def area(edges, low_u, high_u, low_v, high_v):
    """Even-odd area of the polygons within a rectangle: ∫ length(u) du.

    The midpoint rule between the corners of the polygons, exact where no edges cross; between even lines where the
    corners are more than 8192, off by less than one part in that of the extent.
    """
    if edges.shape[0] == 0:
        return 0.0
    low_u = max(low_u, edges[:, 0].min())
    high_u = min(high_u, edges[:, 2].max())
    if high_u <= low_u:
        return 0.0
    corners = np.unique(np.minimum(np.maximum(np.concatenate((edges[:, 0], edges[:, 2])), low_u), high_u))
    if corners.size > _MOST_CORNERS:
        corners = np.linspace(low_u, high_u, _MOST_CORNERS)
    lines = max(2, _LINES // corners.size)
    found, active = np.empty(edges.shape[0]), np.empty(edges.shape[0], dtype=np.int64)
    entered = alive = 0
    total = 0.0
    for part in range(corners.size - 1):
        step = (corners[part + 1] - corners[part]) / lines
        for line in range(lines):
            u = corners[part] + (line + 0.5) * step
            entered, alive = _enter(edges, u, entered, active, alive)
            count = _crossings(edges, active, alive, u, found)
            for n in range(0, count - 1, 2):
                total += step * max(0.0, min(found[n + 1], high_v) - max(found[n], low_v))
    return total
