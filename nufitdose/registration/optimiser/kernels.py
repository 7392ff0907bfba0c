"""What Gauss and Newton's method asks of one level, wherever the numbers lie: the only operations that cost time.

`OnProcessor` answers with compiled loops over arrays of numpy, `OnDevice` with tensors of torch on a GPU. What both say
is equal within rounding.
"""

from typing import Protocol, TypeVar, runtime_checkable

from nufitdose.registration.optimiser.correlation import HalfField
from nufitdose.registration.optimiser.images import Level

Numbers = TypeVar("Numbers")


@runtime_checkable
class Kernels(Protocol[Numbers]):
    """The operations on displacements u (voxels, `[3, half_i, half_j, half_k]`) and systems of one level."""

    @property
    def level(self) -> Level:
        """What is compared."""

    def brought(self, u: HalfField) -> Numbers:
        """A displacement to where the kernels compute."""

    def fetched(self, u: Numbers) -> HalfField:
        """A displacement from there."""

    def compare(self, u: Numbers, misfit: float) -> tuple[float, Numbers]:
        """`correlation.compare` of the fixed images with the moving ones seen through u: value, slope and bend."""

    def mean_bend(self, system: Numbers) -> float:
        """The mean of ii, jj and kk of the bend over the nodes."""

    def roughness(self, u: Numbers) -> float:
        """That of `lattice` times the stiffness, summed over the nodes."""

    def curvature(self, u: Numbers) -> float:
        """That of `lattice` with the stiffness for its weight."""

    def dilatation(self, u: Numbers) -> float:
        """That of `lattice` with the level's weight of volume."""

    def newton_step(self, system: Numbers, u: Numbers, smoothness: float, bending: float, damping: float) -> Numbers:
        """That of `linear_system` with the level's weights."""

    def compose(self, inner: Numbers, outer: Numbers) -> Numbers:
        """`inner + outer∘(x + inner)`."""

    def doubled(self, u: Numbers) -> Numbers:
        """A displacement of the next coarser level on this one's nodes."""
