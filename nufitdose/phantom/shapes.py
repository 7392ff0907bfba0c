"""Smooth parametric solids: how far a point lies outside or inside each, in mm.

A solid is one row of numbers so that the compiled painter can walk through hundreds of them. Distances
are first-order: exact on the surface, close to it within a voxel or two, of the right sign everywhere.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import no_type_check

import numpy as np

from nufitdose.compiled import compiled, inlined
from nufitdose.types import F64

Number = float | int


class SolidKind(IntEnum):
    """The family of a solid."""

    ELLIPSOID = 0
    TUBE = 1
    RING = 2
    LOFT = 3
    RIB = 4


# Columns of a row; the meaning of SIZE0.. depends on the kind.
KIND, OUTER, INNER, THICKNESS, WOBBLE, WAVENUMBER, PHASE = 0, 1, 2, 3, 4, 5, 6  # PHASE takes three columns
CENTRE, ROTATION, SIZE = 9, 12, 21  # 3, 9 and 7 columns
WITHIN = 28  # the loft that the solid ends at
ROW_LENGTH = 29
NO_COMPARTMENT = NO_LOFT = -1
_NEAR_MM = 15.0  # farther from the surface its unevenness does not matter


@dataclass(frozen=True, eq=False)
class Solid:
    """One solid: its row of numbers and the box (mm, world) outside which it has no point."""

    row: F64
    low_mm: F64
    high_mm: F64

    def paint(
        self,
        compartment: int,
        *,
        inner: int = NO_COMPARTMENT,
        thickness_mm: Number = 0.0,
        wobble: "Wobble | None" = None,
    ) -> "Solid":
        """This solid filled with `compartment`; deeper than `thickness_mm` below its surface with `inner`."""
        row = self.row.copy()
        row[OUTER], row[INNER], row[THICKNESS] = compartment, inner, thickness_mm
        margin = 0.0
        if wobble is not None:
            row[WOBBLE], row[WAVENUMBER] = wobble.amplitude_mm, 2.0 * math.pi / wobble.wavelength_mm
            row[PHASE : PHASE + 3] = wobble.phases
            margin = 2.0 * abs(wobble.amplitude_mm)
        return Solid(row, self.low_mm - margin, self.high_mm + margin)

    def within(self, profile: int) -> "Solid":
        """The part of this solid inside a loft, named by its place among the painter's profiles."""
        row = self.row.copy()
        row[WITHIN] = profile
        return replace(self, row=row)


@dataclass(frozen=True)
class Wobble:
    """A smooth unevenness of a surface: amplitude and wavelength in mm, three phases in rad."""

    amplitude_mm: Number
    wavelength_mm: Number
    phases: tuple[float, float, float] = (0.0, 0.0, 0.0)


def rotation(x_deg: Number = 0.0, y_deg: Number = 0.0, z_deg: Number = 0.0) -> F64:
    """R = Rz·Ry·Rx, right-handed rotations about the world axes; columns are the solid's axes in world."""
    (cx, sx), (cy, sy), (cz, sz) = ((math.cos(a), math.sin(a)) for a in map(math.radians, (x_deg, y_deg, z_deg)))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x, dtype=np.float64)


def ellipsoid(
    centre_mm: Sequence[Number] | F64, radii_mm: Sequence[Number] | F64, turn: F64 | None = None, exponent: Number = 2.0
) -> Solid:
    """|x/a|^p + |y/b|^p + |z/c|^p ≤ 1 in the solid's own axes, p one of 2, 2.5, 4: an ellipsoid, or boxier."""
    assert exponent in (2.0, 2.5, 4.0), exponent
    turn = np.eye(3) if turn is None else turn
    radii = np.asarray(radii_mm, dtype=np.float64)
    row = _row(SolidKind.ELLIPSOID, centre_mm, turn)
    row[SIZE : SIZE + 3], row[SIZE + 3] = radii, exponent
    reach = np.sqrt((turn**2) @ radii**2) if exponent == 2.0 else np.abs(turn) @ radii
    return _box(row, np.asarray(centre_mm) - reach, np.asarray(centre_mm) + reach)


