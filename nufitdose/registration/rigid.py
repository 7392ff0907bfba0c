"""Rigid registration: six parameters about the body centre, from coarse to fine.

Correlation of the CTs where both scans have one, else of the activities (square roots, each over its own 99.9th
percentile). Between scans organs wash out and tumours take up, so activities are at last correlated block by block:
inside a block a change of intensity costs nothing. Nothing is assumed about the frames of reference: at the coarsest
level all translations are searched. Levels, blocks and weights are ours.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Integer
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.nn.functional import grid_sample

from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.registration.body import body_mask, widened
from nufitdose.registration.intensity import activity_scale, pooled, scaled_activity, scaled_ct
from nufitdose.registration.translation import best_shift
from nufitdose.study import TimePoint
from nufitdose.types import Affine, Mask
from nufitdose.volume import Quantity, Volume

SEARCH_MM = 16.0  # the level at which translations are searched
FINEST_MM = 4.0
#: After the search: spacing (mm) and edge of the blocks (mm). Finer activities are mostly noise.
LEVELS_MM = {"CT": ((8.0, np.inf), (FINEST_MM, np.inf)), "activity": ((8.0, np.inf), (8.0, 80.0))}

_STARTS = 4  # followed, of those tried
_STEPS = 15  # of L-BFGS on each level
_POINTS = 40_000  # compared at most
_MARGIN_MM = 12.0  # of what surrounds the body, compared too: it holds the outline
_LEVER_MM = 100.0  # a rotation is measured by how far it moves a point at this distance
_GAIN = 1000.0  # brings the slope of the correlation per mm near 1, where the first step of L-BFGS fits
_DECIMALS = 3  # of mm: the order of sums, which depends on threads, must not show in the result
_TRIED_DEGREES = 12.0
_LEAST_OVERLAP = 0.3
_FLAT = 0.03  # blocks whose variance is far below this part of the image's variance count as flat

Progress = Callable[[float], None]
Vector = Float64[np.ndarray, " 3"]


@dataclass(frozen=True, eq=False)
class Pose:
    """`x -> rotation (x - pivot) + target`, mm: the fixed `pivot_mm` lands on `target_mm` in the moving world."""

    rotation: Float64[np.ndarray, "3 3"]
    pivot_mm: Vector
    target_mm: Vector

    @property
    def matrix(self) -> Affine:
        """4x4, from fixed world to moving world."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.rotation
        matrix[:3, 3] = self.target_mm - self.rotation @ self.pivot_mm
        return matrix


@dataclass(frozen=True, eq=False)
class View:
    """What the engine sees of a scan: an image of range 0 ... 1, about 4 mm fine, and the body with a margin."""

    image: Volume
    near_body: Mask

    @property
    def centre_mm(self) -> Vector:
        """The middle of the box around the body."""
        where = np.argwhere(self.near_body)
        return self.image.grid.world((where.min(axis=0) + where.max(axis=0)) / 2.0)


def rigid_pose(
    fixed: TimePoint, moving: TimePoint, basis: str, device: torch.device, on_progress: Progress = lambda share: None
) -> Pose:
    """The rigid motion that brings `moving` onto `fixed`, judged by their 'CT' or their 'activity'."""
    seen_f, seen_m = _view(fixed, basis), _view(moving, basis)
    on_progress(0.3)
    level = _Level.of(seen_f, seen_m, SEARCH_MM, np.inf, device)
    starts = sorted(_starts(seen_f, seen_m), key=level.score, reverse=True)
    pose = max((level.refined(start) for start in starts[:_STARTS]), key=level.score)
    on_progress(0.5)
    for spacing_mm, block_mm in LEVELS_MM[basis]:
        pose = _Level.of(seen_f, seen_m, spacing_mm, block_mm, device).refined(pose)
    on_progress(1.0)
    return pose


