"""What each voxel of a grid is made of: the painter that turns solids into regions and their shares.

Solids are looked at front to back, as in compositing: `w_s = T·a_s`, `T ← T·(1 - a_s)`, with the coverage
`a = clip(1/2 - d/h, 0, 1)` of a solid at distance d for a sample of width h. Voxels that hold a surface are
sampled `subsamples`³ times, so that the shares are volume fractions.
"""

import math
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from nufitdose.grid import Grid
from nufitdose.phantom.shapes import INNER, OUTER, THICKNESS, Profile, Solid, distance
from nufitdose.types import Field, Labels

KEPT = 4  # regions kept in a voxel, the largest shares
_BRICK = 4
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
        sampled = [profile.sampled(_PROFILE_SAMPLES) for profile in profiles]
        return cls(
            np.array([solid.row for solid in solids]),
            np.array([solid.low_mm for solid in solids]),
            np.array([solid.high_mm for solid in solids]),
            np.array([start for start, _, _ in sampled]),
            np.array([step for _, step, _ in sampled]),
            np.array([table for _, _, table in sampled]),
        )

    @property
    def regions(self) -> int:
        """One more than the largest region number."""
        return int(max(self.rows[:, OUTER].max(), self.rows[:, INNER].max())) + 1


@dataclass(frozen=True, eq=False)
class Composition:
    """Regions of every voxel, largest share first: `regions` and `shares` are `[KEPT, i, j, k]`, shares sum to 1."""

    grid: Grid
    regions: NDArray[np.uint8]
    shares: NDArray[np.float32]

    @property
    def labels(self) -> Labels:
        """The region with the largest share."""
        return self.regions[0]

    def volumes_ml(self, regions: int) -> NDArray[np.float64]:
        """Volume of every region on this grid."""
        share = np.bincount(self.regions.ravel(), weights=self.shares.ravel(), minlength=regions)
        return np.asarray(share * self.grid.voxel_volume_ml)

    def mean(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """Σ_r share_r · values[r]."""
        table = np.asarray(values, dtype=np.float32)
        out = np.zeros(self.grid.shape, dtype=np.float32)
        for region, share in zip(self.regions, self.shares, strict=True):
            out += share * table[region]
        return out


def compose(scene: Scene, grid: Grid, pull: Field | None = None, *, subsamples: int = 2) -> Composition:
    """The regions found at `x + pull(x)` for every voxel centre x of `grid`.

    `pull` (mm, RAS+, on `grid`) leads from the patient's pose on `grid` back to the pose the scene is drawn in.
    """
    shape = np.array(grid.shape)
    regions = np.zeros((KEPT, *grid.shape), dtype=np.uint8)
    shares = np.zeros((KEPT, *grid.shape), dtype=np.float32)
    field = np.zeros((3, 1, 1, 1), dtype=np.float32) if pull is None else np.ascontiguousarray(pull)
    _paint(
        scene.rows,
        scene.low_mm,
        scene.high_mm,
        scene.starts,
        scene.steps,
        scene.tables,
        np.ascontiguousarray(grid.affine),
        shape,
        field,
        pull is not None,
        subsamples,
        scene.regions,
        regions,
        shares,
    )
    return Composition(grid, regions, shares)


@numba.njit(cache=True)
def _weigh(rows, low, high, candidates, count, x, y, z, margin, width, starts, steps, tables, factor, weights):  # type: ignore[no-untyped-def]
    """Add the point's shares to `weights`; the distance to the nearest surface that is seen."""
    transparent, nearest = 1.0, 1e9
    for n in range(count):
        m = candidates[n]
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
        share = transparent * covered
        inner = int(row[INNER])
        if inner >= 0:
            deep = d + row[THICKNESS]
            nearest = min(nearest, abs(deep))
            core = transparent * min(covered, max(0.0, 0.5 - deep / width))
            weights[inner] += factor * core
            weights[int(row[OUTER])] += factor * (share - core)
        else:
            weights[int(row[OUTER])] += factor * share
        transparent -= share
        if transparent < 1e-4:
            break
    weights[0] += factor * max(0.0, transparent)
    return nearest


@numba.njit(cache=True)
def _keep(weights, regions, shares, i, j, k):  # type: ignore[no-untyped-def]
    """Store the largest shares of a voxel, rescaled to sum to 1."""
    total = 0.0
    for slot in range(KEPT):
        best, largest = 0, 0.0
        for r in range(weights.shape[0]):
            if weights[r] > largest:
                best, largest = r, weights[r]
        if largest <= 0.0:
            break
        regions[slot, i, j, k] = best
        shares[slot, i, j, k] = largest
        total += largest
        weights[best] = 0.0
    for slot in range(KEPT):
        shares[slot, i, j, k] /= total


@numba.njit(cache=True, parallel=True)
def _paint(  # type: ignore[no-untyped-def]
    rows, low, high, starts, steps, tables, affine, shape, pull, moved, subsamples, n_regions, regions, shares
):
    ni, nj, nk = shape[0], shape[1], shape[2]
    bi, bj, bk = (ni + _BRICK - 1) // _BRICK, (nj + _BRICK - 1) // _BRICK, (nk + _BRICK - 1) // _BRICK
    spacing = 0.0
    half_diagonal = 0.0
    for axis in range(3):
        s = math.sqrt(affine[0, axis] ** 2 + affine[1, axis] ** 2 + affine[2, axis] ** 2)
        spacing += s / 3.0
        half_diagonal += 0.25 * s * s
    half_diagonal = 1.25 * math.sqrt(half_diagonal)  # room for a voxel stretched by the motion
    for brick in numba.prange(bi * bj * bk):
        i0, j0, k0 = brick // (bj * bk) * _BRICK, brick // bk % bj * _BRICK, brick % bk * _BRICK
        i1, j1, k1 = min(i0 + _BRICK, ni), min(j0 + _BRICK, nj), min(k0 + _BRICK, nk)
        points = np.empty((_BRICK, _BRICK, _BRICK, 3))
        first, last = np.full(3, 1e9), np.full(3, -1e9)
        for i in range(i0, i1):
            for j in range(j0, j1):
                for k in range(k0, k1):
                    for c in range(3):
                        p = affine[c, 0] * i + affine[c, 1] * j + affine[c, 2] * k + affine[c, 3]
                        if moved:
                            p += pull[c, i, j, k]
                        points[i - i0, j - j0, k - k0, c] = p
                        first[c] = min(first[c], p - half_diagonal)
                        last[c] = max(last[c], p + half_diagonal)
        candidates = np.empty(rows.shape[0], dtype=np.int64)
        count = 0
        for n in range(rows.shape[0] - 1, -1, -1):
            if (
                low[n, 0] < last[0]
                and low[n, 1] < last[1]
                and low[n, 2] < last[2]
                and high[n, 0] > first[0]
                and high[n, 1] > first[1]
                and high[n, 2] > first[2]
            ):
                candidates[count] = n
                count += 1
        weights = np.zeros(n_regions)
        axes = np.empty((3, 3))
        for i in range(i0, i1):
            for j in range(j0, j1):
                for k in range(k0, k1):
                    x, y, z = points[i - i0, j - j0, k - k0]
                    weights[:] = 0.0
                    nearest = _weigh(
                        rows,
                        low,
                        high,
                        candidates,
                        count,
                        x,
                        y,
                        z,
                        half_diagonal,
                        spacing,
                        starts,
                        steps,
                        tables,
                        1.0,
                        weights,
                    )
                    if nearest < half_diagonal and subsamples > 1:
                        weights[:] = 0.0
                        for axis in range(3):
                            for c in range(3):
                                axes[c, axis] = affine[c, axis]
                        if moved:
                            ia, ib = max(i - 1, 0), min(i + 1, ni - 1)
                            ja, jb = max(j - 1, 0), min(j + 1, nj - 1)
                            ka, kb = max(k - 1, 0), min(k + 1, nk - 1)
                            for c in range(3):
                                axes[c, 0] += (pull[c, ib, j, k] - pull[c, ia, j, k]) / max(ib - ia, 1)
                                axes[c, 1] += (pull[c, i, jb, k] - pull[c, i, ja, k]) / max(jb - ja, 1)
                                axes[c, 2] += (pull[c, i, j, kb] - pull[c, i, j, ka]) / max(kb - ka, 1)
                        part = 1.0 / subsamples**3
                        for a in range(subsamples):
                            u = (a + 0.5) / subsamples - 0.5
                            for b in range(subsamples):
                                v = (b + 0.5) / subsamples - 0.5
                                for c in range(subsamples):
                                    w = (c + 0.5) / subsamples - 0.5
                                    _weigh(
                                        rows,
                                        low,
                                        high,
                                        candidates,
                                        count,
                                        x + axes[0, 0] * u + axes[0, 1] * v + axes[0, 2] * w,
                                        y + axes[1, 0] * u + axes[1, 1] * v + axes[1, 2] * w,
                                        z + axes[2, 0] * u + axes[2, 1] * v + axes[2, 2] * w,
                                        0.5 * spacing / subsamples,
                                        spacing / subsamples,
                                        starts,
                                        steps,
                                        tables,
                                        part,
                                        weights,
                                    )
                    _keep(weights, regions, shares, i, j, k)
