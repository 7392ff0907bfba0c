"""Instance optimisation: the velocity of one pair, improved on lattices from coarse to fine.

On every level `v = v₀ + B θ`: v₀ is what was found before (by a network, and by the coarser levels), B a cubic
B-spline on a lattice of three voxels, θ found by Adam on the same objective as in training. The better of before and
after is kept. Levels, steps and rates are chosen here. Of a network's velocity the smooth part is taken for a start: it
says where, and what is finer than B could not be taken back.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from nufitdose.config import Settings
from nufitdose.registration.diffeomorphism import upsampled
from nufitdose.registration.objective import NetworkOutput, ObjectiveSettings, objective
from nufitdose.registration.pair import PairTensors
from nufitdose.registration.smoothing import gaussian
from nufitdose.registration.tensors import VelocityTensor


class RefineSettings(Settings):
    """`steps` of Adam on each level, the coarsest first and the last at the pair's own spacing.

    Images are smoothed by `blur_voxels` first, a start by `start_blur` voxels of the half lattice. `rate` is in voxels
    of the level; `lattice` the distance of control points in voxels of the half lattice. A level ends early when ten
    steps change the loss by less than `tolerance` of itself.
    """

    steps: tuple[int, ...] = (40, 40, 10)
    blur_voxels: float = 1.0
    rate: float = 0.15
    lattice: float = 3.0
    start_blur: float = 2.0
    tolerance: float = 1e-4


@dataclass(frozen=True, eq=False)
class Refined:
    """The velocity, the loss at the finest level before and after, and the steps made on each level."""

    velocity: VelocityTensor
    before: float
    after: float
    steps: tuple[int, ...]


def refine(
    pair: PairTensors,
    velocity: VelocityTensor | None = None,
    settings: RefineSettings | None = None,
    terms: ObjectiveSettings | None = None,
    on_progress: Callable[[float], None] = lambda share: None,
) -> Refined:
    """Improve a velocity of the half lattice (voxels of the whole grid; default 0) for one pair.

    `terms` are the weights and kinds of the objective's terms. Levels too coarse to hold a window are left out.
    """
    settings, terms = settings or RefineSettings(), terms or ObjectiveSettings()
    pair = pair.smoothed(settings.blur_voxels)
    given = _zero(pair) if velocity is None else velocity.detach()
    start = given if velocity is None else gaussian(given, settings.start_blur)
    levels = _pyramid(pair, len(settings.steps))
    steps = settings.steps[len(settings.steps) - len(levels) :]
    with torch.no_grad():
        before = _loss(given, pair, terms)
    made: list[int] = []
    change = torch.zeros_like(_halved(start, len(levels) - 1))  # what is added to the start, detail of which is kept
    total = max(1, sum(n * 8**level for level, n in enumerate(steps)))
    done = 0
    for level, (seen, count) in enumerate(zip(levels, steps, strict=True)):
        if level:
            change = _finer(change, seen)
        base = _halved(start, len(levels) - 1 - level)
        found, used = _level(base + change, seen, count, settings, terms)
        change = found - base
        made.append(used)
        done += count * 8**level
        on_progress(done / total)
    found = start + change
    with torch.no_grad():
        after = _loss(found, pair, terms)
    if not after < before:
        return Refined(given, before, before, tuple(made))
    return Refined(found, before, after, tuple(made))


def _level(
    start: VelocityTensor, pair: PairTensors, steps: int, settings: RefineSettings, terms: ObjectiveSettings
) -> tuple[VelocityTensor, int]:
    """The best velocity met on one level, and the steps made."""
    basis = [_spline_basis(n, settings.lattice).to(start) for n in start.shape[2:]]
    theta = torch.zeros((1, 3, *(b.shape[1] for b in basis)), device=start.device, requires_grad=True)
    optimiser = torch.optim.Adam([theta], lr=settings.rate)
    best, best_loss, losses = start, np.inf, []
    for step in range(steps):
        velocity = start + _expanded(theta, basis)
        loss = objective(NetworkOutput(velocity), pair, terms).total
        losses.append(float(loss.detach()))
        if losses[-1] < best_loss:
            best, best_loss = velocity.detach(), losses[-1]
        if step >= 10 and abs(losses[-11] - losses[-1]) < settings.tolerance * abs(losses[-1]):
            break
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return best, len(losses)


def _expanded(theta: Tensor, basis: list[Tensor]) -> VelocityTensor:
    """`B θ`, one axis after the other."""
    for matrix in basis:  # the axis in front is summed and its result goes to the back
        theta = torch.tensordot(theta, matrix, dims=([2], [1]))
    return theta


def _loss(velocity: VelocityTensor, pair: PairTensors, terms: ObjectiveSettings) -> float:
    return float(objective(NetworkOutput(velocity), pair, terms).total)


def _zero(pair: PairTensors) -> VelocityTensor:
    half = [n // 2 for n in pair.ct.shape[2:]]
    return torch.zeros((1, 3, *half), device=pair.ct.device)


def _pyramid(pair: PairTensors, levels: int) -> list[PairTensors]:
    """The pair at halved resolutions, coarsest first, as far as its sides can be halved into lattices."""
    pairs = [pair]
    while len(pairs) < levels and all(n % 4 == 0 and n >= 32 for n in pairs[0].ct.shape[2:]):
        pairs.insert(0, pairs[0].halved())
    return pairs


def _halved(velocity: Tensor, times: int) -> Tensor:
    for _ in range(times):
        velocity = interpolate(velocity, scale_factor=0.5, mode="area") / 2.0
    return velocity


def _finer(velocity: VelocityTensor, pair: PairTensors) -> Tensor:
    """A velocity on the next finer lattice; its values count in voxels half as large."""
    assert all(2 * n == m // 2 for n, m in zip(velocity.shape[2:], pair.ct.shape[2:], strict=True))
    return upsampled(velocity) * 2.0


def _spline_basis(size: int, spacing: float) -> Tensor:
    """Cubic B-splines `[size, control points]`, control points `spacing` apart and one beyond either end."""
    count = int(np.ceil((size - 1) / spacing)) + 3
    distance = np.abs(np.arange(size)[:, None] / spacing - (np.arange(count)[None] - 1))
    near = 2.0 / 3.0 - distance**2 + distance**3 / 2.0
    far = np.clip(2.0 - distance, 0.0, None) ** 3 / 6.0
    return torch.from_numpy(np.where(distance < 1.0, near, far).astype(np.float32))