def _view(timepoint: TimePoint, basis: str) -> View:
    body = body_mask(timepoint)
    if basis == "CT" and timepoint.ct is not None:
        image = pooled(timepoint.ct, FINEST_MM)
        inside = body.resampled_to(image.grid).data > 0.5
        data = np.where(inside, scaled_ct(image), np.float32(0.0))  # the couch does not move with the patient
    else:
        image = pooled(timepoint.activity, FINEST_MM)
        data = scaled_activity(image, activity_scale(image))
    near = widened(body, _MARGIN_MM).resampled_to(image.grid).data > 0.5
    return View(image.with_data(data, Quantity.SCALAR), near if near.any() else np.ones_like(near))


def _starts(fixed: View, moving: View) -> list[Pose]:
    """Where to start from: as the worlds stand, body on body, and the best translation for some rotations."""
    pivot, body = fixed.centre_mm, moving.centre_mm
    starts = [Pose(np.eye(3), pivot, target) for target in (pivot, body)]
    turns = [Rotation.identity()]
    for axis in np.eye(3):
        turns += [Rotation.from_rotvec(sign * np.radians(_TRIED_DEGREES) * axis) for sign in (-1.0, 1.0)]
    lattice = _lattice(fixed.image.grid, pivot, np.eye(3))
    image_f, mask_f = _on(fixed.image, lattice), _on(_mask_volume(fixed), lattice) > 0.5
    coarse = pooled(moving.image, SEARCH_MM / 2)
    for turn in turns:
        rotated = _lattice(moving.image.grid, body, turn.as_matrix())
        covered = moving.image.grid.covers(rotated)
        shift, _ = best_shift(image_f, mask_f, _on(coarse, rotated), covered)
        index = lattice.index(pivot) + shift  # the voxel of the moving lattice that the pivot falls on
        starts.append(Pose(turn.as_matrix(), pivot, rotated.world(index)))
    return starts


def _lattice(grid: Grid, centre_mm: Vector, rotation: np.ndarray) -> Grid:
    """A coarse cubic lattice over all of `grid`, turned, with a voxel at `centre_mm`."""
    reach = np.abs((grid.corners_mm() - centre_mm) @ rotation).max(axis=0)
    half = np.ceil(reach / SEARCH_MM).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = rotation * SEARCH_MM
    affine[:3, 3] = centre_mm - affine[:3, :3] @ half
    return Grid(tuple(int(n) for n in 2 * half + 1), affine)  # type: ignore[arg-type]


def _mask_volume(seen: View) -> Volume:
    return seen.image.with_data(seen.near_body.astype(np.float32))


def _on(volume: Volume, lattice: Grid) -> np.ndarray:
    return pooled(volume, SEARCH_MM / 2).resampled_to(lattice).data


