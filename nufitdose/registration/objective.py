"""What a registration minimises: dissimilarity of CT and activity in both directions, roughness of the field.

`L = Σ_m c_m ½ [S_m(moving∘φ, fixed) + S_m(fixed∘φ⁻¹, moving)] + (λ/2) [R(u; w_f) + R(u⁻¹; w_m)] + prior(w)`, φ =
exp(v), S the negative of a similarity, m CT and activity; the weights c_m are scaled to sum to 1. What is absent says
nothing: without CT, activity alone bends a field three times less easily, for its noise would bend it too.
Optional terms: overlap of structures, rigidity of tumours, inverse consistency, distance from a known motion.
Intensities are never subtracted: decay and biology change them between scans.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool3d

from nufitdose.config import Settings
from nufitdose.registration.descriptors import mind_similarity, ngf_similarity
from nufitdose.registration.diffeomorphism import compose, integrated, upsampled, warp
from nufitdose.registration.pair import PairTensors
from nufitdose.registration.regularization import (
    Prior,
    best_weight,
    clamped_weight,
    departure_from_rigidity,
    dilatation,
    roughness,
    weight_prior,
)
from nufitdose.registration.similarity import lncc, mutual_information
from nufitdose.registration.tensors import FieldTensor, HalfImageTensor, ImageTensor, VelocityTensor

Similarity = Literal["lncc", "mi", "mind", "ngf"]
Guide = Literal["uniform", "ct", "permuted"]
Scalar = Float[Tensor, ""]


class ObjectiveSettings(Settings):
    """Weights and kinds of the terms.

    `volume_without_ct` adds the squared divergence, so many times, to the roughness of a pair without CT: there an
    organ that washes out looks like one that shrinks, and tissue is hardly compressible. `guide` is the map from CT
    (`permuted` shuffles it, to show that its place matters); `relaxation` lets the weight fall where the field is
    rough, by the network's head where it has one, else by the closed form; `prior_strength` is β of the Beta or σ of
    the Gaussian prior. `flat_ct` and `flat_activity` are the parts of an image's variance below which a window counts
    as noise. Where structures are drawn, `dice` weighs 1 - Dice of those that both scans name, `rigidity` the
    deformation of tumours (see `departure_from_rigidity`). `motion` (per mm) weighs the distance from the true
    displacement, where a digital patient tells it. All values are chosen here.
    """

    similarity_ct: Similarity = "lncc"
    similarity_activity: Similarity = "lncc"
    weight_ct: float = 1.0
    weight_activity: float = 0.5
    window: int = 5
    flat_ct: float = 0.003
    flat_activity: float = 0.02
    symmetric: bool = True
    smoothness: float = 1.0
    volume_without_ct: float = 20.0
    guide: Guide = "ct"
    relaxation: Literal["none", "beta", "gaussian"] = "none"
    prior_strength: float = 0.05
    inverse_consistency: float = 0.0
    dice: float = 0.0
    rigidity: float = 0.0
    motion: float = 0.0

    @property
    def needs_structures(self) -> bool:
        """Whether a term compares structures."""
        return self.dice > 0 or self.rigidity > 0


@dataclass(frozen=True, eq=False)
class NetworkOutput:
    """A stationary velocity on the lattice of half resolution (voxels of the whole grid) and, maybe, a weight map.

    Where `displacement` is set, `velocity` is a displacement, used as it is, without an inverse by the group.
    """

    velocity: VelocityTensor
    weight: ImageTensor | None = None
    displacement: bool = False


@dataclass(frozen=True, eq=False)
class ObjectiveTerms:
    """The total and its parts, unweighted; `similarity_*` are larger for more alike, 0 where a modality is absent."""

    total: Scalar
    similarity_ct: Scalar
    similarity_activity: Scalar
    smoothness: Scalar
    prior: Scalar
    inverse_consistency: Scalar
    dice: Scalar
    rigidity: Scalar
    motion_mm: Scalar


def displacements(output: NetworkOutput) -> tuple[VelocityTensor, VelocityTensor]:
    """u and u⁻¹ on the lattice of half resolution, in voxels of the whole grid."""
    if output.displacement:
        return output.velocity, -output.velocity
    return integrated(output.velocity), integrated(-output.velocity)


def objective(output: NetworkOutput, pair: PairTensors, settings: ObjectiveSettings) -> ObjectiveTerms:
    """All terms for the field of `output` on `pair`, averaged over the batch."""
    forth, back = displacements(output) if settings.symmetric else (_forward_only(output), None)
    u = upsampled(forth)
    u_back = None if back is None else upsampled(back)
    zero = u.new_zeros(())
    ways = [_Way.of(pair, u, moving=0)] + ([] if u_back is None else [_Way.of(pair, u_back, moving=1)])
    alike = torch.stack([torch.stack(way.similarities(pair.present, settings)) for way in ways]).mean(dim=0)
    smooth, prior = _regularisation(output, pair, settings, forth, back)
    consistency = zero
    if settings.inverse_consistency > 0 and back is not None:
        consistency = compose(forth, back).square().sum(dim=1).mean()
    overlap = zero
    if settings.dice > 0 and pair.labels is not None:
        ways_u = ((forth, 0),) if back is None else ((forth, 0), (back, 1))
        overlap = torch.stack([_soft_dice(pair.labels, field, moving) for field, moving in ways_u]).mean()
    stiff = zero
    if settings.rigidity > 0 and pair.tumours is not None:
        stiff = _tumour_strain(forth, back, pair, pair.tumours)
    shift_mm = zero if pair.motion is None else _measure_shift_mm(forth, pair, pair.motion)
    total = (
        -alike[2]
        + settings.smoothness * smooth
        + prior
        + settings.inverse_consistency * consistency
        + settings.rigidity * stiff
        + settings.motion * shift_mm
        + (settings.dice * (1.0 - overlap) if settings.dice > 0 and pair.labels is not None else zero)
    )
    return ObjectiveTerms(total, alike[0], alike[1], smooth, prior, consistency, overlap, stiff, shift_mm)


def _forward_only(output: NetworkOutput) -> VelocityTensor:
    return output.velocity if output.displacement else integrated(output.velocity)


@dataclass(frozen=True, eq=False)
class _Way:
    """One direction: images warped and target, both of `[batch, 1, ...]`, and where they may be compared."""

    ct: tuple[ImageTensor, ImageTensor]
    activity: tuple[ImageTensor, ImageTensor]
    valid: ImageTensor

    @classmethod
    def of(cls, pair: PairTensors, u: FieldTensor, moving: int) -> "_Way":
        m, f = slice(moving, moving + 1), slice(1 - moving, 2 - moving)
        images = torch.cat([pair.ct[:, m], pair.activity[:, m], pair.body[:, m]], dim=1)
        warped = warp(images, u)
        ct, activity, seen = warped[:, :1], warped[:, 1:2], warped[:, 2:]
        valid = pair.body[:, f] * (seen.detach() > 0.99)
        return cls((ct, pair.ct[:, f]), (activity, pair.activity[:, f]), valid)

    def similarities(self, present: Tensor, settings: ObjectiveSettings) -> list[Scalar]:
        """CT, activity, and their weighted mean with 0 for what is absent, each averaged over the batch."""
        rows = []
        total = max(settings.weight_ct + settings.weight_activity, 1e-6)
        for n, (has_ct, has_activity) in enumerate(present.tolist()):
            one = slice(n, n + 1)
            valid = self.valid[one]
            zero = valid.new_zeros(())
            ct = activity = zero
            if has_ct:
                a, b = (x[one] for x in self.ct)
                ct = _similarity(settings.similarity_ct, a, b, valid, valid, settings.window, settings.flat_ct)
            if has_activity:
                a, b = (x[one] for x in self.activity)
                hot = valid * b  # square root of activity: noise of few counts says little
                activity = _similarity(
                    settings.similarity_activity, a, b, hot, valid, settings.window, settings.flat_activity
                )
            mean = (settings.weight_ct * ct + settings.weight_activity * activity) / total
            rows.append(torch.stack([ct, activity, mean]))
        return list(torch.stack(rows).mean(dim=0).unbind(0))


def _similarity(
    kind: Similarity, a: ImageTensor, b: ImageTensor, weight: ImageTensor, valid: ImageTensor, window: int, flat: float
) -> Scalar:
    if kind == "lncc":
        return lncc(a, b, window=window, weight=weight, valid=valid, flat=flat)
    if kind == "mi":
        return mutual_information(a, b, weight=weight)
    if kind == "mind":
        return mind_similarity(a, b, weight)
    return ngf_similarity(a, b, weight)


def _regularisation(
    output: NetworkOutput,
    pair: PairTensors,
    settings: ObjectiveSettings,
    forth: VelocityTensor,
    back: VelocityTensor | None,
) -> tuple[Scalar, Scalar]:
    """Weighted roughness, mean over both directions, and the price of the learned weight."""
    sizes_mm = forth.new_tensor(pair.spacing_mm).reshape(1, 3, 1, 1, 1)
    a, b, c = (2.0 * s for s in pair.spacing_mm)
    smooth, prior = [], forth.new_zeros(())
    for side, u in ((1, forth), (0, back)):
        if u is None:
            continue
        g = roughness(u * sizes_mm, (a, b, c))
        if settings.volume_without_ct > 0 and not pair.present[:, 0].all():
            alone = (~pair.present[:, 0]).to(g).reshape(-1, 1, 1, 1, 1)
            g = g + settings.volume_without_ct * alone * dilatation(u * sizes_mm, (a, b, c))
        w_ct = guide(pair.weight_ct[:, side : side + 1], settings.guide)
        weight = w_ct
        if settings.relaxation != "none":
            learned = _learned(output, settings.relaxation, settings, g, u if side == 0 else None)
            weight = w_ct * learned
            prior = prior + weight_prior(learned, settings.relaxation, settings.prior_strength, w_ct)
        smooth.append((weight * g).mean())
    return torch.stack(smooth).mean(), prior / len(smooth)


def _learned(
    output: NetworkOutput, prior: Prior, settings: ObjectiveSettings, g: HalfImageTensor, back: VelocityTensor | None
) -> HalfImageTensor:
    """The learned weight on the half lattice; the head's map belongs to the fixed scan and is warped for the other."""
    if output.weight is None:
        return best_weight(g.detach(), settings.smoothness, prior, settings.prior_strength)
    weight = clamped_weight(avg_pool3d(output.weight, 2), prior)
    return weight if back is None else warp(weight, back / 2.0)


