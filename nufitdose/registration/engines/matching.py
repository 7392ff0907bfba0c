"""Two scans compared at points of the fixed body, and the linear map of the world that makes them most alike.

Correlation of the CTs where both scans have one, else of the activities (square roots, each over its own 99.9th
percentile). Between scans organs wash out and tumours take up, so activities may be correlated block by block: inside
a block a change of intensity costs nothing. Blocks and weights are chosen here.

The correlation has two continuous derivatives (see `moments`), so that its maximum is one pose and not wherever a
search happens to stop: every processor finds the same.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64
from scipy import ndimage
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from nufitdose.anatomy.pooling import pool
from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.registration.engines.moments import MARGIN, held, second_moments
from nufitdose.types import Affine, Mask
from nufitdose.volume import Volume

_POINTS = 40_000  # compared at most, about
_SPREAD = (0.8191725, 0.6710436, 0.5497005)  # powers of the plastic number's inverse: multiples fill the unit interval
_LEVER_MM = 100.0  # a rotation is measured by how far it moves a point at this distance
_NEAR_MM = 0.02  # where a search ends that another one follows
_SETTLED_MM = 1e-4  # of every step of the last search
_DECIMALS = 3  # of mm in a settled pose: what is left of rounding must not show
_ROUNDS = 10  # at most, of a search with new weights
_SPLINE = (1 / 6, 4 / 6, 1 / 6)  # a cubic B-spline at whole numbers
_LEAST_OVERLAP = 0.3
_TINY = 1e-12
_FLAT = 0.03  # blocks whose variance is far below this part of the image's variance count as flat

Vector = Float64[np.ndarray, " 3"]
Freedom = Literal[6, 12]


@dataclass(frozen=True, eq=False)
class Pose:
    """`x -> linear (x - pivot) + target`, mm: the fixed `pivot_mm` lands on `target_mm` in the moving world.

    `linear` is a rotation where the pose is rigid.
    """

    linear: Float64[np.ndarray, "3 3"]
    pivot_mm: Vector
    target_mm: Vector

    @property
    def matrix(self) -> Affine:
        """4x4, from fixed world to moving world."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.linear
        matrix[:3, 3] = self.target_mm - self.linear @ self.pivot_mm
        return matrix

    def changed(self, change_mm: Float64[np.ndarray, " freedom"]) -> "Pose":
        """Followed by a translation and a rotation vector, or the change of a linear map, in mm at the lever."""
        return Pose(_turn(change_mm[3:]) @ self.linear, self.pivot_mm, self.target_mm + change_mm[:3])

    def rounded(self, freedom: Freedom) -> "Pose":
        """To whole micrometres at the lever."""
        if freedom == 6:
            turn_mm = Rotation.from_matrix(self.linear).as_rotvec() * _LEVER_MM
        else:
            turn_mm = ((self.linear - np.eye(3)) * _LEVER_MM).reshape(9)
        return Pose(_turn(turn_mm.round(_DECIMALS)), self.pivot_mm, self.target_mm.round(_DECIMALS))


