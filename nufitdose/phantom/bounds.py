"""Bounds of a solid's distance over a ball, so that whole bricks of voxels are settled at once.

With k the scaled norm of an ellipsoid of least radius m, `|k(p) - k(q)| ≤ |p - q|/m` and `|∇k| ≤ 1/m`; a tube's
distance changes by at most `1 + |r₂ - r₁|/length` per mm. A loft is wider than its narrowest
and narrower than its widest cross-section within the ball.
"""

import math
from typing import no_type_check

from nufitdose.compiled import compiled, inlined
from nufitdose.phantom.shapes import CENTRE, KIND, ROTATION, SIZE, WITHIN, WOBBLE, SolidKind, scaled_norm, tube_distance

UNKNOWN = 1e9


@inlined
@no_type_check
def _loft_bounds(n, x, y, z, radius, starts, steps, tables):
    table = tables[n]
    last = table.shape[0] - 1
    first_row = min(max(math.floor((z - radius - starts[n]) / steps[n]), 0), last)
    last_row = min(max(math.ceil((z + radius - starts[n]) / steps[n]), 0), last)
    a, b, wide, deep = UNKNOWN, UNKNOWN, 0.0, 0.0
    back, front = UNKNOWN, -UNKNOWN
    for m in range(first_row, last_row + 1):
        a, wide = min(a, table[m, 0]), max(wide, table[m, 0])
        b, deep = min(b, table[m, 1]), max(deep, table[m, 1])
        back, front = min(back, table[m, 2]), max(front, table[m, 2])
    near_y, far_y = max(back - y, y - front) - radius, max(y - back, front - y) + radius
    near = scaled_norm(max(abs(x) - radius, 0.0), max(near_y, 0.0), 0.0, wide, deep, 1.0, 2.5)
    far = scaled_norm(abs(x) + radius, far_y, 0.0, a, b, 1.0, 2.5)
    past_end = max(starts[n] - z, z - (starts[n] + steps[n] * last))
    return max((near - 1.0) * min(a, b), past_end - radius), max((far - 1.0) * min(a, b), past_end + radius)


@inlined
@no_type_check
def _solid_bounds(row, x, y, z, radius, starts, steps, tables):
    px, py, pz = x - row[CENTRE], y - row[CENTRE + 1], z - row[CENTRE + 2]
    kind = int(row[KIND])
    if kind == SolidKind.LOFT:
        return _loft_bounds(int(row[SIZE]), x, y, z, radius, starts, steps, tables)
    if kind == SolidKind.TUBE:
        length = math.sqrt(row[SIZE] ** 2 + row[SIZE + 1] ** 2 + row[SIZE + 2] ** 2)
        steepest = 1.0 + (abs(row[SIZE + 4] - row[SIZE + 3]) / length if length > 1e-4 else 0.0)
        d = tube_distance(row, px, py, pz)
        return d - steepest * radius, d + steepest * radius
    r = row[ROTATION : ROTATION + 9]
    qx = r[0] * px + r[1] * py + r[2] * pz
    qy = r[3] * px + r[4] * py + r[5] * pz
    qz = r[6] * px + r[7] * py + r[8] * pz
    a, b = row[SIZE], row[SIZE + 1]
    if kind == SolidKind.ELLIPSOID:
        least = min(a, b, row[SIZE + 2])
        d = (scaled_norm(qx, qy, qz, a, b, row[SIZE + 2], row[SIZE + 3]) - 1.0) * least
        return d - radius, d + radius
    if kind == SolidKind.RING:
        off_hoop = abs(scaled_norm(qx, qy, 0.0, a, b, 1.0, 2.0) - 1.0) * min(a, b) - radius
    else:
        low, high = _loft_bounds(int(a), x, y, z, radius, starts, steps, tables)
        off_hoop = low - b if low > 0.0 else (b - high if high < 0.0 else 0.0)
    wide, high = row[SIZE + 2], row[SIZE + 3]
    section = max(off_hoop / wide, (abs(qz) - radius) / high)
    return (section - 1.0) * min(wide, high), UNKNOWN


@compiled
@no_type_check
def distance_bounds(row, x, y, z, radius, starts, steps, tables):
    """Low and high: the distance of every point of the ball is above low where low > 0, below high where high < 0."""
    low, high = _solid_bounds(row, x, y, z, radius, starts, steps, tables)
    uneven = 2.0 * abs(row[WOBBLE])
    low, high = low - uneven, high + uneven
    if row[WITHIN] >= 0.0:
        outside, inside = _loft_bounds(int(row[WITHIN]), x, y, z, radius, starts, steps, tables)
        low, high = max(low, outside), max(high, inside)
    return low, high
