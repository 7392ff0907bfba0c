"""Bones move as wholes: there a displacement becomes that of the rigid motion which fits it best around each node.

Around node x, with weights `g(x - y) b(y)` (g a Gaussian, b the share of bone), the rotation R and the shift t that
minimise `Σ_y g b |R y + t - y - u(y)|²` come from the singular values of the covariance of y and y + u (Kabsch 1976,
doi:10.1107/S0567739476001873). Joints need not be known: bones far apart do not weigh on each other, neighbours turn
gradually. Where the rigid motion fits the bones around a node no better than noise would let it, they do not move
rigidly, and are left as they are.
"""

from itertools import product

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray
from scipy import ndimage

from nufitdose.compiled import side_by_side
from nufitdose.registration.intensity import KNOTS_BRIGHTNESS, KNOTS_HU
from nufitdose.registration.optimiser.correlation import HalfField, HalfImage
from nufitdose.types import Image32

_LEAST_HU = 150.0
_LEAST_ML = 2.0  # smaller bright spots are contrast agent or calcification
_LEAST_SHARE = 0.05  # of bone at a node that moves with it
_WHOLE_SHARE = 1.0 / 3.0  # and from which on it moves as bone alone: nodes lie 8 mm apart, ribs are thinner


def bone_share(brightness: Image32, body: Image32, voxel_ml: float) -> HalfImage:
    """The share of bone at the nodes of the half lattice, from a CT by `tissue_contrast` and the mask of the body."""
    bright = (brightness > np.interp(_LEAST_HU, KNOTS_HU, KNOTS_BRIGHTNESS)) & (body > 0.5)
    labels, _ = ndimage.label(bright)
    large = np.bincount(labels.ravel()) * voxel_ml >= _LEAST_ML
    large[0] = False
    i, j, k = (n // 2 for n in bright.shape)
    parts = large[labels][: 2 * i, : 2 * j, : 2 * k].reshape(i, 2, j, 2, k, 2)
    return parts.mean(axis=(1, 3, 5), dtype=np.float32)


def stiffen_bones(u: HalfField, share: HalfImage, reach: float, noise: float) -> HalfField:
    """A displacement (voxels, two from node to node) that is rigid in bone over `reach` nodes, as it was elsewhere.

    `noise` (voxels) is the root mean square departure from rigid motion, over bone around a node, up to which all of it
    is taken out; of twice as much nothing is.
    """
    chosen = share > _LEAST_SHARE
    if not chosen.any():
        return u
    place = 2.0 * np.indices(u.shape[1:], dtype=np.float64)
    moved = place + u
    weight = np.maximum(_around(share, reach), 1e-9)
    means = list(side_by_side(lambda image: _around(share * image, reach) / weight, [*place, *moved]))
    centre, centre_moved = means[:3], means[3:]
    pairs = list(product(range(3), repeat=2))
    mixed = side_by_side(lambda pair: _around(share * place[pair[0]] * moved[pair[1]], reach) / weight, pairs)
    covariance = np.empty((int(chosen.sum()), 3, 3))
    for (c, d), mean in zip(pairs, mixed, strict=True):
        covariance[:, c, d] = (mean - centre[c] * centre_moved[d])[chosen]
    away = np.stack([(x - m)[chosen] for x, m in zip(place, centre, strict=True)], axis=-1)
    rigid = np.einsum("nij,nj->ni", _rotations(covariance), away)
    rigid += np.stack([(m - x)[chosen] for x, m in zip(place, centre_moved, strict=True)], axis=-1)
    departure = rigid.T - u[:, chosen]
    square = np.zeros(share.shape)
    square[chosen] = (departure**2).sum(axis=0)
    spread = np.sqrt(_around(share * square, reach) / weight)[chosen]
    taken = np.minimum(share[chosen] / _WHOLE_SHARE, 1.0) * np.clip(2.0 - spread / noise, 0.0, 1.0)
    out = u.copy()
    out[:, chosen] += (taken * departure).astype(np.float32)
    return out


def _around(image: NDArray[np.floating], reach: float) -> Float64[np.ndarray, "half_i half_j half_k"]:
    return ndimage.gaussian_filter(image.astype(np.float64), reach, mode="constant", truncate=3.0)


def _rotations(covariance: Float64[np.ndarray, "node 3 3"]) -> Float64[np.ndarray, "node 3 3"]:
    """The proper rotation nearest to each map; none where bone around is a point."""
    left, _, right = np.linalg.svd(covariance + 1e-6 * np.eye(3))
    right[:, 2] *= np.sign(np.linalg.det(left @ right))[:, None]
    return np.asarray(np.einsum("nji,nkj->nik", right, left))
