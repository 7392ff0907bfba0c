"""The known motion of digital patients, as tensors on the working grids of a pair."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample

from nufitdose.grid import Grid
from nufitdose.io.truth import read_true_fields
from nufitdose.registration.field import DisplacementField
from nufitdose.registration.tensors import VelocityTensor
from nufitdose.types import Affine

Motion = Float[Tensor, "6 _half_i _half_j _half_k"]


@dataclass(frozen=True, eq=False)
class TrueMotion:
    """From the reference pose to a scan (`field`) and back (`inverse`), mm, RAS+, pull."""

    field: DisplacementField
    inverse: DisplacementField

    def on(self, grid: Grid) -> Motion:
        """Both on the lattice of half resolution of a working grid: field, then inverse, mm."""
        half = half_lattice(grid)
        both = [torch.from_numpy(np.array(part.on(half).data)) for part in (self.field, self.inverse)]
        return torch.cat(both)


def read_motion(study_folder: Path, timepoint: str) -> TrueMotion | None:
    """The true motion of a scan; None for a study without truth. Raises `InputError` on a broken file."""
    found = read_true_fields(study_folder, timepoint)
    if found is None:
        return None
    return TrueMotion(DisplacementField(*found.field), DisplacementField(*found.inverse))


def half_lattice(grid: Grid) -> Grid:
    """The lattice of every second voxel: half voxel h lies at 2h + ½, as under average pooling."""
    to_fine = np.diag([2.0, 2.0, 2.0, 1.0])
    to_fine[:3, 3] = 0.5
    a, b, c = (n // 2 for n in grid.shape)
    return Grid((a, b, c), grid.affine @ to_fine)


def true_displacement(
    fixed: Motion, fixed_grid: Grid, moving: Motion, moving_grid: Grid, start: Affine
) -> VelocityTensor:
    """What a registration after `start` should find: `[1, 3, i/2, j/2, k/2]`, voxels of the fixed working grid.

    A fixed point goes back to the reference pose, from there to the moving scan, and back through the start.
    """
    half = half_lattice(fixed_grid)
    index = torch.stack(torch.meshgrid(*(torch.arange(float(n)) for n in half.shape), indexing="ij"))
    x = _transform(torch.tensor(half.affine, dtype=torch.float32), index)
    reference = x + fixed[3:].float()
    lattice = half_lattice(moving_grid)
    place = _transform(torch.tensor(lattice.inverse_affine, dtype=torch.float32), reference)
    sizes = torch.tensor(lattice.shape).reshape(3, 1, 1, 1)
    unit = (2.0 * place / (sizes - 1) - 1.0).flip(0).movedim(0, -1)[None]
    onward = grid_sample(moving[None, :3].float(), unit, padding_mode="border", align_corners=True)[0]
    found = _transform(torch.tensor(np.linalg.inv(start), dtype=torch.float32), reference + onward) - x
    turn = torch.tensor(fixed_grid.inverse_affine[:3, :3], dtype=torch.float32)
    return torch.einsum("cd,dijk->cijk", turn, found)[None]


def _transform(matrix: Tensor, points: Tensor) -> Tensor:
    return torch.einsum("cd,dijk->cijk", matrix[:3, :3], points) + matrix[:3, 3].reshape(3, 1, 1, 1)
