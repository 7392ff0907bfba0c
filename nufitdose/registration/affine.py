"""Affine registration: the rigid pose, then twelve parameters, for scans of two patients.

Correlation of the CTs where both scans have one (mutual information is not needed between CTs), else of the scaled
activities, over the fixed body and 12 mm around it, on grids of 8 and 4 mm. Ours.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from nufitdose.registration.diffeomorphism import warp
from nufitdose.registration.pair import Pair, PairTensors, pair_of
from nufitdose.registration.rigid import rigid_pose
from nufitdose.registration.similarity import ncc
from nufitdose.registration.tensors import FieldTensor
from nufitdose.study import TimePoint
from nufitdose.types import Affine

_SPACING_MM = 4.0  # after twice that
_STEPS = 40  # of L-BFGS on each level
_LEVER_MM = 100.0  # linear parameters count as the shift of a point at this distance
_MOST_STRAIN = 0.35  # a larger change of any length is no anatomy
_GAIN = 1000.0  # brings the slope per mm near 1, where the first step of L-BFGS fits


def affine_matrix(
    fixed: TimePoint,
    moving: TimePoint,
    basis: str,
    device: torch.device,
    on_progress: Callable[[float], None] = lambda share: None,
) -> Affine:
    """4x4 from fixed world to moving world (mm), judged by their 'CT' or their 'activity'.

    The rigid pose is returned where the affine one is no more alike or strains by more than 35 %.
    """
    start = rigid_pose(fixed, moving, basis, device, lambda share: on_progress(0.7 * share)).matrix
    pair = pair_of(fixed, moving, _SPACING_MM, device, start)
    change = torch.zeros(12, device=device)
    for tensors in (pair.tensors.halved(), pair.tensors):
        change = _refined(tensors, basis, change)
    on_progress(1.0)
    with torch.no_grad():
        better = bool(_alike(pair.tensors, basis, change) > _alike(pair.tensors, basis, torch.zeros_like(change)))
    inner = _world_matrix(pair, change)
    strain = np.linalg.svd(inner[:3, :3], compute_uv=False)
    if not better or np.abs(np.log(strain)).max() > np.log1p(_MOST_STRAIN):
        return start
    return start @ inner


def _refined(pair: PairTensors, basis: str, start: Tensor) -> Tensor:
    change = start.clone().requires_grad_()
    optimiser = torch.optim.LBFGS(
        [change], lr=1.0, max_iter=_STEPS, tolerance_change=1e-4, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = -_GAIN * _alike(pair, basis, change)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    return change.detach()


def _alike(pair: PairTensors, basis: str, change: Tensor) -> Tensor:
    images = pair.ct if basis == "CT" else pair.activity
    u = _displacement(pair, change)
    seen = warp(torch.cat([images[:, :1], pair.body[:, :1]], dim=1), u)
    valid = pair.body[:, 1:] * seen[:, 1:]
    return ncc(seen[:, :1], images[:, 1:], valid)


def _displacement(pair: PairTensors, change: Tensor) -> FieldTensor:
    """u in voxels: `M x + t` about the middle of the grid, `change` in mm (three shifts, then M at the lever)."""
    spacing = pair.spacing_mm[0]
    sizes = pair.body.shape[2:]
    axes = [(torch.arange(n, device=change.device) - (n - 1) / 2.0) * spacing for n in sizes]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    matrix = change[3:].reshape(3, 3) / _LEVER_MM
    u = torch.tensordot(matrix, places, dims=1) + change[:3].reshape(3, 1, 1, 1)
    return u[None] / spacing


def _world_matrix(pair: Pair, change: Tensor) -> Affine:
    """The same map as 4x4 in the fixed world."""
    found = change.detach().double().cpu().numpy()
    spacing = pair.grid.spacing_mm[0]
    middle = (np.array(pair.grid.shape) - 1) / 2.0
    index = np.eye(4)
    index[:3, :3] += found[3:].reshape(3, 3) / _LEVER_MM
    index[:3, 3] = found[:3] / spacing - (index[:3, :3] - np.eye(3)) @ middle
    return pair.grid.affine @ index @ pair.grid.inverse_affine
