"""Displacements on the half lattice as tensors: the penalties and compositions of `..lattice`, all nodes at once."""

import torch
from jaxtyping import Float32
from torch import Tensor
from torch.nn.functional import interpolate, pad

from nufitdose.registration.optimiser.lattice import PER_EDGE
from nufitdose.registration.optimiser.on_device.correlation import Field
from nufitdose.registration.optimiser.on_device.reading import read_linear

Nodes = Float32[Tensor, "half_i half_j half_k"]
FinerField = Float32[Tensor, "3 2*half_i 2*half_j 2*half_k"]

_AXES = (1, 2, 3)


def roughness(u: Field, weight: Nodes) -> float:
    """`2/9 Σ_edges w |Δu|²`, w the mean of both ends: g times the weight, summed over the voxels."""
    edges = (u.diff(dim=d).square().sum(dim=0) * _edge_weight(weight, d) for d in _AXES)
    return PER_EDGE * float(sum(x.sum(dtype=torch.float64) for x in edges))


def curvature(u: Field, weight: Nodes) -> float:
    """`|h ∇·(w ∇u)|² / 9`, h the distance of the nodes, summed over the voxels."""
    return PER_EDGE * float(flow(u, weight).square().sum(dtype=torch.float64))


def dilatation(u: Field, weight: Nodes) -> float:
    """The squared divergence times its weight, summed over the voxels."""
    return 2.0 * float((weight * divergence(u).square()).sum(dtype=torch.float64))


def flow(x: Field, weight: Nodes) -> Field:
    """`∇·(-w ∇x)` by differences between nodes, w the mean of both; nothing passes the border."""
    out = torch.zeros_like(x)
    for d in _AXES:
        passing = _edge_weight(weight, d) * x.diff(dim=d)
        out.narrow(d, 0, passing.shape[d]).sub_(passing)
        out.narrow(d, 1, passing.shape[d]).add_(passing)
    return out


def divergence(u: Field) -> Nodes:
    """By differences to the next node along each axis; 0 at nodes that lack one."""
    a, b, c = u[0].diff(dim=0), u[1].diff(dim=1), u[2].diff(dim=2)
    return pad(a[:, :-1, :-1] + b[:-1, :, :-1] + c[:-1, :-1], (0, 1, 0, 1, 0, 1))


def spread(change: Nodes) -> Field:
    """The transpose of `divergence`, of what is 0 at nodes that lack a next one."""
    return torch.stack([change.roll(1, dims=d) - change for d in range(3)])


def compose(inner: Field, outer: Field) -> Field:
    """`inner + outer∘(x + inner)`."""
    axes = [torch.arange(n, dtype=torch.float64, device=inner.device) for n in inner.shape[1:]]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij")) + 0.5 * inner.double()
    return inner + read_linear(outer, places.flatten(1)).reshape(inner.shape)


def doubled(u: Field) -> FinerField:
    """A displacement on nodes twice as fine, node h at (h - ½) / 2 of the coarser, in voxels half as large; linear."""
    return 2.0 * interpolate(u[None], scale_factor=2.0, mode="trilinear", align_corners=False)[0]


def steepest(u: Field) -> float:
    """Greatest difference between neighbouring nodes."""
    return max(float(u.diff(dim=d).square().sum(dim=0).max()) for d in _AXES) ** 0.5


def _edge_weight(weight: Nodes, axis: int) -> Float32[Tensor, "_i _j _k"]:
    """The mean weight of the ends of every edge along an axis of a field."""
    edges = weight.shape[axis - 1] - 1
    return 0.5 * (weight.narrow(axis - 1, 0, edges) + weight.narrow(axis - 1, 1, edges))
