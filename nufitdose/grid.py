"""Where voxels are: a shape and an affine from voxel index to world.

*World* is RAS+ in millimetres, as nibabel has it. *Index* is (i, j, k), zero-based, counted at voxel
centres, in the order of the affine's columns. Spacing may be anisotropic and the grid oblique.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from nufitdose.errors import InputError
from nufitdose.types import Affine, Indices, Mask, Points, Triple

MM3_PER_ML = 1000.0
_SIDES_MM = (1e-2, 1e3)  # of a voxel: beyond these no scanner of people goes, and a header is damaged
_FARTHEST_MM = 1e5  # of a voxel from the origin
_TOLERANCE_MM = 1e-3  # two grids whose corners agree within this are one grid


@dataclass(frozen=True, eq=False)
class Grid:
    """A regular lattice of voxels: `world = affine @ (i, j, k, 1)`.

    `shape` counts voxels along i, j, k; `affine` is 4x4 float64, mm, RAS+. Raises `InputError` on an
    empty shape, a non-finite or singular affine, axes sheared by more than 0.1 degree, voxels with sides outside
    0.01 mm to 1 m, and a place more than 100 m from the origin.
    """

    shape: tuple[int, int, int]
    affine: Affine

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        affine = np.array(self.affine, dtype=np.float64)
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)
        if len(shape) != 3 or min(shape) < 1:
            raise InputError(f"a volume of shape {shape} was given, three positive sizes are wanted")
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise InputError("the affine is not a finite 4x4 matrix")
        if not np.array_equal(affine[3], (0.0, 0.0, 0.0, 1.0)):
            raise InputError(f"the last row of the affine is {affine[3].tolist()}, wanted 0 0 0 1")
        sides = np.abs(affine[:3, :3]).max(axis=0)
        if sides.max() > _SIDES_MM[1] or 0.0 < sides.min() < _SIDES_MM[0] / 2.0:
            raise InputError(
                f"voxels of about {' x '.join(f'{s:.3g}' for s in sides)} mm were given, sides of {_SIDES_MM[0]:g} to "
                f"{_SIDES_MM[1]:g} mm are wanted"
            )
        if abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise InputError("the affine is singular: a voxel has no volume")
        if np.abs(affine[:3, 3]).max() > _FARTHEST_MM:
            raise InputError(
                f"the first voxel lies {np.abs(affine[:3, 3]).max():.3g} mm from the origin, at most "
                f"{_FARTHEST_MM:g} mm is wanted"
            )
        cosines = self.directions.T @ self.directions - np.eye(3)
        if np.abs(cosines).max() > math.sin(math.radians(0.1)):
            raise InputError(
                f"the voxel axes are sheared by {math.degrees(math.asin(min(1.0, np.abs(cosines).max()))):.2f} degrees",
                remedy="Resample the image to orthogonal axes (a gantry tilt must be undone) before using it",
            )

    @classmethod
    def from_spacing(
        cls,
        shape: Sequence[int],
        spacing_mm: Triple,
        *,
        centre_mm: Triple = (0.0, 0.0, 0.0),
    ) -> "Grid":
        """A RAS-aligned grid of `shape` and `spacing_mm` whose middle is at `centre_mm`."""
        spacing = np.asarray(spacing_mm, dtype=np.float64)
        affine = np.diag([*spacing, 1.0])
        affine[:3, 3] = np.asarray(centre_mm) - spacing * (np.asarray(shape) - 1) / 2
        return cls(tuple(int(n) for n in shape), affine)  # type: ignore[arg-type]

    @cached_property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along i, j, k."""
        a, b, c = (float(s) for s in np.linalg.norm(self.affine[:3, :3], axis=0))
        return a, b, c

    @cached_property
    def directions(self) -> np.ndarray:
        """Unit vectors of the voxel axes in world, as columns."""
        return self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0)

    @cached_property
    def inverse_affine(self) -> Affine:
        """From world to voxel index."""
        return np.linalg.inv(self.affine)

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel."""
        return abs(float(np.linalg.det(self.affine[:3, :3]))) / MM3_PER_ML

    @property
    def size(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    @property
    def centre_mm(self) -> np.ndarray:
        """World position of the middle of the grid."""
        return self.world((np.array(self.shape, dtype=np.float64) - 1) / 2)

    @property
    def axis_codes(self) -> str:
        """The world direction each voxel axis points to most nearly, as 'LPS' or 'RAS'."""
        columns = [int(np.argmax(np.abs(self.directions[:, axis]))) for axis in range(3)]
        return "".join("LPI"[c] if self.directions[c, a] < 0 else "RAS"[c] for a, c in enumerate(columns))

    def world(self, index: Indices) -> Points:
        """World positions (mm, RAS+) of voxel indices `[..., 3]`, fractions allowed."""
        return np.asarray(index, dtype=np.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def index(self, points_mm: Points) -> Points:
        """Fractional voxel indices of world positions `[..., 3]` (mm, RAS+)."""
        return np.asarray(points_mm, dtype=np.float64) @ self.inverse_affine[:3, :3].T + self.inverse_affine[:3, 3]

    def contains(self, points_mm: Points) -> np.ndarray:
        """Which world positions lie inside the voxels (half a voxel beyond the outer centres)."""
        index = self.index(points_mm)
        return np.asarray(((index > -0.5) & (index < np.array(self.shape) - 0.5)).all(axis=-1))

    def covers(self, other: "Grid") -> Mask:
        """Which voxels of another grid have their centres inside this one's voxels, `[i, j, k]` of the other."""
        to_index = self.inverse_affine @ other.affine
        inside = np.ones(other.shape, dtype=bool)
        axes = np.ogrid[tuple(slice(0, n) for n in other.shape)]
        for row, size in zip(to_index[:3], self.shape, strict=True):
            index = row[0] * axes[0] + row[1] * axes[1] + row[2] * axes[2] + row[3]
            inside &= (index > -0.5) & (index < size - 0.5)
        return inside

    def corners_mm(self) -> Points:
        """World positions of the eight outer corner-voxel centres, `[8, 3]`."""
        return self.world(np.array(list(product(*((0.0, n - 1.0) for n in self.shape)))))

    def matches(self, other: "Grid", tolerance_mm: float = _TOLERANCE_MM) -> bool:
        """Whether both grids have the same voxels, corners within `tolerance_mm`."""
        if self.shape != other.shape:
            return False
        return bool(np.abs(self.corners_mm() - other.corners_mm()).max() <= tolerance_mm)

    def extended_over(self, other: "Grid") -> "Grid":
        """This grid with whole voxels added on its sides until the voxel centres of `other` lie within it."""
        index = self.index(other.corners_mm())
        low = np.minimum(np.floor(index.min(axis=0) + 1e-6), 0.0)
        high = np.maximum(np.ceil(index.max(axis=0) - 1e-6), np.array(self.shape) - 1.0)
        affine = np.array(self.affine)
        affine[:3, 3] = self.world(low)
        return Grid(tuple(int(n) for n in high - low + 1), affine)  # type: ignore[arg-type]

    def resampled(self, spacing_mm: Triple | float) -> "Grid":
        """The grid of another spacing over the same field of view (voxel edges kept at the first corner).

        The centre of the first voxel moves by half the change of spacing, as it does under average
        pooling; the last voxel may reach past the old edge by less than one new voxel.
        """
        new = np.broadcast_to(np.asarray(spacing_mm, dtype=np.float64), 3)
        old = np.array(self.spacing_mm)
        shape = tuple(int(n) for n in np.maximum(1, np.ceil(np.array(self.shape) * old / new - 1e-6)))
        affine = np.array(self.affine)
        affine[:3, :3] = self.directions * new
        affine[:3, 3] = self.world((new / old - 1.0) / 2.0)
        return Grid(shape, affine)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        spacing = " x ".join(f"{s:.4g}" for s in self.spacing_mm)
        return f"Grid({' x '.join(map(str, self.shape))} voxels of {spacing} mm, {self.axis_codes})"
