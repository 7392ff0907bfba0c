"""Gauss and Newton's method for one pair: dissimilarity plus roughness of the displacement, from coarse to fine.

Every step is composed with what was found, `u ← d + u∘(x + d)`, so that large motion is followed and no step folds; it
is taken only where the objective falls, with more damping tried where it does not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nufitdose.registration.optimiser.correlation import HalfField, NodeSystem, compare
from nufitdose.registration.optimiser.images import Level
from nufitdose.registration.optimiser.lattice import compose, curvature, dilatation, doubled, roughness
from nufitdose.registration.optimiser.linear_system import newton_step
from nufitdose.registration.optimiser.warping import warp_images

_MOST_DAMPING = 10.0  # in parts of the mean bend: beyond it a step is too short to matter
_FIRST_DAMPING = 0.1
_ANY_MISFIT = 1000.0  # beside it no window counts less than another


@dataclass(frozen=True)
class Smoothness:
    """`weight` λ of the roughness and `length_mm` ℓ of the curvature (see `lattice`)."""

    weight: float
    length_mm: float


@dataclass(frozen=True, eq=False)
class Found:
    """The displacement (voxels of the finest level, its half lattice), the objective per voxel there and the steps."""

    displacement: HalfField
    before: float
    after: float
    steps: tuple[int, ...]


class Objective:
    """What is minimised on one level; windows that are explained worse than `misfit` count ever less."""

    def __init__(self, level: Level, smoothness: Smoothness, misfit: float) -> None:
        self.level, self.smoothness, self.misfit = level, smoothness, misfit
        self._warped = np.empty_like(level.fixed)
        self._roughness = np.empty_like(level.stiffness)
        self.bending = (smoothness.length_mm / level.node_mm) ** 2

    def at(self, u: HalfField) -> "Point":
        """Value, slope and bend at a displacement."""
        level = self.level
        warp_images(level.moving, u, level.where, self._warped)
        unlike, system = compare(level.fixed, self._warped, level.weights, level.floors, self.misfit)
        roughness(u, self._roughness)
        rough = float((level.stiffness * self._roughness).sum(dtype=np.float64))
        rough += self.bending * curvature(u, level.stiffness)
        if level.volume.any():
            rough += dilatation(u, level.volume)
        value = (unlike + self.smoothness.weight * rough) / max(level.voxels, 1.0)
        return Point(u, value, system)

    def step(self, point: "Point", damping: float) -> HalfField:
        """Gauss and Newton's step, shorter with more damping."""
        return newton_step(
            point.system,
            point.u,
            self.level.stiffness,
            self.smoothness.weight,
            self.bending,
            damping * point.mean_bend,
            self.level.volume,
        )


@dataclass(frozen=True, eq=False)
class Point:
    """A displacement, the objective there, slope and bend of the images' part."""

    u: HalfField
    value: float
    system: NodeSystem

    @property
    def mean_bend(self) -> float:
        """Of the images' part, over the nodes."""
        return float(self.system[..., 3:6].mean())


def correlation(level: Level, u: HalfField) -> float:
    """Mean `ρ²` of what is compared on a level, at a displacement."""
    warped = np.empty_like(level.fixed)
    warp_images(level.moving, u, level.where, warped)
    unlike, _ = compare(level.fixed, warped, level.weights, level.floors, _ANY_MISFIT)
    nothing, _ = compare(level.fixed, np.zeros_like(warped), level.weights, level.floors, _ANY_MISFIT)
    return 1.0 - unlike / nothing


def optimise(
    levels: Sequence[Level],
    steps: Sequence[int],
    starts: Sequence[np.ndarray] | None,
    smoothness: Smoothness,
    misfit: float,
    tolerance: float,
    on_progress: Callable[[float], None] = lambda share: None,
) -> Found:
    """At most `steps[n]` steps on level n, coarsest first; fewer where one gains less than `tolerance` of the value.

    `starts` is one displacement `[3, i, j, k]` on each level's half lattice (default 0); the first level with steps
    takes its own. Never worse at the finest level than its start.
    """
    given = [np.zeros((3, *level.stiffness.shape), np.float32) for level in levels] if starts is None else starts
    finest = Objective(levels[-1], smoothness, misfit)
    start = finest.at(given[-1])
    u: HalfField | None = None
    made = []
    work = np.cumsum([count * 8.0**n for n, count in enumerate(steps)])
    for n, (level, count) in enumerate(zip(levels, steps, strict=True)):
        if u is not None:
            u = doubled(u, level.stiffness.shape)
        elif count:
            u = given[n]
        used = 0
        if u is not None and count:
            objective = finest if n == len(levels) - 1 else Objective(level, smoothness, misfit)
            u, used = _descend(objective, u, count, tolerance)
        made.append(used)
        on_progress(work[n] / max(work[-1], 1.0))
    found = start if u is None else finest.at(u)
    if not found.value < start.value:
        return Found(start.u, start.value, start.value, tuple(made))
    return Found(found.u, start.value, found.value, tuple(made))


def _descend(objective: Objective, u: HalfField, most: int, tolerance: float) -> tuple[HalfField, int]:
    """The displacement after at most `most` steps on one level, and how many were tried."""
    point, damping = objective.at(u), 0.0
    for tried in range(1, most + 1):
        new = objective.at(compose(objective.step(point, damping), point.u))
        if new.value < point.value:
            gain = (point.value - new.value) / point.value
            point, damping = new, damping / 4.0
            if gain < tolerance:
                return point.u, tried
        else:
            damping = max(4.0 * damping, _FIRST_DAMPING)
            if damping > _MOST_DAMPING:
                return point.u, tried
    return point.u, most