def around(solid: Solid, by_mm: Number) -> Solid:
    """An ellipsoid with every radius larger by `by_mm`."""
    assert solid.row[KIND] == SolidKind.ELLIPSOID
    row = solid.row.copy()
    row[SIZE : SIZE + 3] += by_mm
    return _box(row, solid.low_mm - by_mm, solid.high_mm + by_mm)


def superellipsoid_volume_ml(radii_mm: Sequence[Number] | F64, exponent: Number = 2.0) -> float:
    """V = 8abc Γ(1+1/p)³ / Γ(1+3/p)."""
    factor = 8.0 * math.gamma(1.0 + 1.0 / exponent) ** 3 / math.gamma(1.0 + 3.0 / exponent)
    return factor * float(np.prod(np.asarray(radii_mm, dtype=np.float64))) / 1000.0


def tube(
    start_mm: Sequence[Number] | F64,
    end_mm: Sequence[Number] | F64,
    radius_mm: Number,
    end_radius_mm: Number | None = None,
) -> Solid:
    """A round-ended tube between two points, its radius changing linearly."""
    start, end = np.asarray(start_mm, dtype=np.float64), np.asarray(end_mm, dtype=np.float64)
    last = radius_mm if end_radius_mm is None else end_radius_mm
    row = _row(SolidKind.TUBE, start, np.eye(3))
    row[SIZE : SIZE + 3] = end - start
    row[SIZE + 3], row[SIZE + 4] = radius_mm, last
    low = np.minimum(start - radius_mm, end - last)
    return _box(row, low, np.maximum(start + radius_mm, end + last))


def ring(
    centre_mm: Sequence[Number] | F64,
    radii_mm: tuple[Number, Number],
    thickness_mm: tuple[Number, Number],
    turn: F64 | None = None,
    half_angle_rad: Number = math.pi,
) -> Solid:
    """An elliptic hoop in the solid's x-y plane, kept where the angle from its -y axis is below `half_angle_rad`.

    `thickness_mm` are the half-widths of its cross-section in the plane and across it.
    """
    turn = np.eye(3) if turn is None else turn
    row = _row(SolidKind.RING, centre_mm, turn)
    row[SIZE : SIZE + 2], row[SIZE + 2 : SIZE + 4], row[SIZE + 4] = radii_mm, thickness_mm, half_angle_rad
    outer = np.array([radii_mm[0] + thickness_mm[0], radii_mm[1] + thickness_mm[0], thickness_mm[1]])
    reach = np.sqrt((turn**2) @ outer**2) + max(thickness_mm)
    return _box(row, np.asarray(centre_mm) - reach, np.asarray(centre_mm) + reach)


@dataclass(frozen=True, eq=False)
class Profile:
    """Cross-sections of a loft along z: rows of (z, half-width x, half-depth y, centre y), mm."""

    knots: F64

    def sample(self, samples: int) -> tuple[float, float, F64]:
        """First z, step and a `[samples, 3]` table between the knots (monotone cubic)."""
        from scipy.interpolate import PchipInterpolator

        z = np.linspace(self.knots[0, 0], self.knots[-1, 0], samples)
        table = PchipInterpolator(self.knots[:, 0], self.knots[:, 1:])(z)
        return float(z[0]), float(z[1] - z[0]), np.asarray(table, dtype=np.float64)

    def grow(self, by_mm: Number) -> "Profile":
        """The profile with every half-width and half-depth larger by `by_mm`."""
        knots = self.knots.copy()
        knots[:, 1:3] = np.maximum(knots[:, 1:3] + by_mm, 5.0)
        return replace(self, knots=knots)

    def at(self, z_mm: float) -> F64:
        """Half-width, half-depth and centre y at one height."""
        return np.array([np.interp(z_mm, self.knots[:, 0], column) for column in self.knots[:, 1:].T])


