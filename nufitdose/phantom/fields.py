"""Diffeomorphic maps of the body: velocity lattices, their exponential, exact inversion, Jacobians.

A map leads from the reference pose to another pose, `y = R(x + u(x))`: a smooth displacement u, the
exponential of a stationary velocity field on a lattice, followed by a rigid motion R of the whole patient.
Where the lungs slide, `y = R(S(x) + u(S(x)))`: S shifts what is inside the chest wall along it, and nothing else.
"""

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from numpy.typing import NDArray

from nufitdose.compiled import compiled, inlined, over_slabs
from nufitdose.grid import Grid
from nufitdose.phantom.sliding import ChestWall
from nufitdose.types import Affine, Field, Image32, Mask, Points

_SQUARINGS = 7


@dataclass(frozen=True, eq=False)
class SidedField:
    """A displacement (mm) smooth on each side of an interface: `inner` holds where `inside`, `outer` elsewhere.

    Both are continued smoothly across the interface, so that differences between voxels mean something on each side.
    """

    outer: Field
    inner: Field
    inside: Mask

    @property
    def field(self) -> Field:
        """The displacement itself, with its jump."""
        return np.where(self.inside, self.inner, self.outer) if self.inside.any() else self.outer

    def jacobian(self, grid: Grid) -> Image32:
        """`jacobian_determinant` of the side that each voxel of `grid` is on."""
        outer = jacobian_determinant(self.outer, grid)
        return np.where(self.inside, jacobian_determinant(self.inner, grid), outer) if self.inside.any() else outer


@dataclass(frozen=True, eq=False)
class BodyMap:
    """y = R(x + u(x)): `forward` is u = exp(v), `backward` nearly its inverse, exp(-v), both mm on `lattice`.

    With a `wall`, what is inside it first slides by `slide_mm` at the diaphragm, positive upwards.
    """

    lattice: Grid
    forward: Field
    backward: Field
    rigid: Affine
    wall: ChestWall | None = None
    slide_mm: float = 0.0

    @classmethod
    def identity(cls) -> "BodyMap":
        """The map that moves nothing."""
        lattice = Grid.from_spacing((2, 2, 2), (1e3,) * 3)
        nothing = np.zeros((3, 2, 2, 2), dtype=np.float32)
        return cls(lattice, nothing, nothing, np.eye(4))

    def field(self, grid: Grid) -> Field:
        """Displacement mm `y(x) - x` at the voxel centres of `grid` (reference pose)."""
        return self.sides(grid).field

    def sides(self, grid: Grid) -> SidedField:
        """`field` with both sides of the chest wall continued across it."""
        out = np.empty((3, *grid.shape), dtype=np.float32)
        affine, to_lattice = np.ascontiguousarray(grid.affine), np.ascontiguousarray(self.lattice.inverse_affine)
        over_slabs(_push, grid.shape[0], affine, to_lattice, self.forward, np.ascontiguousarray(self.rigid), out)
        if self.wall is None:
            return _make_one_sided(out)
        points = _centres(grid)
        inner = self._move_smoothly(self.wall.slide(points, self.slide_mm)) - points
        return SidedField(out, _as_field(inner, grid), self.wall.inside(points).reshape(grid.shape))

    def inverse_field(self, grid: Grid) -> Field:
        """Displacement mm `x(y) - y` at the voxel centres of `grid` (moved pose), solved from the forward map."""
        return self.inverse_sides(grid).field

    def inverse_sides(self, grid: Grid) -> SidedField:
        """`inverse_field` with both sides of the chest wall continued across it."""
        out = np.empty((3, *grid.shape), dtype=np.float32)
        back = np.ascontiguousarray(np.linalg.inv(self.rigid))
        affine, to_lattice = np.ascontiguousarray(grid.affine), np.ascontiguousarray(self.lattice.inverse_affine)
        over_slabs(_pull, grid.shape[0], affine, to_lattice, self.forward, self.backward, back, out)
        if self.wall is None:
            return _make_one_sided(out)
        points = _centres(grid)
        unslid = points + out.reshape(3, -1).T
        inner = self.wall.slide_back(unslid, self.slide_mm) - points
        return SidedField(out, _as_field(inner, grid), self.wall.inside(unslid).reshape(grid.shape))

    def move(self, points_mm: Points) -> Points:
        """Where reference points are in the moved pose."""
        points = np.ascontiguousarray(points_mm, dtype=np.float64)
        if self.wall is not None:
            inside = self.wall.inside(points)
            points = np.where(inside[:, None], self.wall.slide(points, self.slide_mm), points)
        return self._move_smoothly(points)

    def _move_smoothly(self, points: Points) -> Points:
        shift = _at_points(self.forward, self.lattice.inverse_affine, points)
        return (points + shift) @ self.rigid[:3, :3].T + self.rigid[:3, 3]


