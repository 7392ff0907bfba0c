"""Smooth random functions of position: the unevenness of tissues, known at any point without a grid."""

import math
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from nufitdose.grid import Grid
from nufitdose.types import Field, Image32


@dataclass(frozen=True, eq=False)
class SmoothNoise:
    """g(x) = sqrt(2/K) Σ_k cos(q_k·x + φ_k): mean 0, variance 1, wavelengths 2π/|q_k| within a range."""

    waves: NDArray[np.float64]  # [K, 4]: q (rad/mm) and phase

    @classmethod
    def draw(cls, random: np.random.Generator, wavelengths_mm: tuple[float, float], terms: int = 14) -> "SmoothNoise":
        """Random directions and phases; wavelengths log-uniform in the range."""
        direction = random.normal(size=(terms, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        length = np.exp(random.uniform(math.log(wavelengths_mm[0]), math.log(wavelengths_mm[1]), (terms, 1)))
        return cls(np.hstack([direction * 2 * np.pi / length, random.uniform(0, 2 * np.pi, (terms, 1))]))

    def on(self, grid: Grid, pull: Field | None = None) -> Image32:
        """g at `x + pull(x)` for the voxel centres x of `grid`."""
        out = np.empty(grid.shape, dtype=np.float32)
        field = np.zeros((3, 1, 1, 1), dtype=np.float32) if pull is None else pull
        _evaluate(self.waves, np.ascontiguousarray(grid.affine), field, pull is not None, out)
        return out


@numba.njit(cache=True, parallel=True, fastmath=True)
def _evaluate(waves, affine, pull, moved, out):  # type: ignore[no-untyped-def]
    scale = np.sqrt(2.0 / waves.shape[0])
    for i in numba.prange(out.shape[0]):
        for j in range(out.shape[1]):
            for k in range(out.shape[2]):
                x = affine[0, 0] * i + affine[0, 1] * j + affine[0, 2] * k + affine[0, 3]
                y = affine[1, 0] * i + affine[1, 1] * j + affine[1, 2] * k + affine[1, 3]
                z = affine[2, 0] * i + affine[2, 1] * j + affine[2, 2] * k + affine[2, 3]
                if moved:
                    x, y, z = x + pull[0, i, j, k], y + pull[1, i, j, k], z + pull[2, i, j, k]
                total = 0.0
                for n in range(waves.shape[0]):
                    total += np.cos(waves[n, 0] * x + waves[n, 1] * y + waves[n, 2] * z + waves[n, 3])
                out[i, j, k] = scale * total
