"""How the correction learns: crops, mirrored at random, by the error of the displacement and of its differences."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.nn.functional import avg_pool3d

from nufitdose.registration.network.correction import MULTIPLE
from nufitdose.registration.optimiser.evidence import ODD_ALONG
from nufitdose.training.correction_examples import Example, StoredExample
from nufitdose.training.pairs import made_ahead

_CROP = 32  # nodes
_LEAST_BODY = 0.25  # of a crop
_TRIES = 20
_AT_TUMOURS = 0.5  # share of the crops that hold one, where the patient has any
_LOST_MM = 8.0  # where the optimiser went so far astray nothing is learned
_SOFT_MM, _SOFT_CHANGE_MM = 0.2, 0.03  # below them an error counts by its square
_LEAST_SHARE = 0.3  # of body in a node
_LEAST_LOSS = 0.3
_OF_TUMOURS = 0.5  # what is told of tumours apart counts so much
_ORDER = 5  # what a number is drawn for; see `pairs`

Number = Float[Tensor, ""]
Numbers = Float[Tensor, " batch"]


class Crops:
    """Batches of `count` crops by place, each of an example drawn at random, made ahead in `workers` threads."""

    def __init__(self, examples: Sequence[StoredExample], count: int, *, seed: int, workers: int = 0) -> None:
        self._examples, self._count, self._seed, self._workers = examples, count, seed, workers

    def at(self, place: int) -> Example:
        """The batch at `place`."""
        random = np.random.default_rng([self._seed, _ORDER, place])
        crops = [self._draw(random) for _ in range(self._count)]
        return Example.joined(crops)

    def along(self, places: Iterator[int]) -> Iterator[Example]:
        """The batches at `places`, one after the other."""
        return made_ahead(self.at, places, self._workers)

    def _draw(self, random: np.random.Generator) -> Example:
        stored = self._examples[int(random.integers(len(self._examples)))]
        at_tumour = len(stored.tumours) > 0 and random.random() < _AT_TUMOURS
        for _ in range(_TRIES):
            low = _at_tumour(stored, random) if at_tumour else _anywhere(stored, random)
            i, j, k = (slice(a, a + _CROP) for a in low)
            crop = stored.read((i, j, k))
            if float(crop.body.mean()) >= _LEAST_BODY:
                break
        for axis in np.flatnonzero(random.random(3) < 0.5):
            crop = mirrored(crop, int(axis))
        return crop.padded(3 * [_CROP])


def _anywhere(stored: StoredExample, random: np.random.Generator) -> list[int]:
    """The first node of a crop, along each axis."""
    return [int(random.integers(max(n - _CROP, 0) + 1)) for n in stored.shape]


def _at_tumour(stored: StoredExample, random: np.random.Generator) -> list[int]:
    """That of a crop with a node of a tumour in its inner half, where the image allows it."""
    node = stored.tumours[int(random.integers(len(stored.tumours)))]
    around = node - random.integers(_CROP // 4, 3 * _CROP // 4, 3)
    return [int(np.clip(a, 0, max(n - _CROP, 0))) for a, n in zip(around, stored.shape, strict=True)]


def mirrored(example: Example, axis: int) -> Example:
    """A crop `[channel, i, j, k]` as a mirror across one axis shows it."""
    odd = torch.tensor([-1.0 if axis in axes else 1.0 for axes in ODD_ALONG]).reshape(-1, 1, 1, 1)
    turned = example.mapped(lambda image: image.flip(axis + 1))
    missing = turned.missing.clone()
    missing[axis] *= -1.0
    return Example(turned.evidence * odd, missing, turned.weight, turned.tumour, turned.active, turned.body)


def loss_of(smoothness_mm: float, precision: str) -> Callable[[nn.Module, Example, Generator], Mapping[str, Number]]:
    """The loss of a batch, and its terms: `displacement` (mm) and `change`, over the body and in tumours.

    `..._start` are the terms without a correction. In every crop the loss is divided by what it would be then, so that
    pairs that are hard to optimise do not outweigh the others.
    """

    def whole(terms: Mapping[str, Numbers]) -> Numbers:
        body = terms["displacement"] + smoothness_mm * terms["change"]
        tumours = terms["tumour_displacement"] + 2.0 * smoothness_mm * terms["tumour_change"]
        return body + _OF_TUMOURS * tumours

    def loss(model: nn.Module, batch: Example, chance: Generator) -> Mapping[str, Number]:
        with torch.autocast(batch.evidence.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            found = model(batch.evidence)
        terms, before = errors(found.float() - batch.missing, batch), errors(-batch.missing, batch)
        share = whole(terms) / (_LEAST_LOSS + whole(before))
        told = {"loss": share} | terms | {f"{name}_start": values for name, values in before.items()}
        return {name: values.mean() for name, values in told.items()}

    return loss


def validation_of(
    examples: Sequence[StoredExample], smoothness_mm: float, precision: str, device: torch.device
) -> Callable[[nn.Module], Mapping[str, float]]:
    """Mean loss and terms over whole pairs."""
    loss = loss_of(smoothness_mm, precision)

    def validate(model: nn.Module) -> Mapping[str, float]:
        rows = []
        for stored in examples:
            whole = stored.read((slice(None), slice(None), slice(None)))
            batch = Example.joined([whole.padded([-(-n // MULTIPLE) * MULTIPLE for n in stored.shape])]).to(device)
            terms = loss(model, batch, Generator())
            rows.append([float(value) for value in terms.values()])
        return dict(zip(terms, np.mean(rows, axis=0).tolist(), strict=True))

    return validate


def errors(error: Float[Tensor, "batch 3 i j k"], batch: Example) -> dict[str, Numbers]:
    """Weighted means over the body of each crop: of the error of the displacement (mm), and of how that changes.

    Means are of `√(|e|² + s²) - s`. `change` is that of the divergence, and a tenth of each axis' differences,
    which count where there is activity, and most in tumours: where volumes are wrong, integrals are. In tumours, which
    fill few nodes of a body, both are told apart; there the divergence is a mean over 3³ nodes, as integrals feel it.
    """
    known = ((batch.missing**2).sum(1, keepdim=True) < _LOST_MM**2) & (batch.body > _LEAST_SHARE)
    square = (error**2).sum(1, keepdim=True)
    i, j, k = (n - 1 for n in error.shape[2:])
    here = error[..., :i, :j, :k]
    steps = [error[..., 1:, :j, :k] - here, error[..., :i, 1:, :k] - here, error[..., :i, :j, 1:] - here]
    weight = (0.15 + 3.0 * batch.active + 4.0 * batch.tumour + 0.15 * batch.weight) * known
    weight, tumour = weight[..., :i, :j, :k], (batch.tumour * known)[..., :i, :j, :k]
    divergence = torch.as_tensor(sum(step[:, c : c + 1] for c, step in enumerate(steps)))
    change = _mean(divergence**2, _SOFT_CHANGE_MM, weight)
    around = avg_pool3d(divergence, 3, stride=1, padding=1)
    return {
        "displacement": _mean(square, _SOFT_MM, batch.weight * known),
        "change": change + 0.1 * sum(_mean((s**2).sum(1, keepdim=True), _SOFT_CHANGE_MM, weight) for s in steps),
        "tumour_displacement": _mean(square, _SOFT_MM, batch.tumour * known),
        "tumour_change": _mean(around**2, _SOFT_CHANGE_MM, tumour),
    }


def _mean(square: Float[Tensor, "batch 1 i j k"], soft: float, weight: Float[Tensor, "batch 1 i j k"]) -> Numbers:
    costs = weight * ((square + soft**2).sqrt() - soft)
    return costs.sum((1, 2, 3, 4)) / weight.sum((1, 2, 3, 4)).clamp(min=1.0)
