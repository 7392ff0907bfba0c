"""Gauss and Newton's method for one pair: dissimilarity plus roughness of the displacement, from coarse to fine.

Every step is composed with what was found, `u ← d + u∘(x + d)`, so that large motion is followed and no step folds; it
is taken only where the objective falls, with more damping tried where it does not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic

import numpy as np

from nufitdose.registration.optimiser.correlation import HalfField
from nufitdose.registration.optimiser.kernels import Kernels, Numbers

_MOST_DAMPING = 10.0  # in parts of the mean bend: beyond it a step is too short to matter
_FIRST_DAMPING = 0.1


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


@dataclass(frozen=True, eq=False)
class Point(Generic[Numbers]):
    """A displacement, the objective there, slope and bend of the images' part."""

    u: Numbers
    value: float
    system: Numbers


class Objective(Generic[Numbers]):
    """What is minimised on one level; windows that are explained worse than `misfit` count ever less."""

    def __init__(self, kernels: Kernels[Numbers], smoothness: Smoothness, misfit: float) -> None:
        self.kernels, self.smoothness, self.misfit = kernels, smoothness, misfit
        self.bending = (smoothness.length_mm / kernels.level.node_mm) ** 2

    def at(self, u: Numbers) -> Point[Numbers]:
        """Value, slope and bend at a displacement."""
        kernels = self.kernels
        unlike, system = kernels.compare(u, self.misfit)
        rough = kernels.roughness(u) + self.bending * kernels.curvature(u) + kernels.dilatation(u)
        value = (unlike + self.smoothness.weight * rough) / max(kernels.level.voxels, 1.0)
        return Point(u, value, system)

    def step(self, point: Point[Numbers], damping: float) -> Numbers:
        """Gauss and Newton's step, shorter with more damping."""
        damping *= self.kernels.mean_bend(point.system)
        return self.kernels.newton_step(point.system, point.u, self.smoothness.weight, self.bending, damping)


def optimise(
    levels: Sequence[Kernels[Numbers]],
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
    if starts is None:
        starts = [np.zeros((3, *kernels.level.stiffness.shape), np.float32) for kernels in levels]
    finest = Objective(levels[-1], smoothness, misfit)
    start = finest.at(levels[-1].brought(starts[-1]))
    u: Numbers | None = None
    last: Point[Numbers] | None = None
    made = []
    work = np.cumsum([count * 8.0**n for n, count in enumerate(steps)])
    for n, (kernels, count) in enumerate(zip(levels, steps, strict=True)):
        if u is not None:
            u = kernels.doubled(u)
        elif count:
            u = kernels.brought(starts[n])
        used, last = 0, None
        if u is not None and count:
            last, used = _descend(Objective(kernels, smoothness, misfit), u, count, tolerance)
            u = last.u
        made.append(used)
        on_progress(work[n] / max(work[-1], 1.0))
    if last is None:
        last = start if u is None else finest.at(u)
    end = last if last.value < start.value else start
    return Found(finest.kernels.fetched(end.u), start.value, end.value, tuple(made))


def _descend(objective: Objective[Numbers], u: Numbers, most: int, tolerance: float) -> tuple[Point[Numbers], int]:
    """Where at most `most` steps on one level end, and how many were tried."""
    point, damping = objective.at(u), 0.0
    for tried in range(1, most + 1):
        new = objective.at(objective.kernels.compose(objective.step(point, damping), point.u))
        if new.value < point.value:
            gain = (point.value - new.value) / point.value
            point, damping = new, damping / 4.0
            if gain < tolerance:
                return point, tried
        else:
            damping = max(4.0 * damping, _FIRST_DAMPING)
            if damping > _MOST_DAMPING:
                return point, tried
    return point, most