def guide(weight: ImageTensor, kind: Guide) -> HalfImageTensor:
    """The map of the weight on the half lattice: from CT as it is, 1 everywhere, or with its values out of place."""
    pooled = avg_pool3d(weight, 2)
    if kind == "uniform":
        return torch.ones_like(pooled)
    if kind == "permuted":
        shuffled = torch.randperm(pooled[0].numel(), generator=torch.Generator().manual_seed(0)).to(pooled.device)
        return pooled.flatten(1)[:, shuffled].reshape(pooled.shape)
    return pooled


def _tumour_strain(
    forth: VelocityTensor, back: VelocityTensor | None, pair: PairTensors, tumours: ImageTensor
) -> Scalar:
    """Mean of `‖JᵀJ - I‖²` over the tumours of each scan, under the field that leaves it, averaged over directions."""
    sizes_mm = forth.new_tensor(pair.spacing_mm).reshape(1, 3, 1, 1, 1)
    a, b, c = (2.0 * s for s in pair.spacing_mm)
    means = []
    for side, u in ((1, forth), (0, back)):
        if u is not None:
            where = avg_pool3d(tumours[:, side : side + 1], 2)
            means.append((where * departure_from_rigidity(u * sizes_mm, (a, b, c))).sum() / where.sum().clamp_min(1.0))
    return torch.stack(means).mean()


