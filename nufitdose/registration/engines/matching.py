"""Two scans compared at points of the fixed body, and the linear map of the world that makes them most alike.

Correlation of the CTs where both scans have one, else of the activities (square roots, each over its own 99.9th
percentile). Between scans organs wash out and tumours take up, so activities may be correlated block by block: inside
a block a change of intensity costs nothing. Steps, blocks and weights are ours.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float64, Integer
from torch import Tensor
from torch.nn.functional import grid_sample

from nufitdose.anatomy.pooling import pool
from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.types import Affine, Mask
from nufitdose.volume import Volume

_STEPS = 15  # of L-BFGS on each level
_POINTS = 40_000  # compared at most
_LEVER_MM = 100.0  # a rotation is measured by how far it moves a point at this distance
_GAIN = 1000.0  # brings the slope of the correlation per mm near 1, where the first step of L-BFGS fits
_DECIMALS = 3  # of mm: the order of sums, which depends on threads, must not show in the result
_LEAST_OVERLAP = 0.3
_FLAT = 0.03  # blocks whose variance is far below this part of the image's variance count as flat

Vector = Float64[np.ndarray, " 3"]


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
    """Points of the fixed body with their intensities, and the moving image, at one spacing."""

    points_mm: Float[Tensor, "n 3"]  # from the pivot
    values: Float[Tensor, " n"]
    block: Integer[Tensor, " n"]  # which block a point belongs to
    blocks: int
    moving: Float[Tensor, "1 1 i j k"]
    grid: Grid

    @classmethod
    def of(cls, fixed: View, moving: View, spacing_mm: float, block_mm: float, device: torch.device) -> "Level":
        """Both scans at `spacing_mm`, the fixed body cut into blocks of `block_mm` (inf for none)."""
        image_f, image_m = pool(fixed.image, spacing_mm), pool(moving.image, spacing_mm)
        chosen = np.argwhere(pool(fixed.mask, spacing_mm).data > 0.5)
        if chosen.size == 0:
            raise InputError(
                f"an image of {' x '.join(map(str, fixed.image.grid.shape))} voxels is too small to register",
                remedy="Use --set registration.engine=none",
            )
        chosen = chosen[:: max(1, -(-len(chosen) // _POINTS))]
        points_mm = image_f.grid.world(chosen.astype(np.float64)) - fixed.centre_mm
        block = np.zeros(len(points_mm), dtype=np.int64)
        if np.isfinite(block_mm):
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

    def refined(self, pose: Pose, freedom: Literal[6, 12] = 6) -> Pose:
        """The pose of greatest correlation near `pose`, by L-BFGS: rigid, or affine with a `freedom` of 12."""
        change = torch.zeros(freedom, device=self.values.device, requires_grad=True)
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
        turn = _turn(torch.from_numpy(found[3:])).numpy()
        return Pose(turn @ pose.linear, pose.pivot_mm, pose.target_mm + found[:3])

    def _compare(self, pose: Pose, change: Float[Tensor, " freedom"]) -> tuple[Tensor, Tensor]:
        """Correlation over what the moving field of view holds, and the part of the points that it holds.

        `change`: translation in mm, then rotation vector, or change of the linear map, in mm at the lever.
        """
        to_index = self.grid.inverse_affine[:3, :3]
        origin = torch.from_numpy(self.grid.index(pose.target_mm)).to(self.points_mm)
        matrix = torch.from_numpy(to_index).to(self.points_mm)
        start = torch.from_numpy(pose.linear).to(self.points_mm)
        turn = _turn(change[3:])
        index = self.points_mm @ (matrix @ turn @ start).T + origin + matrix @ change[:3]
        size = torch.tensor(self.grid.shape, device=index.device, dtype=index.dtype)
        seen = (torch.minimum(index + 0.5, size - 0.5 - index)).clamp(0.0, 1.0).prod(dim=1)
        place = (2 * index / (size - 1).clamp_min(1) - 1).flip(1)[None, None, None]  # torch counts k, j, i
        values = grid_sample(self.moving, place, padding_mode="border", align_corners=True).flatten()
        return self._correlation(values, seen), seen.mean()

    def _correlation(self, values: Float[Tensor, " n"], seen: Float[Tensor, " n"]) -> Tensor:
        """Mean correlation within the blocks, weighted by `sqrt(count var)` of the fixed image; of all as one block."""

        def per_block(x: Tensor) -> Tensor:
            if self.blocks == 1:
                return (seen * x).sum().reshape(1)
            return x.new_zeros(self.blocks).index_add(0, self.block, seen * x)

        count = per_block(torch.ones_like(values)).clamp_min(1e-3)

        def centred(x: Tensor) -> Tensor:
            mean = per_block(x) / count
            return x - (mean if self.blocks == 1 else mean[self.block])

        a, b = centred(self.values), centred(values)
        sum_aa, sum_bb = per_block(a * a), per_block(b * b)
        flat_a, flat_b = (_FLAT * count * (x.sum() / count.sum()).detach() + 1e-12 for x in (sum_aa, sum_bb))
        if self.blocks == 1:
            flat_a = flat_b = torch.full_like(count, 1e-12)
        correlation = per_block(a * b) / ((sum_aa + flat_a) * (sum_bb + flat_b)).sqrt()
        weight = (count * sum_aa).sqrt().detach()
        return (weight * correlation).sum() / weight.sum().clamp_min(1e-12)


def _turn(change_mm: Tensor) -> Tensor:
    """The linear map of a change at the lever: of three numbers a rotation, of nine any."""
    if change_mm.numel() == 9:
        return torch.eye(3).to(change_mm) + change_mm.reshape(3, 3) / _LEVER_MM
    return torch.linalg.matrix_exp(_cross(change_mm / _LEVER_MM))


def _cross(vector: Float[Tensor, " 3"]) -> Float[Tensor, "3 3"]:
    """The matrix of the cross product with `vector`."""
    x, y, z = vector
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3)
