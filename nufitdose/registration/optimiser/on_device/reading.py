"""Tensors read between their voxels, at any number of places at once: linearly, by cubic B-splines.

Places count in double precision and only their fractions in single, as in the compiled loops: a voxel's number and a
fraction do not both fit into single precision.
"""

from itertools import product

import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

Images = Float32[Tensor, "channel i j k"]
Places = Float64[Tensor, "3 place"]
Values = Float32[Tensor, "channel place"]


def read_linear(images: Images, places: Places) -> Values:
    """All channels at places (voxels); beyond the images their border goes on."""
    shape = images.shape[1:]
    lower, share = _cells(places, shape)
    out = images.new_zeros(len(images), places.shape[1])
    for corner in product((0, 1), repeat=3):
        voxels = [(lower[d] + corner[d]).clamp_max(shape[d] - 1) for d in range(3)]
        a, b, c = (share[d] if corner[d] else 1.0 - share[d] for d in range(3))
        out.addcmul_(_taken(images, _flat(voxels, shape)), a * b * c)
    return out


def read_splines(coefficients: Float32[Tensor, "channel pi pj pk"], places: Places) -> Values:
    """All channels at places (voxels), each by 4³ coefficients that are padded as in `reading.spline_coefficients`."""
    shape = coefficients.shape[1:]
    lower, share = _cells(places, [n - 3 for n in shape])
    across, along, deep = (_cubic_weights(t) for t in share)
    first = _flat(list(lower), shape)
    rows = coefficients.new_zeros(4, len(coefficients), places.shape[1])
    for e, f in product(range(4), repeat=2):
        weight = across[e] * along[f]
        for g in range(4):
            rows[g].addcmul_(_taken(coefficients, first + ((e * shape[1] + f) * shape[2] + g)), weight)
    return (rows * deep[:, None]).sum(dim=0)


def _cells(
    places: Places, shape: torch.Size | list[int]
) -> tuple[Int64[Tensor, "3 place"], Float32[Tensor, "3 place"]]:
    """The voxels at or before places, clamped to the image, and how far behind them the places lie."""
    last = places.new_tensor([n - 1.0 for n in shape])[:, None]
    inside = places.clamp_min(0.0).minimum(last)
    lower = inside.long()
    return lower, (inside - lower).float()


def _cubic_weights(t: Float32[Tensor, " place"]) -> Float32[Tensor, "4 place"]:
    """The four cubic B-splines that reach a point the fraction t behind a voxel."""
    s = 1.0 - t
    inner, outer = 4.0 + 3.0 * t * t * (t - 2.0), 4.0 + 3.0 * s * s * (s - 2.0)
    return torch.stack([s * s * s, inner, outer, t * t * t]) / 6.0


def _flat(voxels: list[Tensor], shape: torch.Size) -> Int64[Tensor, " place"]:
    i, j, k = voxels
    return (i * shape[1] + j) * shape[2] + k


def _taken(images: Images, at: Int64[Tensor, " place"]) -> Values:
    return images.flatten(1).index_select(1, at)
