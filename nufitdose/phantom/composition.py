"""What each voxel of a grid is made of: the painter that turns solids into compartments and their shares.

Solids are looked at front to back, as in compositing: `w_s = T·a_s`, `T ← T·(1 - a_s)`, with the coverage
`a = clip(1/2 - d/h, 0, 1)` of a solid at distance d for a sample of width h. Voxels that hold a surface are
sampled `subsamples`³ times, so that the shares are volume fractions.
"""

import math
from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from numpy.typing import NDArray

from nufitdose.compiled import compiled, inlined, over_slabs
from nufitdose.grid import Grid
from nufitdose.phantom.bounds import distance_bounds
from nufitdose.phantom.shapes import INNER, OUTER, THICKNESS, Profile, Solid, distance
from nufitdose.types import Field, Labels

KEPT = 4  # compartments kept in a voxel, the largest shares
_BRICK = 4
_STRETCH = 1.25  # how much longer motion may make a voxel
NO_MOTION = np.zeros((3, 1, 1, 1), dtype=np.float32)  # stands for no motion
_PROFILE_SAMPLES = 256


@dataclass(frozen=True, eq=False)
class Scene:
    """Solids in painting order (the last in front) as arrays the compiled painter reads."""

    rows: NDArray[np.float64]
    low_mm: NDArray[np.float64]
    high_mm: NDArray[np.float64]
    starts: NDArray[np.float64]
    steps: NDArray[np.float64]
    tables: NDArray[np.float64]

    @classmethod
    def of(cls, solids: list[Solid], profiles: list[Profile]) -> "Scene":
        """A scene of solids; lofts name their profile by its place in `profiles`."""
        sampled = [profile.sample(_PROFILE_SAMPLES) for profile in profiles]
        return cls(
            np.array([solid.row for solid in solids]),
            np.array([solid.low_mm for solid in solids]),
            np.array([solid.high_mm for solid in solids]),
            np.array([start for start, _, _ in sampled]),
            np.array([step for _, step, _ in sampled]),
            np.array([table for _, _, table in sampled]),
        )

    @property
    def compartments(self) -> int:
        """One more than the largest compartment number."""
        return int(max(self.rows[:, OUTER].max(), self.rows[:, INNER].max())) + 1


