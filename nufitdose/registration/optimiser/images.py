"""What the optimiser compares, level by level, from coarse to fine: channels, their weights, the noise in them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import avg_pool3d

from nufitdose.registration.descriptors import mind_ssc, normalised_gradient
from nufitdose.registration.objective import ObjectiveSettings, guide
from nufitdose.registration.optimiser.bones import bone_share
from nufitdose.registration.optimiser.correlation import HalfImage, Images
from nufitdose.registration.optimiser.warping import Splines, splines_of
from nufitdose.registration.pair import PairTensors
from nufitdose.types import Image32

LocalSimilarity = Literal["lncc", "mind", "ngf"]
_TUMOUR_STIFFNESS = 100.0  # times the weight of its rigidity: how much stiffer than tissue a tumour is
_LEAST_VARIANCE = 1e-8
_LEAST_SIDE = 16  # voxels, of images that can be halved


@dataclass(frozen=True, eq=False)
class Level:
    """One resolution: images as `correlation.compare` and `warp_images` want them, weights of the penalties at nodes.

    `where` is what is compared and the voxels beside, which slopes there are taken from.
    `stiffness` weighs the roughness, `volume` beside it the squared divergence. Nodes are `node_mm` apart. `ct` is that
    of the fixed scan, whether it is compared or not.
    """

    fixed: Images
    moving: Splines
    where: Bool[np.ndarray, "i j k"]
    weights: Float32[np.ndarray, "compared 2"]
    floors: Float32[np.ndarray, "compared 2"]
    stiffness: HalfImage
    volume: HalfImage
    node_mm: float
    ct: Image32 | None

    @property
    def voxels(self) -> float:
        """How many are compared."""
        return float(self.fixed[-1].sum())

    @cached_property
    def bone(self) -> HalfImage:
        """The share of bone at nodes of the fixed scan; 0 without CT."""
        if self.ct is None:
            return np.zeros_like(self.stiffness)
        return bone_share(self.ct, self.fixed[-1], (self.node_mm / 2.0) ** 3 / 1000.0)


def levels_of(pair: PairTensors, count: int, terms: ObjectiveSettings, volume_with_ct: float = 0.0) -> list[Level]:
    """Up to `count` levels, the finest at the pair's own spacing; as many as the sides can be halved for.

    `volume_with_ct` weighs change of volume beside CTs, times the fixed activity (0 ... 1): where volumes are wrong,
    integrals are.
    """
    pairs = [pair]
    while len(pairs) < count and can_be_halved(pairs[0]):
        pairs.insert(0, pairs[0].halved())
    return [_level(one, terms, volume_with_ct) for one in pairs]


def can_be_halved(pair: PairTensors) -> bool:
    """Whether half the resolution still has a half lattice, and enough voxels to compare."""
    return all(n % 4 == 0 and n >= _LEAST_SIDE for n in pair.ct.shape[2:])


def _level(pair: PairTensors, terms: ObjectiveSettings, volume_with_ct: float) -> Level:
    has_ct = bool(pair.present[0, 0])
    total = terms.weight_ct + terms.weight_activity
    body = pair.body[0].numpy()
    images: list[Tensor] = []  # each [moving and fixed, i, j, k]
    weights: list[tuple[float, float]] = []
    flat: list[float] = []
    if has_ct and terms.weight_ct > 0:
        images.append(pair.ct[0])
        weights.append((terms.weight_ct / total, 0.0))
        flat.append(terms.flat_ct)
    if terms.weight_activity > 0:
        share = terms.weight_activity / total
        activity = pair.activity[0]
        if terms.similarity_activity == "lncc":
            hot = float(activity[1].numpy()[body[1] > 0.5].mean())
            images.append(activity)
            weights.append((0.0, share / max(hot, 1e-3)))  # √activity: noise of few counts says little
            flat.append(terms.flat_activity)
        else:
            describe = mind_ssc if terms.similarity_activity == "mind" else normalised_gradient
            channels = describe(activity[:, None])
            images += list(channels.unbind(1))
            weights += [(share / channels.shape[1], 0.0)] * channels.shape[1]
            flat += [terms.flat_activity] * channels.shape[1]
    floors = [
        [part * _variance(image[side].numpy(), body[side]) for side in (1, 0)]
        for image, part in zip(images, flat, strict=True)
    ]
    stiffness = _stiffness(pair, terms)
    volume = np.full_like(stiffness, terms.volume_without_ct)
    if has_ct:
        volume = np.float32(volume_with_ct) * activity_at_nodes(pair)
    stack = np.stack([image.numpy() for image in (*images, pair.body[0])])
    return Level(
        fixed=np.ascontiguousarray(stack[:, 1]),
        moving=splines_of(stack[:, 0]),
        where=ndimage.binary_dilation(body[1] > 0),
        weights=np.array(weights, dtype=np.float32),
        floors=np.array(floors, dtype=np.float32),
        stiffness=stiffness,
        volume=volume,
        node_mm=2.0 * min(pair.spacing_mm),
        ct=pair.ct[0, 1].numpy() if has_ct else None,
    )


def activity_at_nodes(pair: PairTensors) -> HalfImage:
    """The activity of the fixed scan on the half lattice, 0 ... 1: channels hold its square root."""
    return np.ascontiguousarray(avg_pool3d(pair.activity[:, 1:], 2)[0, 0].numpy() ** 2)


def _variance(image: Image32, body: Image32) -> float:
    inside = image[body > 0.5]
    return max(float(inside.var()) if inside.size else 0.0, _LEAST_VARIANCE)


def _stiffness(pair: PairTensors, terms: ObjectiveSettings) -> HalfImage:
    """The weight of roughness on the half lattice: from the fixed CT, more in tumours that shall stay as they are."""
    weight = guide(pair.weight_ct[:, 1:], terms.guide)
    if terms.rigidity > 0 and pair.tumours is not None:
        weight = weight * (1.0 + _TUMOUR_STIFFNESS * terms.rigidity * avg_pool3d(pair.tumours[:, 1:], 2))
    return np.ascontiguousarray(weight[0, 0].numpy())
