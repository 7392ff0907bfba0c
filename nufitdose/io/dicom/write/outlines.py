"""Masks as closed contours along the edges of their voxels, which enclose just the voxels' volume.

Holes are joined to the outline around them by a line of no width (keyhole, PS3.3 C.8.8.6.3), so that programs which
fill every contour and those which go by even-odd find the same voxels.
"""

from collections.abc import Iterator

import numpy as np

Ring = list[tuple[int, int]]


def outlines(plane: np.ndarray) -> Iterator[np.ndarray]:
    """Closed polygons `[points, 2]` around the True voxels of a plane, in indices counted at voxel centres."""
    rings = [ring for ring in _rings(plane) if len(ring) > 2]
    outer = [ring for ring in rings if _area(ring) > 0]
    for hole in sorted((ring for ring in rings if _area(ring) <= 0), key=min):
        _join(hole, outer)
    for ring in outer:
        yield np.array(ring, dtype=np.float64) - 0.5


def _area(ring: Ring) -> float:
    i, j = np.array(ring).T
    return float(i @ np.roll(j, -1) - j @ np.roll(i, -1)) / 2.0


def _join(hole: Ring, outer: list[Ring]) -> None:
    """Splice a hole into the ring that a line from its first corner towards smaller i meets first."""
    start = hole.index(min(hole))
    hi, hj = hole[start]
    best: tuple[int, int, int] | None = None
    for number, ring in enumerate(outer):
        a = np.array(ring)
        b = np.roll(a, -1, axis=0)
        low, high = np.minimum(a, b), np.maximum(a, b)
        meets = (low[:, 1] <= hj) & (high[:, 1] >= hj) & (low[:, 0] <= hi)
        if meets.any():
            at = np.where(meets, np.minimum(high[:, 0], hi), -1)
            edge = int(at.argmax())
            if best is None or at[edge] > best[0]:
                best = int(at[edge]), number, edge
    if best is None:  # no ring around it: its area was zero
        return
    i, number, edge = best
    ring = outer[number]
    around = [*hole[start:], *hole[:start], hole[start]]
    outer[number] = [*ring[: edge + 1], (i, hj), *around, (i, hj), *ring[edge + 1 :]]


def _rings(plane: np.ndarray) -> Iterator[Ring]:
    """Corners (i, j) of the closed lines between True and False, True on their left: outlines and holes."""
    padded = np.pad(plane, 1)
    following: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for (di, dj), (ai, aj), (bi, bj) in (
        ((-1, 0), (0, 1), (0, 0)),
        ((1, 0), (1, 0), (1, 1)),
        ((0, -1), (0, 0), (1, 0)),
        ((0, 1), (1, 1), (0, 1)),
    ):
        edge = padded[1:-1, 1:-1] & ~padded[1 + di : padded.shape[0] - 1 + di, 1 + dj : padded.shape[1] - 1 + dj]
        for i, j in np.argwhere(edge).tolist():
            following.setdefault((i + ai, j + aj), []).append((i + bi, j + bj))
    while following:
        start = next((corner for corner, ways in following.items() if len(ways) == 1), next(iter(following)))
        ring, corner = [start], start
        while True:
            corner = _next(ring, following)
            if corner == start:
                break
            ring.append(corner)
        yield _turns(ring)


def _next(ring: Ring, following: dict[tuple[int, int], list[tuple[int, int]]]) -> tuple[int, int]:
    """The next corner; where two ways part (voxels that touch at a corner) the one that keeps to the same voxel."""
    here = ring[-1]
    ways = following[here]
    chosen = 0
    if len(ways) > 1 and len(ring) > 1:
        came = np.subtract(here, ring[-2])
        left = (-came[1], came[0])
        chosen = next((n for n, way in enumerate(ways) if tuple(np.subtract(way, here)) == left), 0)
    found = ways.pop(chosen)
    if not ways:
        del following[here]
    return found


def _turns(ring: Ring) -> Ring:
    """The corners at which the line turns."""
    points = np.array(ring)
    turns = np.any(np.roll(points, -1, axis=0) - points != points - np.roll(points, 1, axis=0), axis=1)
    return [(int(i), int(j)) for i, j in points[turns]]