def _measure_shift_mm(forth: VelocityTensor, pair: PairTensors, motion: VelocityTensor) -> Scalar:
    """Mean distance from the true displacement over the fixed body, mm; rounded off below 1 mm."""
    sizes_mm = forth.new_tensor(pair.spacing_mm).reshape(1, 3, 1, 1, 1)
    where = avg_pool3d(pair.body[:, 1:], 2)
    distance = (((forth - motion) * sizes_mm).square().sum(dim=1, keepdim=True) + 1.0).sqrt() - 1.0
    return (where * distance).sum() / where.sum().clamp_min(1.0)


def _soft_dice(labels: Tensor, u: VelocityTensor, moving: int) -> Scalar:
    """Mean over labels of `2 Σ ab / (Σ a² + Σ b²)` between warped and fixed shares of each voxel, half resolution.

    With squares below equal shares are 1 (Milletari et al. 2016, doi:10.1109/3DV.2016.79).
    """
    present = [int(label) for label in torch.unique(labels) if label > 0]
    if not present:
        return u.new_zeros(())
    shares = torch.stack([avg_pool3d((labels == label).to(u.dtype), 2) for label in present], dim=2)
    target, source = shares[:, 1 - moving], shares[:, moving]  # batch, label
    warped = warp(source, u / 2.0)
    both = (warped * target).sum(dim=(2, 3, 4))
    either = (warped.square() + target.square()).sum(dim=(2, 3, 4))
    return (2.0 * both / either.clamp_min(1e-6)).mean()