@dataclass(frozen=True, eq=False)
class View:
    """What is compared of a scan: an image of range 0 ... 1, about 4 mm fine, and the body with a margin."""

    image: Volume
    near_body: Mask

    @property
    def mask(self) -> Volume:
        """The body with its margin, as an image of 0 and 1."""
        return self.image.with_data(self.near_body.astype(np.float32))

    @property
    def centre_mm(self) -> Vector:
        """The middle of the box around the body."""
        across = [np.flatnonzero(self.near_body.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
        return self.image.grid.world(np.array([(a[0] + a[-1]) / 2.0 for a in across]))


@dataclass(frozen=True, eq=False)
class Level:
    """Points of the fixed body with their intensities, and the moving image with a margin, at one spacing."""

    points_mm: Float64[np.ndarray, "n 3"]  # from the pivot
    values: Float64[np.ndarray, " n"]
    block: Int64[np.ndarray, " n"]  # which block a point belongs to
    padded: Float64[np.ndarray, "i j k"]  # weights of cubic B-splines, `MARGIN` voxels around
    grid: Grid

    @classmethod
    def of(cls, fixed: View, moving: View, spacing_mm: float, block_mm: float, *, exact: bool = False) -> "Level":
        """Both scans at `spacing_mm`, the fixed body cut into blocks of `block_mm` (inf for none).

        `exact` leads the splines through the voxels; else they smooth both images alike, by a Gaussian's 0.6 voxels.
        """
        image_f, image_m = pool(fixed.image, spacing_mm), pool(moving.image, spacing_mm)
        chosen = _spread(np.argwhere(pool(fixed.mask, spacing_mm).data > 0.5))
        if chosen.size == 0:
            raise InputError(
                f"an image of {' x '.join(map(str, fixed.image.grid.shape))} voxels is too small to register",
                remedy="Use --set registration.engine=none",
            )
        points_mm = image_f.grid.world(chosen.astype(np.float64)) - fixed.centre_mm
        block = np.zeros(len(points_mm), dtype=np.int64)
        if np.isfinite(block_mm):
            _, block = np.unique(np.floor(points_mm / block_mm), axis=0, return_inverse=True)
        values, padded = (
            image_f.data.astype(np.float64),
            np.pad(image_m.data.astype(np.float64), 2 * MARGIN, mode="edge"),
        )
        if exact:
            padded = ndimage.spline_filter(padded, 3, mode="mirror")
        else:
            for axis in range(3):
                values = ndimage.correlate1d(values, _SPLINE, axis, mode="nearest")
        inner = slice(MARGIN, -MARGIN)
        padded = np.ascontiguousarray(padded[inner, inner, inner])
        return cls(points_mm, values[tuple(chosen.T)], block.reshape(-1), padded, image_m.grid)

    def score(self, pose: Pose) -> float:
        """Correlation at a pose; -1 where too little of the body is seen."""
        here = Comparison(self, pose)
        return here.at(np.zeros(6))[0] if here.weight.mean() >= _LEAST_OVERLAP else -1.0

    def refined(self, pose: Pose, freedom: Freedom = 6) -> Pose:
        """The pose of greatest correlation near `pose`: rigid, or affine with a `freedom` of 12."""
        return pose.changed(Comparison(self, pose).best(freedom, _NEAR_MM))

    def settled(self, pose: Pose, freedom: Freedom = 6) -> Pose:
        """Refined until it stands still, rounded to what is then certain."""
        for _ in range(_ROUNDS):
            change_mm = Comparison(self, pose).best(freedom, _SETTLED_MM / 4)
            pose = pose.changed(change_mm)
            if np.abs(change_mm).max() < _SETTLED_MM:
                break
        return pose.rounded(freedom)


class Comparison:
    """Correlation near a pose, over the points that the moving field of view holds at that pose.

    Which points count and how much is kept from there, so that no image becomes more alike by leaving the view.
    """

    def __init__(self, level: Level, pose: Pose) -> None:
        self.level, self.pose = level, pose
        self.weight = held(level.grid.index(level.points_mm @ pose.linear.T + pose.target_mm), level.grid.shape)
        covariance, count = self._covariances(np.zeros(6))
        var_f, var_m = (np.maximum(covariance[:, n, n], 0.0) for n in (0, 1))
        importance = np.sqrt(count * var_f)  # of a block
        if len(count) > 1:  # what is flat on either image is noise
            for var in (var_f, var_m):
                importance = importance * np.sqrt(var / (var + _FLAT * count * var.sum() / count.sum() + _TINY))
        self.importance = importance / max(importance.sum(), _TINY)

    def at(self, change_mm: Float64[np.ndarray, " freedom"]) -> tuple[float, np.ndarray, np.ndarray]:
        """Mean correlation within the blocks, its slope by the change (mm), and Gauss and Newton's bend of it.

        `Σ_b v_b c_b`, `c = C_fm / sqrt(C_ff C_mm)`; a block counts for `v = sqrt(count C_ff)`, less where it is flat.
        """
        c, _ = self._covariances(change_mm)
        size_f, size_m = (np.sqrt(np.maximum(c[:, n, n], 0.0) + _TINY) for n in (0, 1))
        correlation = c[:, 0, 1] / (size_f * size_m)
        along = c[:, 1, 2:] / size_m[:, None] ** 2  # what a change does to the size of the moving image
        slope = c[:, 0, 2:] / (size_f * size_m)[:, None] - correlation[:, None] * along
        bend = c[:, 2:, 2:] / size_m[:, None, None] ** 2 - along[:, :, None] * along[:, None, :]
        chain = _chain(change_mm)
        slope, bend = self.importance @ slope, np.tensordot(self.importance, bend, 1)
        return float(self.importance @ correlation), chain.T @ slope, chain.T @ bend @ chain

    def best(self, freedom: Freedom, within_mm: float) -> Float64[np.ndarray, " freedom"]:
        """The change of greatest correlation, by BFGS from Gauss and Newton's bend, known `within_mm`."""
        start = np.zeros(freedom)
        _, _, bend = self.at(start)
        bend += 1e-2 * max(np.trace(bend) / freedom, 1e-12) * np.eye(freedom)
        inverse = np.linalg.inv(bend)

        def loss(change_mm: np.ndarray) -> tuple[float, np.ndarray]:
            value, slope, _ = self.at(change_mm)
            return -value, -slope

        enough = within_mm * float(np.linalg.eigvalsh(bend)[0])
        found = minimize(
            loss,
            start,
            jac=True,
            method="BFGS",
            options={"gtol": enough, "hess_inv0": (inverse + inverse.T) / 2.0},
        )
        return np.asarray(found.x)

    def _covariances(self, change_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Per block `Σ w (z - mean)(z - mean)ᵀ` of fixed value, moving value and its slopes; `Σ w`."""
        level, pose = self.level, self.pose.changed(change_mm)
        to_index = level.grid.inverse_affine.copy()
        to_index[:3, 3] = level.grid.index(pose.target_mm)
        s = second_moments(
            level.points_mm, level.values, level.block, self.weight, pose.linear, to_index, level.padded, len(change_mm)
        )
        s += np.triu(s, 1).transpose(0, 2, 1)
        count = np.maximum(s[:, 0, 0], 1e-3)
        c = s[:, 1:, 1:] - s[:, 1:, :1] * s[:, :1, 1:] / count[:, None, None]
        return c, count


def _spread(index: Int64[np.ndarray, "n 3"]) -> Int64[np.ndarray, "m 3"]:
    """About `_POINTS` of the voxels, evenly spread: whether one is taken depends on its own index alone.

    A voxel more or less in the mask of the body thus leaves all others where they are.
    """
    step = max(1, -(-len(index) // _POINTS))
    return index[(index @ np.array(_SPREAD)) % 1.0 < 1.0 / step]


def _turn(change_mm: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, "3 3"]:
    """The linear map of a change at the lever: of three numbers a rotation, of nine any."""
    if change_mm.size == 9:
        return np.eye(3) + change_mm.reshape(3, 3) / _LEVER_MM
    return Rotation.from_rotvec(change_mm / _LEVER_MM).as_matrix()


def _chain(change_mm: Float64[np.ndarray, " freedom"]) -> Float64[np.ndarray, "freedom freedom"]:
    """How a change grows into one that follows after it; of a rotation to third order."""
    chain = np.eye(change_mm.size)
    if change_mm.size == 12:
        chain[3:, 3:] = np.kron(np.eye(3), np.linalg.inv(_turn(change_mm[3:])).T) / _LEVER_MM
    else:
        x, y, z = change_mm[3:] / _LEVER_MM
        cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
        chain[3:, 3:] = (np.eye(3) + cross / 2.0 + cross @ cross / 6.0) / _LEVER_MM
    return chain
