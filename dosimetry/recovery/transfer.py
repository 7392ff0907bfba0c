"""The geometric transfer matrix: how much each part of the body gives to each other through the resolution."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dosimetry.recovery.partition import Partition, Patch
from dosimetry.recovery.point_spread import Box, PointSpread
from nufitdose.anatomy.regions import Region
from nufitdose.types import F64, Image32, Mask

_LEAST_ACTIVITY = 1e-3  # of the brightest part: beneath it nothing is divided by what the model shows


@dataclass(frozen=True, eq=False)
class Reading:
    """A structure's activity in an image of Bq/mL, Bq, and the weight of each voxel in it, mL, in a box around it.

    Voxels of neighbours whose activity spills into the structure count negative. What lies beyond the box counts too.
    """

    activity_bq: float
    box: Box
    weights: F64


@dataclass(frozen=True, eq=False)
class TransferMatrix:
    """`w` [i, j] = mean over part i of the blurred part j, so that measured means are t = w T (Rousset et al. 1998,
    J Nucl Med 39:904-911) with the true concentrations T.

    `noise` [parts] is by how much solving multiplies the standard error of each mean, for noise alike in all voxels.
    """

    partition: Partition
    seen: tuple[Patch, ...]
    blurred: tuple[Patch, ...]
    w: F64
    noise: F64

    @property
    def condition(self) -> float:
        """Condition number of the matrix."""
        return float(np.linalg.cond(self.w))

    def reading(self, name: str, region: Region, activity: Image32) -> Reading:
        """How the activity of a structure in the corrected image, A = Σ v I s/(h ⊗ s), hangs on each voxel of I.

        I counts by itself and by the concentrations T that it gives to all parts: dA/dI = v s/(h ⊗ s) + Σ dA/dT dT/dI,
        dA/dT_j = Σ v I (m_j - (h ⊗ m_j) s/(h ⊗ s))/(h ⊗ s), dT/dI = w⁻¹ m/Σm. Parts held at 0 stay there.
        """
        concentrations = self.solve(activity)
        box = self.blurred[self.partition.names.index(name)].box
        sharp, shown = (_mixed(parts, concentrations, box) for parts in (self.partition.shares, self.blurred))
        safe = shown > _floor(concentrations)
        divisor = np.where(safe, shown, 1.0)
        factor = np.where(safe, sharp / divisor, sharp > 0)
        volume_ml = np.zeros(activity.shape)
        volume_ml.reshape(-1)[region.index] = region.part_ml
        weights = volume_ml[box] * factor
        corrected_bq = float(np.vdot(weights, activity[box]))
        lent = np.where(safe, volume_ml[box] * activity[box] / divisor, 0.0)
        held = np.flatnonzero(concentrations)
        by_part = np.array(
            [np.vdot(lent, self.partition.shares[n].within(box) - factor * self.blurred[n].within(box)) for n in held]
        )
        by_mean = by_part @ np.linalg.inv(self.w[np.ix_(held, held)])
        seen = [self.seen[n] for n in held]
        per_voxel = by_mean / [max(_total(part), 1e-9) for part in seen]
        return Reading(corrected_bq, box, weights + _mixed(seen, per_voxel, box))

    def solve(self, activity: Image32) -> F64:
        """Concentrations T of the parts, Bq/mL; one that would be negative is 0 and its own mean is not used."""
        means = np.array([part.dot(activity) / max(_total(part), 1e-9) for part in self.seen])
        found, held = np.zeros_like(means), np.ones(means.size, dtype=bool)
        while held.any():
            found[held] = np.linalg.solve(self.w[np.ix_(held, held)], means[held])
            if (found >= 0).all():
                break
            held &= found > 0
            found[~held] = 0.0
        return found

    def uniform(self, activity: Image32) -> Image32:
        """The image of the parts with the concentrations that `solve` finds, each uniform, without blur."""
        return self._painted(self.solve(activity))[0]

    def deblur(self, activity: Image32) -> Image32:
        """The image with what the resolution did undone voxel by voxel, `I s / (h ⊗ s)` (Thomas et al. 2011).

        s holds the concentrations T of the parts, h is the point spread function; region-based voxel-wise correction
        (Eur J Nucl Med Mol Imaging 38:1104-1119). What lies outside all parts, as air, is emptied.
        """
        concentrations = self.solve(activity)
        sharp, shown = self._painted(concentrations)
        safe = shown > _floor(concentrations)
        return np.where(safe, activity * sharp / np.where(safe, shown, 1.0), activity * (sharp > 0)).astype(np.float32)

    def _painted(self, concentrations: F64) -> tuple[Image32, Image32]:
        """The parts with these concentrations, and what the scanner would show of them."""
        sharp, shown = (np.zeros(self.partition.grid.shape, dtype=np.float32) for _ in range(2))
        for share, blurred, value in zip(self.partition.shares, self.blurred, concentrations, strict=True):
            share.add_to(sharp, float(value))
            blurred.add_to(shown, float(value))
        return sharp, shown


def transfer_matrix(parts: Partition, spread: PointSpread, inside: Mask | None = None) -> TransferMatrix:
    """The matrix of a partition for a resolution; means are taken over voxels `inside` alone."""
    blurred = parts.blurred(spread)
    seen = parts.shares
    if inside is not None:
        seen = tuple(replace(part, values=part.values * inside[part.box]) for part in parts.shares)
    w = np.array([[part.overlap(other) for other in blurred] for part in seen])
    sizes = np.array([_total(part) for part in seen])
    w = np.where(sizes[:, None] > 0, w / np.maximum(sizes, 1e-9)[:, None], np.eye(len(sizes)))
    inverse = np.linalg.inv(w)
    noise = np.sqrt((inverse**2 / sizes[None, :]).sum(axis=1) * sizes)
    return TransferMatrix(parts, seen, blurred, w, noise)


def _floor(concentrations: F64) -> np.float32:
    """What the model must show for a voxel to be divided by it."""
    return np.float32(_LEAST_ACTIVITY * max(float(concentrations.max()), 0.0))


def _mixed(parts: Sequence[Patch], amounts: F64, box: Box) -> F64:
    """The sum of the parts, each multiplied by its amount, in a box."""
    mixed = np.zeros([side.stop - side.start for side in box])
    for part, amount in zip(parts, amounts, strict=True):
        mixed += float(amount) * part.within(box)
    return mixed


def _total(part: Patch) -> float:
    return float(part.values.sum(dtype=np.float64))
