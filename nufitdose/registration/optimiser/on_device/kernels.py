"""The kernels of a level by tensors: its images are brought to the device once, displacements as they are asked for."""

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from nufitdose.registration.optimiser.correlation import HalfField
from nufitdose.registration.optimiser.images import Level
from nufitdose.registration.optimiser.on_device import lattice
from nufitdose.registration.optimiser.on_device.correlation import Field, Moving, System, compare, warp_images
from nufitdose.registration.optimiser.on_device.linear_system import newton_step


class OnDevice:
    """`Kernels` of one level on a device of torch, equal within rounding to those of `OnProcessor`."""

    def __init__(self, level: Level, device: torch.device) -> None:
        self.level, self._device = level, device
        self._moving = self._moving_of(level)
        self._fixed, self._weights, self._floors, self._stiffness, self._volume = (
            self._tensor(x) for x in (level.fixed, level.weights, level.floors, level.stiffness, level.volume)
        )

    def brought(self, u: HalfField) -> Field:
        """To the device."""
        return self._tensor(u)

    def fetched(self, u: Field) -> HalfField:
        """From the device."""
        return u.cpu().numpy()

    def compare(self, u: Field, misfit: float) -> tuple[float, System]:
        """Warp, then compare."""
        return compare(self._fixed, warp_images(self._moving, u), self._weights, self._floors, misfit)

    def mean_bend(self, system: System) -> float:
        """The mean of ii, jj and kk of the bend over the nodes."""
        return float(system[3:6].mean())

    def roughness(self, u: Field) -> float:
        """With the stiffness."""
        return lattice.roughness(u, self._stiffness)

    def curvature(self, u: Field) -> float:
        """With the stiffness."""
        return lattice.curvature(u, self._stiffness)

    def dilatation(self, u: Field) -> float:
        """With the level's weight of volume."""
        return lattice.dilatation(u, self._volume)

    def newton_step(self, system: System, u: Field, smoothness: float, bending: float, damping: float) -> Field:
        """With the level's weights."""
        return newton_step(system, u, self._stiffness, smoothness, bending, damping, self._volume)

    def compose(self, inner: Field, outer: Field) -> Field:
        """`inner + outer∘(x + inner)`."""
        return lattice.compose(inner, outer)

    def doubled(self, u: Field) -> lattice.FinerField:
        """On nodes twice as fine."""
        return lattice.doubled(u)

    def _moving_of(self, level: Level) -> Moving:
        """The two channels of each pair of splines stand apart here."""
        pairs, where = self._tensor(level.moving.coefficients), self._tensor(level.where)
        channels = torch.stack([pairs[..., 0::2], pairs[..., 1::2]], dim=1).flatten(0, 1)[: len(level.weights)]
        return Moving(channels, self._tensor(level.moving.mask)[None], where.nonzero().T.contiguous())

    def _tensor(self, array: Shaped[np.ndarray, "..."]) -> Shaped[Tensor, "..."]:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)
