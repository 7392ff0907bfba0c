"""How much of the primary photons real tissue lets through, compared with water of one density: compiled rays.

Sources are a few hundred points of equal activity, so that hot organs have many; a point stands for what lies within
some centimetres of it, so its distance is bounded below.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, untyped-decorator"

from typing import no_type_check

import numpy as np
from jaxtyping import Float, Float32
from numpy import ndarray

from nufitdose.compiled import compiled, over_slabs
from nufitdose.types import F64

POINTS = 256
_SOFT_CM = 2.0  # distances are not taken below this
_AIR_G_ML = 0.05  # voxels of less water take no dose and scatter nothing: their share is left at one


def source_points(activity: Float32[ndarray, "nx ny nz"]) -> F64:
    """Voxel indices of points of equal activity, in the order of the voxels: every (total / POINTS)-th becquerel's."""
    flat = np.cumsum(activity.ravel(), dtype=float)
    wanted = (np.arange(POINTS) + 0.5) / POINTS * flat[-1]
    return np.stack(np.unravel_index(np.searchsorted(flat, wanted), activity.shape), axis=1).astype(float)


def passed_share(
    points: F64,
    water_g_ml: Float32[ndarray, "nx ny nz"],
    density_g_ml: float,
    sides_cm: F64,
    passed: Float[ndarray, " paths"],
    step_g_cm2: float,
) -> Float32[ndarray, "nx ny nz"]:
    """Σ_p T(w_p)/r² over Σ_p T(ρ r)/r², w_p the water-equivalent path to point p through `water_g_ml`.

    `passed` is T, what primary photons give behind so much water, on an even grid of `step_g_cm2`.
    """
    share = np.ones(water_g_ml.shape, np.float32)
    per_g_cm2 = 1.0 / step_g_cm2
    over_slabs(_share, water_g_ml.shape[0], points, water_g_ml, density_g_ml, sides_cm, passed, per_g_cm2, share)
    return share


@compiled
@no_type_check
def _through(path, passed, per_g_cm2):
    """T of a path."""
    place = min(path * per_g_cm2, passed.shape[0] - 1.001)
    lower = int(place)
    return passed[lower] + (place - lower) * (passed[lower + 1] - passed[lower])


@compiled
@no_type_check
def _share(first, last, points, water, density, sides, passed, per_g_cm2, share):
    ny, nz = water.shape[1:]
    soft = _SOFT_CM * _SOFT_CM
    for i in range(first, last):
        for j in range(ny):
            for k in range(nz):
                if water[i, j, k] < _AIR_G_ML:
                    continue
                real, even = 0.0, 0.0
                for p in range(points.shape[0]):
                    a, b, c = points[p, 0] - i, points[p, 1] - j, points[p, 2] - k
                    r2 = (a * sides[0]) ** 2 + (b * sides[1]) ** 2 + (c * sides[2]) ** 2
                    steps = max(int(np.ceil(max(abs(a), abs(b), abs(c)))), 1)
                    mass = 0.0
                    for step in range(steps):
                        t = (step + 0.5) / steps
                        x, y, z = i + t * a + 0.5, j + t * b + 0.5, k + t * c + 0.5
                        mass += water[np.uint64(x), np.uint64(y), np.uint64(z)]
                    r = np.sqrt(r2)
                    weight = 1.0 / (r2 + soft)
                    real += weight * _through(mass / steps * r, passed, per_g_cm2)
                    even += weight * _through(density * r, passed, per_g_cm2)
                share[i, j, k] = real / even if even > 0.0 else 1.0