def loft(profile: Profile, index: int) -> Solid:
    """A stack of superelliptic cross-sections of exponent 2.5; `index` is the profile's place among the painter's."""
    knots = profile.knots
    row = _row(SolidKind.LOFT, (0.0, 0.0, 0.0), np.eye(3))
    row[SIZE] = index
    low = np.array([-knots[:, 1].max(), (knots[:, 3] - knots[:, 2]).min(), knots[0, 0]])
    high = np.array([knots[:, 1].max(), (knots[:, 3] + knots[:, 2]).max(), knots[-1, 0]])
    return _box(row, low, high)


def rib(
    profile: Profile,
    index: int,
    centre_mm: Sequence[Number] | F64,
    offset_mm: Number,
    thickness_mm: tuple[Number, Number],
    turn: F64,
    half_angle_rad: Number,
) -> Solid:
    """A hoop `offset_mm` outside a loft, where that is cut by the x-y plane of `turn` through `centre_mm`.

    Half-widths of its cross-section across the wall and along it, and the angle it is kept within, are as in `ring`.
    """
    row = _row(SolidKind.RIB, centre_mm, turn)
    row[SIZE], row[SIZE + 1] = index, offset_mm
    row[SIZE + 2 : SIZE + 4], row[SIZE + 4] = thickness_mm, half_angle_rad
    whole, beyond = loft(profile, index), offset_mm + max(thickness_mm)
    low, high, centre = whole.low_mm - beyond, whole.high_mm + beyond, np.asarray(centre_mm)
    normal = turn[:, 2]
    rise = np.abs(normal[:2]) @ np.maximum(high - centre, centre - low)[:2] + max(thickness_mm)
    low[2], high[2] = centre[2] - rise / normal[2], centre[2] + rise / normal[2]
    return _box(row, low, high)


def _row(kind: SolidKind, centre_mm: Sequence[Number] | F64, turn: F64) -> F64:
    row = np.zeros(ROW_LENGTH)
    row[KIND], row[INNER], row[WITHIN] = kind, NO_COMPARTMENT, NO_LOFT
    row[CENTRE : CENTRE + 3] = centre_mm
    row[ROTATION : ROTATION + 9] = turn.T.ravel()  # world -> solid
    return row


def _box(row: F64, low: F64, high: F64) -> Solid:
    return Solid(row, np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64))


@inlined
@no_type_check
def scaled_norm(x, y, z, a, b, c, p):
    """k = (|x/a|^p + |y/b|^p + |z/c|^p)^(1/p), p one of 2, 2.5, 4."""
    x, y, z = abs(x) / a, abs(y) / b, abs(z) / c
    if p == 2.0:
        return math.sqrt(x * x + y * y + z * z)
    if p == 4.0:
        return math.sqrt(math.sqrt(x * x * x * x + y * y * y * y + z * z * z * z))
    return (x * x * math.sqrt(x) + y * y * math.sqrt(y) + z * z * math.sqrt(z)) ** 0.4