@dataclass(frozen=True, eq=False)
class _Level:
    """Points of the fixed body with their intensities, and the moving image, at one spacing."""

    points_mm: Float[Tensor, "n 3"]  # from the pivot
    values: Float[Tensor, " n"]
    block: Integer[Tensor, " n"]  # which block a point belongs to
    blocks: int
    moving: Float[Tensor, "1 1 i j k"]
    grid: Grid

    @classmethod
    def of(cls, fixed: View, moving: View, spacing_mm: float, block_mm: float, device: torch.device) -> "_Level":
        image_f, image_m = pooled(fixed.image, spacing_mm), pooled(moving.image, spacing_mm)
        chosen = np.argwhere(pooled(_mask_volume(fixed), spacing_mm).data > 0.5)
        if chosen.size == 0:
            raise InputError(
                f"an image of {' x '.join(map(str, fixed.image.grid.shape))} voxels is too small to register",
                remedy="Use --set registration.engine=none",
            )
        chosen = chosen[:: max(1, -(-len(chosen) // _POINTS))]
        points_mm = image_f.grid.world(chosen.astype(np.float64)) - fixed.centre_mm
        _, block = np.unique(np.floor(points_mm / block_mm), axis=0, return_inverse=True)
        return cls(
            torch.from_numpy(points_mm.astype(np.float32)).to(device),
            torch.from_numpy(image_f.data[tuple(chosen.T)]).to(device),
            torch.from_numpy(block.reshape(-1)).to(device),
            int(block.max()) + 1,
            torch.from_numpy(np.ascontiguousarray(image_m.data))[None, None].to(device),
            image_m.grid,
        )

    def score(self, pose: Pose) -> float:
        """Correlation at a pose; -1 where too little of the body is seen."""
        with torch.no_grad():
            correlation, overlap = self._compare(pose, torch.zeros(6, device=self.values.device))
        return float(correlation) if float(overlap) >= _LEAST_OVERLAP else -1.0

    def refined(self, pose: Pose) -> Pose:
        """The pose of greatest correlation near `pose`, by L-BFGS."""
        change = torch.zeros(6, device=self.values.device, requires_grad=True)
        optimiser = torch.optim.LBFGS(
            [change], lr=1.0, max_iter=_STEPS, tolerance_change=0.01, line_search_fn="strong_wolfe"
        )

        def loss() -> Tensor:
            optimiser.zero_grad()
            correlation, _ = self._compare(pose, change)
            value = -_GAIN * correlation
            value.backward()  # type: ignore[no-untyped-call]
            return value

        optimiser.step(loss)  # type: ignore[no-untyped-call]
        found = change.detach().cpu().double().numpy().round(_DECIMALS)
        turn = Rotation.from_rotvec(found[3:] / _LEVER_MM).as_matrix()
        return Pose(turn @ pose.rotation, pose.pivot_mm, pose.target_mm + found[:3])

    def _compare(self, pose: Pose, change: Float[Tensor, " 6"]) -> tuple[Tensor, Tensor]:
        """Correlation over what the moving field of view holds, and the part of the points that it holds.

        `change`: translation in mm, then rotation vector in mm at the lever.
        """
        to_index = self.grid.inverse_affine[:3, :3]
        origin = torch.from_numpy(self.grid.index(pose.target_mm)).to(self.points_mm)
        matrix = torch.from_numpy(to_index).to(self.points_mm)
        start = torch.from_numpy(pose.rotation).to(self.points_mm)
        turn = torch.linalg.matrix_exp(_cross(change[3:] / _LEVER_MM))
        index = self.points_mm @ (matrix @ turn @ start).T + origin + matrix @ change[:3]
        size = torch.tensor(self.grid.shape, device=index.device, dtype=index.dtype)
        seen = (torch.minimum(index + 0.5, size - 0.5 - index)).clamp(0.0, 1.0).prod(dim=1)
        place = (2 * index / (size - 1).clamp_min(1) - 1).flip(1)[None, None, None]  # torch counts k, j, i
        values = grid_sample(self.moving, place, padding_mode="border", align_corners=True).flatten()
        return self._correlation(values, seen), seen.mean()

    def _correlation(self, values: Float[Tensor, " n"], seen: Float[Tensor, " n"]) -> Tensor:
        """Mean correlation within the blocks, weighted by `sqrt(count var)` of the fixed image; of all as one block."""

        def per_block(x: Tensor) -> Tensor:
            return x.new_zeros(self.blocks).index_add(0, self.block, seen * x)

        count = per_block(torch.ones_like(values)).clamp_min(1e-3)
        a = self.values - (per_block(self.values) / count)[self.block]
        b = values - (per_block(values) / count)[self.block]
        sum_aa, sum_bb = per_block(a * a), per_block(b * b)
        flat_a, flat_b = (_FLAT * count * (x.sum() / count.sum()).detach() + 1e-12 for x in (sum_aa, sum_bb))
        if self.blocks == 1:
            flat_a = flat_b = torch.full_like(count, 1e-12)
        correlation = per_block(a * b) / ((sum_aa + flat_a) * (sum_bb + flat_b)).sqrt()
        weight = (count * sum_aa).sqrt().detach()
        return (weight * correlation).sum() / weight.sum().clamp_min(1e-12)


def _cross(vector: Float[Tensor, " 3"]) -> Float[Tensor, "3 3"]:
    """The matrix of the cross product with `vector`."""
    x, y, z = vector
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3)
