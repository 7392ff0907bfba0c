"""A displacement that was optimised, corrected by what a network learned of such displacements.

The network knows how volumes change better than the images tell, and the images know better where edges lie. So after
its correction the images are asked once more, and departing from what it says costs: few steps of the optimiser, whose
roughness and change of volume are those of the departure.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nufitdose.registration.network.correction import MULTIPLE, FieldCorrection
from nufitdose.registration.optimiser.correlation import HalfField
from nufitdose.registration.optimiser.evidence import evidence_of
from nufitdose.registration.optimiser.images import Level
from nufitdose.registration.optimiser.lattice import compose
from nufitdose.registration.optimiser.newton import Objective
from nufitdose.registration.optimiser.on_processor import OnProcessor

_STEPS = 2
_STIFFER = 3.0  # is the departure from what the network says than a displacement, and its volume
_KEEPS_VOLUME = 10.0  # times more


def corrected(objective: Objective[Any], u: HalfField, network: FieldCorrection) -> HalfField:
    """The displacement u (voxels of the level, half lattice) after the network's correction and the images' answer."""
    level = objective.kernels.level
    base = u + predicted(level, objective.misfit, u, network)
    kernels = OnProcessor(replace(level, volume=_KEEPS_VOLUME * level.volume))
    u = base
    for _ in range(_STEPS):
        _, system = kernels.compare(u, objective.misfit)
        step = kernels.newton_step(system, u - base, _STIFFER * objective.smoothness.weight, objective.bending, 0.0)
        u = compose(step, u)
    return u


def predicted(level: Level, misfit: float, u: HalfField, network: FieldCorrection) -> HalfField:
    """What the network would add to u, voxels of the level."""
    a, b, c = u.shape[1:]
    evidence = _padded(torch.from_numpy(evidence_of(level, misfit, u)))
    with torch.no_grad():
        found_mm = network(evidence.to(next(network.parameters()).device))[0].cpu().numpy()
    return np.ascontiguousarray(2.0 / level.node_mm * found_mm[:, :a, :b, :c]).astype(np.float32)


def _padded(evidence: Float[Tensor, "evidence i j k"]) -> Float[Tensor, "1 evidence _ _ _"]:
    """With zeros behind, channels side by side as the network reads them: one copy in place of two."""
    count, *shape = evidence.shape
    sides = [-(-n // MULTIPLE) * MULTIPLE for n in shape]
    padded = evidence.new_zeros(1, count, *sides).contiguous(memory_format=torch.channels_last_3d)
    padded[0, :, : shape[0], : shape[1], : shape[2]] = evidence
    return padded