def _make_one_sided(field: Field) -> SidedField:
    return SidedField(field, field, np.zeros(field.shape[1:], dtype=np.bool_))


def _centres(grid: Grid) -> Points:
    return grid.world(np.indices(grid.shape).reshape(3, -1).T)


def _as_field(displacement: Points, grid: Grid) -> Field:
    return np.ascontiguousarray(displacement.T.reshape(3, *grid.shape), dtype=np.float32)


def exponential(lattice: Grid, velocity: Field) -> Field:
    """exp(v) as a displacement, by scaling and squaring: `u ← u + u∘(x+u)`, 7 times from v/2⁷."""
    to_index = np.ascontiguousarray(lattice.inverse_affine[:3, :3])
    u = velocity / np.float32(2**_SQUARINGS)
    for _ in range(_SQUARINGS):
        doubled = np.empty_like(u)
        over_slabs(_compose_with_itself, u.shape[1], u, to_index, doubled)
        u = doubled
    return u


def jacobian_determinant(field: Field, grid: Grid) -> Image32:
    """det(∂(x + u)/∂x) by central differences, one-sided at the rim."""
    out = np.empty(grid.shape, dtype=np.float32)
    over_slabs(_determinant, grid.shape[0], field, np.ascontiguousarray(grid.inverse_affine[:3, :3]), out)
    return out


@compiled
@no_type_check
def _determinant(first, last, u, to_index, out):
    _, ni, nj, nk = u.shape
    step, j = np.empty(3), np.empty((3, 3))
    for i in range(first, last):
        ia, ib = max(i - 1, 0), min(i + 1, ni - 1)
        for y in range(nj):
            ya, yb = max(y - 1, 0), min(y + 1, nj - 1)
            for k in range(nk):
                ka, kb = max(k - 1, 0), min(k + 1, nk - 1)
                for c in range(3):
                    step[0] = (u[c, ib, y, k] - u[c, ia, y, k]) / (ib - ia)
                    step[1] = (u[c, i, yb, k] - u[c, i, ya, k]) / (yb - ya)
                    step[2] = (u[c, i, y, kb] - u[c, i, y, ka]) / (kb - ka)
                    for axis in range(3):
                        j[c, axis] = (
                            step[0] * to_index[0, axis] + step[1] * to_index[1, axis] + step[2] * to_index[2, axis]
                        )
                    j[c, c] += 1.0
                out[i, y, k] = (
                    j[0, 0] * (j[1, 1] * j[2, 2] - j[1, 2] * j[2, 1])
                    - j[0, 1] * (j[1, 0] * j[2, 2] - j[1, 2] * j[2, 0])
                    + j[0, 2] * (j[1, 0] * j[2, 1] - j[1, 1] * j[2, 0])
                )


def rigid_motion(
    shift_mm: NDArray[np.float64], turn_deg: NDArray[np.float64], centre_mm: NDArray[np.float64]
) -> Affine:
    """A rotation (degrees about x, y, z) around `centre_mm`, then a shift, as a 4x4 matrix."""
    from nufitdose.phantom.shapes import rotation

    turn = rotation(*(float(a) for a in turn_deg))
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    matrix[:3, 3] = centre_mm - turn @ centre_mm + shift_mm
    return matrix