@dataclass(frozen=True, eq=False)
class Composition:
    """What every voxel holds, largest share first: `compartments`, `shares` `[KEPT, i, j, k]`, shares sum to 1."""

    grid: Grid
    compartments: NDArray[np.uint8]
    shares: NDArray[np.float32]

    @property
    def labels(self) -> Labels:
        """The compartment with the largest share."""
        return self.compartments[0]

    def volumes_ml(self, compartments: int) -> NDArray[np.float64]:
        """Volume of every compartment on this grid."""
        share = np.bincount(self.compartments.ravel(), weights=self.shares.ravel(), minlength=compartments)
        return np.asarray(share * self.grid.voxel_volume_ml)

    def mean(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """Σ_r share_r · values[r]."""
        out = np.empty(self.grid.shape, dtype=np.float32)
        over_slabs(_mean, self.grid.shape[0], self.compartments, self.shares, np.asarray(values, dtype=np.float32), out)
        return out


def compose(scene: Scene, grid: Grid, pull: Field | None = None, *, subsamples: int = 2) -> Composition:
    """The compartments found at `x + pull(x)` for every voxel centre x of `grid`.

    `pull` (mm, RAS+, on `grid`) leads from the patient's pose on `grid` back to the pose the scene is drawn in.
    """
    compartments = np.zeros((KEPT, *grid.shape), dtype=np.uint8)
    shares = np.zeros((KEPT, *grid.shape), dtype=np.float32)
    solids = (scene.rows, scene.low_mm, scene.high_mm, scene.starts, scene.steps, scene.tables)
    field = NO_MOTION if pull is None else np.ascontiguousarray(pull)
    spacing = float(np.mean(grid.spacing_mm))
    reach = _STRETCH * 0.5 * float(np.linalg.norm(grid.spacing_mm))
    affine = np.ascontiguousarray(grid.affine)
    bricks = math.prod(-(-n // _BRICK) for n in grid.shape)
    over_slabs(
        _paint, bricks, solids, affine, field, spacing, reach, subsamples, scene.compartments, compartments, shares
    )
    return Composition(grid, compartments, shares)


@compiled
@no_type_check
def _mean(first, last, compartments, shares, values, out):
    for i in range(first, last):
        for j in range(out.shape[1]):
            for k in range(out.shape[2]):
                total = np.float32(0.0)
                for slot in range(compartments.shape[0]):
                    total += shares[slot, i, j, k] * values[compartments[slot, i, j, k]]
                out[i, j, k] = total


@inlined
@no_type_check
def add_share(weights, touched, compartment, share):
    """Add a share to a compartment; `touched` lists the compartments with a share, their number first."""
    if weights[compartment] == 0.0:
        touched[0] += 1
        touched[touched[0]] = compartment
    weights[compartment] += share


@compiled
@no_type_check
def _weigh(solids, candidates, x, y, z, margin, width, factor, weights, touched):
    """Add the shares of a sample of `width` mm; returns the distance to the nearest surface that is seen."""
    rows, low, high, starts, steps, tables = solids
    transparent, nearest = 1.0, 1e9
    for m in candidates:
        if (
            x < low[m, 0] - margin
            or y < low[m, 1] - margin
            or z < low[m, 2] - margin
            or x > high[m, 0] + margin
            or y > high[m, 1] + margin
            or z > high[m, 2] + margin
        ):
            continue
        row = rows[m]
        d = distance(row, x, y, z, starts, steps, tables)
        nearest = min(nearest, abs(d))
        covered = min(1.0, max(0.0, 0.5 - d / width))
        if covered <= 0.0:
            continue
        share, core, inner = transparent * covered, 0.0, int(row[INNER])
        if inner >= 0:
            deep = d + row[THICKNESS]
            nearest = min(nearest, abs(deep))
            core = transparent * min(covered, max(0.0, 0.5 - deep / width))
            if core > 0.0:
                add_share(weights, touched, inner, factor * core)
        if share > core:
            add_share(weights, touched, int(row[OUTER]), factor * (share - core))
        transparent -= share
        if transparent < 1e-4:
            return nearest
    add_share(weights, touched, 0, factor * transparent)
    return nearest


@compiled
@no_type_check
def keep_largest(weights, touched, compartments, shares, i, j, k):
    """Store the largest shares of a voxel, rescaled to sum to 1, and empty `weights` and `touched`."""
    total = 0.0
    for slot in range(min(KEPT, touched[0])):
        best, largest = 0, -1.0
        for n in range(1, touched[0] + 1):
            if weights[touched[n]] > largest:
                best, largest = touched[n], weights[touched[n]]
        compartments[slot, i, j, k] = best
        shares[slot, i, j, k] = largest
        total += largest
        weights[best] = -1.0
    for slot in range(KEPT):
        shares[slot, i, j, k] /= total
    _clear(weights, touched)


@inlined
@no_type_check
def _clear(weights, touched):
    for n in range(1, touched[0] + 1):
        weights[touched[n]] = 0.0
    touched[0] = 0


@compiled
@no_type_check
def look_back(affine, pull, i, j, k, point):
    """The resting position of a voxel centre."""
    for c in range(3):
        point[c] = affine[c, 0] * i + affine[c, 1] * j + affine[c, 2] * k + affine[c, 3]
        if pull.shape[1] > 1:
            point[c] += pull[c, i, j, k]


@compiled
@no_type_check
def voxel_axes(affine, pull, i, j, k, axes):
    """The resting extent of a voxel along i, j, k: columns, mm."""
    axes[:, :] = affine[:3, :3]
    if pull.shape[1] == 1:
        return
    ia, ja, ka = max(i - 1, 0), max(j - 1, 0), max(k - 1, 0)
    ib, jb, kb = min(i + 1, pull.shape[1] - 1), min(j + 1, pull.shape[2] - 1), min(k + 1, pull.shape[3] - 1)
    for c in range(3):
        axes[c, 0] += (pull[c, ib, j, k] - pull[c, ia, j, k]) / max(ib - ia, 1)
        axes[c, 1] += (pull[c, i, jb, k] - pull[c, i, ja, k]) / max(jb - ja, 1)
        axes[c, 2] += (pull[c, i, j, kb] - pull[c, i, j, ka]) / max(kb - ka, 1)


@compiled
@no_type_check
def _candidates(solids, among, first, last, radius, reach, found):
    """Those of `among` within `reach` of a ball in the box from `first` to `last`, to `found`; how many, and of what.

    The compartment is -1 unless it alone fills the ball. Behind a solid that covers the ball nothing is seen.
    """
    rows, low, high = solids[:3]
    x, y, z = 0.5 * (first[0] + last[0]), 0.5 * (first[1] + last[1]), 0.5 * (first[2] + last[2])
    count = 0
    for n in among:
        if low[n, 2] > last[2] or high[n, 2] < first[2] or low[n, 0] > last[0] or high[n, 0] < first[0]:
            continue
        if low[n, 1] > last[1] or high[n, 1] < first[1]:
            continue
        row = rows[n]
        nearest, farthest = distance_bounds(row, x, y, z, radius, *solids[3:])
        if nearest > reach:
            continue
        found[count] = n
        count += 1
        if farthest < -reach:
            if count > 1 or (row[INNER] >= 0 and farthest + row[THICKNESS] > -reach):
                return count, -1
            return count, int(row[INNER] if row[INNER] >= 0 else row[OUTER])
    return count, -1 if count else 0


@compiled
@no_type_check
def _sample(solids, candidates, point, axes, subsamples, width, weights, touched):
    """Add the shares of a voxel from `subsamples`³ points in it."""
    factor = 1.0 / subsamples**3
    for a in range(subsamples):
        u = (a + 0.5) / subsamples - 0.5
        for b in range(subsamples):
            v = (b + 0.5) / subsamples - 0.5
            for c in range(subsamples):
                w = (c + 0.5) / subsamples - 0.5
                x = point[0] + axes[0, 0] * u + axes[0, 1] * v + axes[0, 2] * w
                y = point[1] + axes[1, 0] * u + axes[1, 1] * v + axes[1, 2] * w
                z = point[2] + axes[2, 0] * u + axes[2, 1] * v + axes[2, 2] * w
                _weigh(solids, candidates, x, y, z, 0.5 * width, width, factor, weights, touched)


@compiled
@no_type_check
def _paint(
    first_brick, last_brick, solids, affine, pull, spacing, reach, subsamples, n_compartments, compartments, shares
):
    """Bricks of 4³ voxels: few solids come near one. `reach` is half a voxel's diagonal with room for stretching."""
    _, ni, nj, nk = compartments.shape
    bj, bk = (nj + _BRICK - 1) // _BRICK, (nk + _BRICK - 1) // _BRICK
    points, axes = np.empty((_BRICK, _BRICK, _BRICK, 3)), np.empty((3, 3))
    first, last = np.empty(3), np.empty(3)
    weights, touched = np.zeros(n_compartments), np.zeros(n_compartments + 1, dtype=np.int64)
    front_to_back = np.arange(len(solids[0]))[::-1].copy()
    found, seen = np.empty_like(front_to_back), np.empty_like(front_to_back)
    for brick in range(first_brick, last_brick):
        i0, j0, k0 = brick // (bj * bk) * _BRICK, brick // bk % bj * _BRICK, brick % bk * _BRICK
        first[:], last[:] = 1e9, -1e9
        for i in range(i0, min(i0 + _BRICK, ni)):
            for j in range(j0, min(j0 + _BRICK, nj)):
                for k in range(k0, min(k0 + _BRICK, nk)):
                    point = points[i - i0, j - j0, k - k0]
                    look_back(affine, pull, i, j, k, point)
                    for c in range(3):
                        first[c], last[c] = min(first[c], point[c] - reach), max(last[c], point[c] + reach)
        radius = 0.5 * math.sqrt((last[0] - first[0]) ** 2 + (last[1] - first[1]) ** 2 + (last[2] - first[2]) ** 2)
        count, compartment = _candidates(solids, front_to_back, first, last, radius, reach, found)
        if compartment >= 0:
            compartments[0, i0 : i0 + _BRICK, j0 : j0 + _BRICK, k0 : k0 + _BRICK] = compartment
            shares[0, i0 : i0 + _BRICK, j0 : j0 + _BRICK, k0 : k0 + _BRICK] = 1.0
            continue
        candidates = found[:count]
        for i in range(i0, min(i0 + _BRICK, ni)):
            for j in range(j0, min(j0 + _BRICK, nj)):
                for k in range(k0, min(k0 + _BRICK, nk)):
                    point = points[i - i0, j - j0, k - k0]
                    x, y, z = point
                    nearest = _weigh(solids, candidates, x, y, z, reach, spacing, 1.0, weights, touched)
                    if nearest < reach and subsamples > 1:
                        _clear(weights, touched)
                        voxel_axes(affine, pull, i, j, k, axes)
                        for c in range(3):
                            first[c], last[c] = point[c] - reach, point[c] + reach
                        width = spacing / subsamples
                        count, compartment = _candidates(solids, candidates, first, last, reach, 0.5 * width, seen)
                        _sample(solids, seen[:count], point, axes, subsamples, width, weights, touched)
                    keep_largest(weights, touched, compartments, shares, i, j, k)
