"""The kernels of a level by compiled loops over arrays of numpy."""

import numpy as np

from nufitdose.registration.optimiser import lattice
from nufitdose.registration.optimiser.correlation import HalfField, NodeSystem, compare
from nufitdose.registration.optimiser.images import Level
from nufitdose.registration.optimiser.linear_system import newton_step
from nufitdose.registration.optimiser.warping import warp_images
from nufitdose.types import Field

_ANY_MISFIT = 1000.0  # beside it no window counts less than another


class OnProcessor:
    """`Kernels` of one level; what is the same to the last bit with any number of threads."""

    def __init__(self, level: Level) -> None:
        self.level = level
        self._warped = np.empty_like(level.fixed)
        self._roughness = np.empty_like(level.stiffness)
        self._keeps_volume = bool(level.volume.any())

    def brought(self, u: HalfField) -> HalfField:
        """As it is."""
        return u

    def fetched(self, u: HalfField) -> HalfField:
        """As it is."""
        return u

    def compare(self, u: HalfField, misfit: float) -> tuple[float, NodeSystem]:
        """Warp, then `correlation.compare`."""
        level = self.level
        warp_images(level.moving, u, level.where, self._warped)
        return compare(level.fixed, self._warped, level.weights, level.floors, misfit)

    def mean_bend(self, system: NodeSystem) -> float:
        """The mean of ii, jj and kk of the bend over the nodes."""
        return float(system[..., 3:6].mean())

    def roughness(self, u: HalfField) -> float:
        """`lattice.roughness` times the stiffness."""
        lattice.roughness(u, self._roughness)
        return float((self.level.stiffness * self._roughness).sum(dtype=np.float64))

    def curvature(self, u: HalfField) -> float:
        """`lattice.curvature`."""
        return float(lattice.curvature(u, self.level.stiffness))

    def dilatation(self, u: HalfField) -> float:
        """`lattice.dilatation`."""
        return float(lattice.dilatation(u, self.level.volume)) if self._keeps_volume else 0.0

    def newton_step(
        self, system: NodeSystem, u: HalfField, smoothness: float, bending: float, damping: float
    ) -> HalfField:
        """`linear_system.newton_step`."""
        return newton_step(system, u, self.level.stiffness, smoothness, bending, damping, self.level.volume)

    def compose(self, inner: HalfField, outer: HalfField) -> HalfField:
        """`lattice.compose`."""
        return lattice.compose(inner, outer)

    def doubled(self, u: Field) -> HalfField:
        """`lattice.doubled`."""
        return lattice.doubled(u, self.level.stiffness.shape)


def correlation(level: Level, u: HalfField) -> float:
    """Mean `ρ²` of what is compared on a level, at a displacement."""
    warped = np.empty_like(level.fixed)
    warp_images(level.moving, u, level.where, warped)
    unlike, _ = compare(level.fixed, warped, level.weights, level.floors, _ANY_MISFIT)
    nothing, _ = compare(level.fixed, np.zeros_like(warped), level.weights, level.floors, _ANY_MISFIT)
    return 1.0 - unlike / nothing
