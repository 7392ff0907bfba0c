"""The step of Gauss and Newton's method on the half lattice as tensors: the system of `..linear_system`."""

import torch
from jaxtyping import Float32
from torch import Tensor

from nufitdose.registration.optimiser.on_device.correlation import Field, System
from nufitdose.registration.optimiser.on_device.lattice import Nodes, divergence, flow, spread, steepest
from nufitdose.registration.optimiser.stepping import conjugate_gradients, penalty_factors, shortening

Blocks = Float32[Tensor, "6 half_i half_j half_k"]


def newton_step(
    system: System,
    u: Field,
    weight: Nodes,
    smoothness: float,
    bending: float,
    damping: float,
    volume: Nodes,
) -> Field:
    """The displacement d that solves `(H + λ L + μ I) d = g - λ L u`; all is as in `..linear_system.newton_step`."""
    penalty = penalty_factors(smoothness, bending, keeps_volume=bool(volume.any()))
    equations = _Equations(system, u, (weight, volume, penalty), damping)
    conjugate_gradients(equations)
    return equations.step * shortening(steepest(equations.step))


class _Equations:
    """The system of a step."""

    def __init__(
        self, system: System, u: Field, terms: tuple[Nodes, Nodes, tuple[float, float, float]], damping: float
    ) -> None:
        self._terms = terms
        weight, volume, (rough, bent, dilated) = terms
        own = rough * weight * 6.0 + bent * weight.square() * 42.0 + dilated * volume * 2.0  # diagonals of L, L², DᵀD
        own += damping + 1e-6
        self._blocks = system[3:].clone()
        self._blocks[:3] += damping
        self._inverse = _inverse(torch.cat([system[3:6] + own, system[6:]]))
        self.step, self._search, self._better = (torch.zeros_like(u) for _ in range(3))
        self._applied = self._penalty(u)
        self._residual = system[:3] - self._applied

    def applied(self) -> float:
        """`(H + λ L + μ I)` applied to the search; their inner product."""
        self._applied = self._penalty(self._search) + _times(self._blocks, self._search)
        return _product(self._search, self._applied)

    def advance(self, length: float) -> float:
        """Go `length` along the search; the product of what is left with itself, preconditioned."""
        self.step.add_(self._search, alpha=length)
        self._residual.sub_(self._applied, alpha=length)
        self._better = _times(self._inverse, self._residual)
        return _product(self._residual, self._better)

    def turn(self, ratio: float) -> None:
        """Search along what is left, preconditioned, and `ratio` of the direction before."""
        self._search = self._better + ratio * self._search

    def _penalty(self, x: Field) -> Field:
        """`λ L x`."""
        weight, volume, (rough, bent, dilated) = self._terms
        once = flow(x, weight)
        out = rough * once + bent * flow(once, weight)
        return out + dilated * spread(volume * divergence(x)) if dilated else out


def _inverse(blocks: Blocks) -> Blocks:
    """Of symmetric 3 x 3 matrices, six numbers each (ii, jj, kk, ij, ik, jk)."""
    a, b, c, d, e, f = blocks
    ii, ij, ik = b * c - f * f, e * f - d * c, d * f - e * b
    inverse = torch.stack([ii, a * c - e * e, a * b - d * d, ij, ik, d * e - a * f])
    return inverse / (a * ii + d * ij + e * ik)


def _times(blocks: Blocks, x: Field) -> Field:
    """Symmetric 3 x 3 matrices times the vectors of a field."""
    a, b, c, d, e, f = blocks
    p, q, r = x
    return torch.stack([a * p + d * q + e * r, d * p + b * q + f * r, e * p + f * q + c * r])


def _product(x: Field, y: Field) -> float:
    return float((x * y).sum(dtype=torch.float64))