@inlined
@no_type_check
def _at(field, x, y, z, out):
    """Trilinear value of a `[3, i, j, k]` field at a fractional index, held constant beyond the rim."""
    ni, nj, nk = field.shape[1], field.shape[2], field.shape[3]
    x, y, z = min(max(x, 0.0), ni - 1.0), min(max(y, 0.0), nj - 1.0), min(max(z, 0.0), nk - 1.0)
    i, j, k = min(int(x), ni - 2), min(int(y), nj - 2), min(int(z), nk - 2)
    fx, fy, fz = x - i, y - j, z - k
    for c in range(3):
        a = field[c, i, j, k] * (1 - fz) + field[c, i, j, k + 1] * fz
        b = field[c, i, j + 1, k] * (1 - fz) + field[c, i, j + 1, k + 1] * fz
        d = field[c, i + 1, j, k] * (1 - fz) + field[c, i + 1, j, k + 1] * fz
        e = field[c, i + 1, j + 1, k] * (1 - fz) + field[c, i + 1, j + 1, k + 1] * fz
        out[c] = (a * (1 - fy) + b * fy) * (1 - fx) + (d * (1 - fy) + e * fy) * fx


@compiled
@no_type_check
def _compose_with_itself(first, last, u, to_index, out):
    for i in range(first, last):
        value = np.empty(3)
        for j in range(u.shape[2]):
            for k in range(u.shape[3]):
                a, b, c = u[0, i, j, k], u[1, i, j, k], u[2, i, j, k]
                _at(
                    u,
                    i + to_index[0, 0] * a + to_index[0, 1] * b + to_index[0, 2] * c,
                    j + to_index[1, 0] * a + to_index[1, 1] * b + to_index[1, 2] * c,
                    k + to_index[2, 0] * a + to_index[2, 1] * b + to_index[2, 2] * c,
                    value,
                )
                out[0, i, j, k], out[1, i, j, k], out[2, i, j, k] = a + value[0], b + value[1], c + value[2]


@inlined
@no_type_check
def _at_world(field, w, p, out):
    _at(
        field,
        w[0, 0] * p[0] + w[0, 1] * p[1] + w[0, 2] * p[2] + w[0, 3],
        w[1, 0] * p[0] + w[1, 1] * p[1] + w[1, 2] * p[2] + w[1, 3],
        w[2, 0] * p[0] + w[2, 1] * p[1] + w[2, 2] * p[2] + w[2, 3],
        out,
    )


@compiled
@no_type_check
def _at_points(field, to_lattice, points):
    out, value = np.empty_like(points), np.empty(3)
    for n in range(points.shape[0]):
        _at_world(field, to_lattice, points[n], value)
        out[n] = value
    return out


@inlined
@no_type_check
def _transform(m, p, out):
    for c in range(3):
        out[c] = m[c, 0] * p[0] + m[c, 1] * p[1] + m[c, 2] * p[2] + m[c, 3]


@compiled
@no_type_check
def _push(first, last, affine, to_lattice, forward, rigid, out):
    for i in range(first, last):
        start, value, end, p = np.empty(3), np.empty(3), np.empty(3), np.empty(3)
        for j in range(out.shape[2]):
            for k in range(out.shape[3]):
                p[0], p[1], p[2] = i, j, k
                _transform(affine, p, start)
                _at_world(forward, to_lattice, start, value)
                for c in range(3):
                    value[c] += start[c]
                _transform(rigid, value, end)
                for c in range(3):
                    out[c, i, j, k] = end[c] - start[c]


@compiled
@no_type_check
def _pull(first, last, affine, to_lattice, forward, backward, rigid_inverse, out):
    """Damped fixed-point iteration on w: `w ← w - d (w + u(y' + w))`, from exp(-v), until 0.002 mm.

    d is 0.85; where 25 steps do not reach that (strong gradients of large motion) it starts anew with d = 0.3.
    """
    for i in range(first, last):
        p, y, z, w, u, x = np.empty(3), np.empty(3), np.empty(3), np.empty(3), np.empty(3), np.empty(3)
        for j in range(out.shape[2]):
            for k in range(out.shape[3]):
                p[0], p[1], p[2] = i, j, k
                _transform(affine, p, y)
                _transform(rigid_inverse, y, z)
                _at_world(backward, to_lattice, z, w)
                for n in range(325):
                    if n == 25:
                        _at_world(backward, to_lattice, z, w)
                    for c in range(3):
                        x[c] = z[c] + w[c]
                    _at_world(forward, to_lattice, x, u)
                    worst = 0.0
                    for c in range(3):
                        residual = w[c] + u[c]
                        worst = max(worst, abs(residual))
                        w[c] -= (0.85 if n < 25 else 0.3) * residual
                    if worst < 2e-3:
                        break
                for c in range(3):
                    out[c, i, j, k] = z[c] + w[c] - y[c]
