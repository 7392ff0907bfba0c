"""Sliding along the inner chest wall: what is inside it moves up and down, what is outside stays.

The inner wall is a surface r = ρ(θ, z) around a vertical axis. A point inside keeps its angle θ and its share
s = r/ρ of the way to the wall, and its height follows `dz/dt = shift · lift(s, θ, z)` over one unit of time. The map
takes the inside onto itself and the wall along itself, so that nothing overlaps and nothing comes apart; its Jacobian
`(ρ(θ, z')/ρ(θ, z))² ∂z'/∂z` is positive. Only the component along the wall is discontinuous there.
"""

import math
from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from numpy.typing import NDArray

from nufitdose.compiled import compiled, inlined, over_slabs
from nufitdose.types import Points

EDGE = 1.5  # the table of lifts reaches so far, in units of the wall's radius
_STEPS = 8


@dataclass(frozen=True, eq=False)
class ChestWall:
    """The inner wall and how much each place inside takes part in a shift of the diaphragm.

    `radius_mm` is `[θ, z]`, from -π, heights from `low_mm` in steps of `step_mm`; `lift` is `[ξ, η, z]`, ξ and η of
    `s (cos θ, sin θ)` from -1.5 to 1.5, and zero at the first and last height.
    """

    axis_mm: NDArray[np.float64]
    low_mm: float
    step_mm: float
    radius_mm: NDArray[np.float64]
    lift: NDArray[np.float64]

    def inside(self, points_mm: Points) -> NDArray[np.bool_]:
        """Which points `[N, 3]` lie within the wall."""
        return self._move(points_mm, 0.0)[1]

    def slide(self, points_mm: Points, shift_mm: float) -> Points:
        """Where points `[N, 3]` go when the diaphragm shifts by `shift_mm` along z, all taken to be inside.

        Those outside go where the motion of the inside, continued smoothly across the wall, would take them.
        """
        return self._move(points_mm, shift_mm)[0]

    def slide_back(self, points_mm: Points, shift_mm: float) -> Points:
        """The inverse of `slid`: each step is solved for its start."""
        return self._move(points_mm, shift_mm, backward=True)[0]

    def _move(self, points_mm: Points, shift_mm: float, *, backward: bool = False) -> tuple[Points, NDArray[np.bool_]]:
        points = np.ascontiguousarray(points_mm, dtype=np.float64)
        out, inside = np.empty_like(points), np.empty(len(points), dtype=np.bool_)
        frame = (float(self.axis_mm[0]), float(self.axis_mm[1]), self.low_mm, self.step_mm)
        over_slabs(
            _slide, len(points), points, frame, self.radius_mm, self.lift, float(shift_mm), backward, out, inside
        )
        return out, inside


@inlined
@no_type_check
def _radius_at(radius, theta, h):
    """ρ at an angle and a fractional height."""
    turns, heights = radius.shape
    t = (theta + math.pi) / (2.0 * math.pi) * turns
    k = min(int(h), heights - 2)
    a, f, g = int(t) % turns, t - int(t), h - k
    b = (a + 1) % turns
    below = radius[a, k] * (1 - f) + radius[b, k] * f
    above = radius[a, k + 1] * (1 - f) + radius[b, k + 1] * f
    return below * (1 - g) + above * g


@inlined
@no_type_check
def _lift_at(lift, i, j, fx, fy, h):
    h = min(max(h, 0.0), lift.shape[2] - 1.0)
    k = min(int(h), lift.shape[2] - 2)
    g = h - k
    a = lift[i, j, k] * (1 - g) + lift[i, j, k + 1] * g
    b = lift[i, j + 1, k] * (1 - g) + lift[i, j + 1, k + 1] * g
    c = lift[i + 1, j, k] * (1 - g) + lift[i + 1, j, k + 1] * g
    d = lift[i + 1, j + 1, k] * (1 - g) + lift[i + 1, j + 1, k + 1] * g
    return (a * (1 - fy) + b * fy) * (1 - fx) + (c * (1 - fy) + d * fy) * fx


@compiled
@no_type_check
def _slide(first, last, points, frame, radius, lift, shift_mm, backward, out, inside):
    axis_x, axis_y, low, step = frame
    heights, places = lift.shape[2], lift.shape[0]
    scale = (places - 1) / (2.0 * EDGE)
    stride = shift_mm / step / _STEPS
    for n in range(first, last):
        x, y, z = points[n, 0] - axis_x, points[n, 1] - axis_y, points[n, 2]
        out[n, 0], out[n, 1], out[n, 2] = points[n, 0], points[n, 1], z
        h = (z - low) / step
        inside[n] = False
        if h <= 0.0 or h >= heights - 1.0:
            continue
        theta = math.atan2(y, x)
        wall = _radius_at(radius, theta, h)
        inside[n] = x * x + y * y < wall * wall
        u = min(max((x / wall + EDGE) * scale, 0.0), places - 1.0)
        v = min(max((y / wall + EDGE) * scale, 0.0), places - 1.0)
        i, j = min(int(u), places - 2), min(int(v), places - 2)
        fx, fy = u - i, v - j
        for _ in range(_STEPS):
            if not backward:
                h += stride * _lift_at(lift, i, j, fx, fy, h)
                continue
            end = h
            for _ in range(60):
                before = h
                h = end - stride * _lift_at(lift, i, j, fx, fy, h)
                if abs(h - before) < 1e-7:
                    break
        h = min(max(h, 0.0), heights - 1.0)
        grown = _radius_at(radius, theta, h) / wall
        out[n, 0], out[n, 1], out[n, 2] = axis_x + x * grown, axis_y + y * grown, low + step * h
