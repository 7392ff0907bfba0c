"""A displacement that was optimised, corrected by what a network learned of such displacements."""

import numpy as np
import torch
from torch.nn.functional import pad

from nufitdose.registration.network.correction import FieldCorrection
from nufitdose.registration.optimiser.correlation import HalfField
from nufitdose.registration.optimiser.evidence import evidence_of
from nufitdose.registration.optimiser.images import Level

_MULTIPLE = 4  # of the sides that the network halves twice


def corrected(level: Level, misfit: float, u: HalfField, network: FieldCorrection) -> HalfField:
    """The displacement u (voxels of the level, half lattice) with the network's correction added."""
    evidence = torch.from_numpy(evidence_of(level, misfit, u))[None]
    i, j, k = (-n % _MULTIPLE for n in u.shape[1:])
    with torch.no_grad():
        found_mm = network(pad(evidence, (0, k, 0, j, 0, i)))[0].numpy()
    a, b, c = u.shape[1:]
    return u + (2.0 / level.node_mm * found_mm[:, :a, :b, :c]).astype(np.float32)