@inlined
@no_type_check
def _norm(x, y, z, a, b, c, p):
    """First-order distance from |x/a|^p + |y/b|^p + |z/c|^p = 1, p one of 2, 2.5, 4: (k-1)/|∇k|, k the p-norm."""
    x, y, z = abs(x) / a, abs(y) / b, abs(z) / c
    if p == 2.0:
        k = math.sqrt(x * x + y * y + z * z)
        slope = math.sqrt((x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2)
        return (k - 1.0) * k / slope if slope > 1e-9 else -min(a, b, c)
    if p == 4.0:
        x3, y3, z3 = x * x * x, y * y * y, z * z * z
        total = x3 * x + y3 * y + z3 * z
        if total < 1e-9:
            return -min(a, b, c)
        k = math.sqrt(math.sqrt(total))
        return (k - 1.0) * k * k * k / math.sqrt((x3 / a) ** 2 + (y3 / b) ** 2 + (z3 / c) ** 2)
    x3, y3, z3 = x * math.sqrt(x), y * math.sqrt(y), z * math.sqrt(z)
    total = x3 * x + y3 * y + z3 * z
    if total < 1e-6:
        return -min(a, b, c)
    k = total**0.4
    return (k - 1.0) * total / k / math.sqrt((x3 / a) ** 2 + (y3 / b) ** 2 + (z3 / c) ** 2)


@inlined
@no_type_check
def tube_distance(row, x, y, z):
    """Distance from a tube, of a point relative to its start."""
    dx, dy, dz = row[SIZE], row[SIZE + 1], row[SIZE + 2]
    length2 = dx * dx + dy * dy + dz * dz
    t = 0.0 if length2 < 1e-9 else min(1.0, max(0.0, (x * dx + y * dy + z * dz) / length2))
    away = math.sqrt((x - t * dx) ** 2 + (y - t * dy) ** 2 + (z - t * dz) ** 2)
    return away - (row[SIZE + 3] + t * (row[SIZE + 4] - row[SIZE + 3]))


@inlined
@no_type_check
def _hoop_distance(plane, x, y, z, wide, high, limit):
    section = math.sqrt((plane / wide) ** 2 + (z / high) ** 2)
    distance = (section - 1.0) * min(wide, high)
    angle = abs(math.atan2(x, -y))
    past_end = (angle - limit) * math.sqrt(x * x + y * y)
    return max(distance, past_end)


@inlined
@no_type_check
def _ring_distance(row, x, y, z):
    a, b, wide, high, limit = row[SIZE], row[SIZE + 1], row[SIZE + 2], row[SIZE + 3], row[SIZE + 4]
    return _hoop_distance(_norm(x, y, 0.0, a, b, 1e9, 2.0), x, y, z, wide, high, limit)


@inlined
@no_type_check
def _loft_distance(n, x, y, z, starts, steps, tables):
    table = tables[n]
    s = (z - starts[n]) / steps[n]
    s = min(max(s, 0.0), table.shape[0] - 1.000001)
    m = int(s)
    f = s - m
    a = table[m, 0] * (1 - f) + table[m + 1, 0] * f
    b = table[m, 1] * (1 - f) + table[m + 1, 1] * f
    y0 = table[m, 2] * (1 - f) + table[m + 1, 2] * f
    side = _norm(x, y - y0, 0.0, a, b, 1e9, 2.5)
    first = starts[n]
    return max(side, first - z, z - (first + steps[n] * (table.shape[0] - 1)))


@compiled
@no_type_check
def distance(row, x, y, z, starts, steps, tables):
    """Signed distance (mm, negative inside) of the world point (x, y, z) from one solid's surface."""
    px, py, pz = x - row[CENTRE], y - row[CENTRE + 1], z - row[CENTRE + 2]
    kind = int(row[KIND])
    if kind == SolidKind.TUBE:
        d = tube_distance(row, px, py, pz)
    elif kind == SolidKind.LOFT:
        d = _loft_distance(int(row[SIZE]), x, y, z, starts, steps, tables)
    else:
        r = row[ROTATION : ROTATION + 9]
        qx = r[0] * px + r[1] * py + r[2] * pz
        qy = r[3] * px + r[4] * py + r[5] * pz
        qz = r[6] * px + r[7] * py + r[8] * pz
        if kind == SolidKind.ELLIPSOID:
            d = _norm(qx, qy, qz, row[SIZE], row[SIZE + 1], row[SIZE + 2], row[SIZE + 3])
        elif kind == SolidKind.RING:
            d = _ring_distance(row, qx, qy, qz)
        else:
            wall = _loft_distance(int(row[SIZE]), x, y, z, starts, steps, tables) - row[SIZE + 1]
            d = _hoop_distance(wall, qx, qy, qz, row[SIZE + 2], row[SIZE + 3], row[SIZE + 4])
    if row[WOBBLE] != 0.0 and abs(d) < 3.0 * row[WOBBLE] + _NEAR_MM:
        k = row[WAVENUMBER]
        d += (
            row[WOBBLE]
            * (
                math.sin(k * px + row[PHASE]) * math.cos(k * py + row[PHASE + 1])
                + math.sin(k * py + row[PHASE + 1]) * math.cos(k * pz + row[PHASE + 2])
                + math.sin(k * pz + row[PHASE + 2]) * math.cos(k * px + row[PHASE])
            )
            / 1.5
        )
    if row[WITHIN] >= 0.0:
        d = max(d, _loft_distance(int(row[WITHIN]), x, y, z, starts, steps, tables))
    return d
