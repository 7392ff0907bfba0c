"""Smooth random functions of position: the unevenness of tissues, known at any point."""

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from numpy.typing import NDArray

from nufitdose.compiled import compiled, over_slabs
from nufitdose.grid import Grid
from nufitdose.types import Field, Image32

_NODES = 64
_NODES_PER_WAVE = 4.0  # of the shortest wave


@dataclass(frozen=True, eq=False)
class SmoothNoise:
    """g(x): mean 0, variance 1 at the nodes of a periodic tile, between which it is linear; waves within a band."""

    tile: NDArray[np.float32]
    spacing_mm: float

    @classmethod
    def draw(cls, random: np.random.Generator, wavelengths_mm: tuple[float, float]) -> "SmoothNoise":
        """White noise whose spectrum is kept between the wavelengths, equal power in each octave."""
        spacing = wavelengths_mm[0] / _NODES_PER_WAVE
        longest = min(wavelengths_mm[1], _NODES * spacing)
        axis = np.fft.fftfreq(_NODES, spacing)
        f = np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, : _NODES // 2 + 1] ** 2)
        band = (f >= 1.0 / longest) & (f <= 1.0 / wavelengths_mm[0])
        spectrum = np.fft.rfftn(random.standard_normal((_NODES,) * 3))
        tile = np.fft.irfftn(spectrum * band * np.maximum(f, 1e-9) ** -1.5, s=(_NODES,) * 3, axes=(0, 1, 2))
        return cls(np.asarray(tile / tile.std(), dtype=np.float32), spacing)

    def on(self, grid: Grid, pull: Field | None = None) -> Image32:
        """g at `x + pull(x)` for the voxel centres x of `grid`."""
        out = np.empty(grid.shape, dtype=np.float32)
        field = np.zeros((3, 1, 1, 1), dtype=np.float32) if pull is None else pull
        affine = np.ascontiguousarray(grid.affine)
        over_slabs(_evaluate, grid.shape[0], self.tile, self.spacing_mm, affine, field, pull is not None, out)
        return out


@compiled
@no_type_check
def _evaluate(first, last, tile, spacing, affine, pull, moved, out):
    wrap = _NODES - 1  # the size is a power of two: `& wrap` wraps, also below zero
    for i in range(first, last):
        p = np.empty(3)
        low, high = np.empty(3, dtype=np.int64), np.empty(3, dtype=np.int64)
        for j in range(out.shape[1]):
            for k in range(out.shape[2]):
                for c in range(3):
                    x = affine[c, 0] * i + affine[c, 1] * j + affine[c, 2] * k + affine[c, 3]
                    if moved:
                        x += pull[c, i, j, k]
                    x /= spacing
                    floor = np.floor(x)
                    p[c] = x - floor
                    low[c] = int(floor) & wrap
                    high[c] = (low[c] + 1) & wrap
                a = tile[low[0], low[1], low[2]] * (1 - p[2]) + tile[low[0], low[1], high[2]] * p[2]
                b = tile[low[0], high[1], low[2]] * (1 - p[2]) + tile[low[0], high[1], high[2]] * p[2]
                d = tile[high[0], low[1], low[2]] * (1 - p[2]) + tile[high[0], low[1], high[2]] * p[2]
                e = tile[high[0], high[1], low[2]] * (1 - p[2]) + tile[high[0], high[1], high[2]] * p[2]
                out[i, j, k] = (a * (1 - p[1]) + b * p[1]) * (1 - p[0]) + (d * (1 - p[1]) + e * p[1]) * p[0]
