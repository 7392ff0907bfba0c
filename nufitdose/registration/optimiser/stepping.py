"""How a step is found from its linear system, whoever computes: penalties, conjugate gradients, how steep it may be.

What is added and multiplied at the nodes is left to those who hold the numbers: `linear_system`, compiled, and
`on_device.linear_system`, by tensors.
"""

from typing import Protocol, runtime_checkable

from nufitdose.registration.optimiser.lattice import PER_EDGE

_STEEPEST = 0.4  # change of a step between neighbouring nodes, in their distance: below 1/√3 no step folds
_MOST_ITERATIONS = 20
_ACCURACY = 0.1  # of a step: the next one corrects it


@runtime_checkable
class Equations(Protocol):
    """`A d = b` at the nodes with d, what is left of b, a preconditioner and a search direction, 0 at first."""

    def applied(self) -> float:
        """Apply A to the direction of search; their inner product."""

    def advance(self, length: float) -> float:
        """Go `length` along the search; the inner product of what is left with its preconditioned self."""

    def turn(self, ratio: float) -> None:
        """Search along what is left, preconditioned, and `ratio` of the direction before."""


def conjugate_gradients(equations: Equations) -> None:
    """Advance until what is left is a tenth of what there was."""
    product = equations.advance(0.0)  # only preconditions
    equations.turn(0.0)
    enough = _ACCURACY * _ACCURACY * product
    for _ in range(_MOST_ITERATIONS):
        if product <= max(enough, 0.0):
            break
        length = product / max(equations.applied(), 1e-30)
        before, product = product, equations.advance(length)
        equations.turn(product / before)


def penalty_factors(smoothness: float, bending: float, *, keeps_volume: bool) -> tuple[float, float, float]:
    """By what `L` of roughness, of curvature and of the squared divergence are multiplied in a step's system."""
    factor = 2.0 * PER_EDGE * smoothness
    return factor, factor * bending, factor * (9.0 if keeps_volume else 0.0)


def shortening(steepest: float) -> float:
    """The share of a step to take that changes by `steepest` (voxels) between neighbouring nodes, two voxels apart."""
    change = steepest / 2.0
    return _STEEPEST / change if change > _STEEPEST else 1.0
