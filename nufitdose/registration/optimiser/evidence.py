"""What is known at every node of the lattice once a pair was optimised: the field's shape, what images ask, both scans.

The optimiser weighs the images against one penalty for all bodies. How what it finds departs from the true motion can
be learned from patients whose motion is known, from what is left at a node.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32
from scipy import ndimage

from nufitdose.registration.optimiser.correlation import HalfField, HalfImage, NodeSystem, compare
from nufitdose.registration.optimiser.images import Level
from nufitdose.registration.optimiser.warping import warp_images
from nufitdose.types import Image32

Evidence = Float32[np.ndarray, "evidence half_i half_j half_k"]

_AROUND_MM = (20.0, 50.0)  # Gaussians, beside whose mean the displacement is told
_STEEP = 10.0  # differences of a displacement are of order 1/10
_APART = 4.0  # and scans are apart by 1/4
_DAMPING = 0.1  # of the step that images ask for, in parts of their mean bend
_VECTOR = [(0,), (1,), (2,)]
_BEND = [(), (), (), (0, 1), (0, 2), (1, 2)]
_TENSOR = [() if c == d else (c, d) for c in range(3) for d in range(3)]
_SCAN = [(), (), *_VECTOR, *_VECTOR, ()]
#: The axes along each of whose mirrors a number changes its sign.
ODD_ALONG = [*_VECTOR, *_VECTOR, *_TENSOR, *_VECTOR, *_BEND, *_SCAN, *_SCAN, (), (), ()]


def evidence_of(level: Level, misfit: float, u: HalfField) -> Evidence:
    """All that is told of a pair of scans with CT at a displacement (voxels, half lattice), numbers of order 1.

    The displacement (mm) less its mean over two distances, its differences, the step that images ask for at the node,
    their bend; of CT and √activity of both scans mean and differences, and how far they are apart; body, stiffness,
    bone.
    """
    told = np.empty((len(ODD_ALONG), *u.shape[1:]), np.float32)
    for place, numbers in zip(told, _numbers(level, misfit, u), strict=True):
        place[...] = numbers
    return told


def _numbers(level: Level, misfit: float, u: HalfField) -> Iterator[HalfImage]:
    """One after the other, that they are not all held twice."""
    warped = np.empty_like(level.fixed)
    warp_images(level.moving, u, level.where, warped)
    voxel_mm = level.node_mm / 2.0
    yield from _shape(u * np.float32(voxel_mm), level.node_mm)
    yield from _asked(compare(level.fixed, warped, level.weights, level.floors, misfit)[1], voxel_mm)
    for fixed, moving in zip(level.fixed[:2], warped[:2], strict=True):
        f, m = pooled(fixed), pooled(moving)
        yield from (f, m, *_differences(f), *_differences(m), _APART * np.sqrt(pooled((fixed - moving) ** 2)))
    yield from (pooled(level.fixed[-1]), np.log(level.stiffness), level.bone)


def pooled(image: Image32) -> HalfImage:
    """Means over the 2³ voxels of every node."""
    i, j, k = (n // 2 for n in image.shape)
    return image[: 2 * i, : 2 * j, : 2 * k].reshape(i, 2, j, 2, k, 2).mean(axis=(1, 3, 5))


def _shape(u_mm: HalfField, node_mm: float) -> Iterator[HalfImage]:
    for reach_mm in _AROUND_MM:
        for component in u_mm:
            yield component - ndimage.gaussian_filter(component, reach_mm / node_mm, mode="nearest", truncate=2.0)
    scale = np.float32(_STEEP / node_mm)
    for component in u_mm:
        yield from (scale * difference for difference in _differences(component))


def _asked(system: NodeSystem, voxel_mm: float) -> list[HalfImage]:
    """The step (mm) that each node would make alone, and the bend's six numbers in parts of its mean."""
    mean_bend = float(system[..., 3:6].mean())
    slope, diagonal, mixed = np.split(system, [3, 6], axis=-1)
    bend = np.empty((*slope.shape, 3), dtype=np.float32)
    for c in range(3):
        bend[..., c, c] = diagonal[..., c] + _DAMPING * mean_bend
    for n, (c, d) in enumerate(((0, 1), (0, 2), (1, 2))):
        bend[..., c, d] = bend[..., d, c] = mixed[..., n]
    step = voxel_mm * np.linalg.solve(bend, slope[..., None])[..., 0]
    spread = np.sqrt(diagonal / mean_bend)
    together = [
        mixed[..., n] / (mean_bend + np.sqrt(diagonal[..., c] * diagonal[..., d]))
        for n, (c, d) in enumerate(((0, 1), (0, 2), (1, 2)))
    ]
    return [*np.moveaxis(step, -1, 0), *np.moveaxis(spread, -1, 0), *together]


def _differences(image: HalfImage) -> list[HalfImage]:
    return list(np.gradient(image))
