"""What a CT says of the voxels of an activity grid, computed once in a run and passed on."""

import logging
from dataclasses import dataclass

import numpy as np

from nufitdose.anatomy.body import body_mask_from_ct
from nufitdose.anatomy.composition import METAL_HU, SOFT_TISSUE, tissue_of_hu
from nufitdose.anatomy.density import SCHNEIDER_HU, density_from_ct
from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.types import Image32, Labels, Mask
from nufitdose.volume import Volume

log = logging.getLogger(__name__)

_LEAST_METAL_ML = 0.1  # less than that is noise, and nothing to speak of


@dataclass(frozen=True, eq=False)
class PreparedAnatomy:
    """The body on a grid and its mass density, g/mL.

    `body_share` is the share of each voxel within the body that the CT shows, 0 beyond the CT. `takes_dose` marks the
    voxels of the body, and those that the CT does not cover: what is there is unknown, not air. `tissue` is the row of
    `composition.SCHNEIDER_PERCENT` by voxel; None stands for water everywhere.
    """

    body_share: Image32
    takes_dose: Mask
    density: Volume
    tissue: Labels | None = None


def prepare_anatomy(ct: Volume, onto: Grid, *, beyond_ct_g_ml: float = 1.0) -> PreparedAnatomy:
    """Body, density and tissue of a CT on the grid `onto`; beyond it soft tissue of the density `beyond_ct_g_ml`.

    CT numbers are held at -1000 (air) and 3000 HU (Schneider's densest bone); what is denser than bone is taken for it,
    and said. Raises `InputError` where the CT covers no voxel of the grid, or holds what is not a number.
    """
    if not np.isfinite(ct.data).all():
        raise InputError(
            f"{int((~np.isfinite(ct.data)).sum())} voxels of the CT are not numbers",
            remedy="Give a CT whose every voxel has a CT number; padding is -1000 HU or below",
        )
    share, covered = body_mask_from_ct(ct).averaged_onto(onto).data, ct.grid.covers(onto)
    if not covered.any():
        raise InputError(
            "the CT covers no voxel of the activity: they lie in different places",
            remedy="Check that both images stand in one frame of reference, or leave the CT out",
        )
    metal_ml = float((ct.data >= METAL_HU).sum()) * ct.grid.voxel_volume_ml
    if metal_ml >= _LEAST_METAL_ML:
        log.warning(
            "%.1f mL of the CT have %g HU or more (metal, dense contrast medium, teeth): they are taken for bone, and "
            "what a metal shadows or blurs around it is not corrected",
            metal_ml,
            METAL_HU,
        )
    density = density_from_ct(ct, onto, beyond_ct_g_ml=beyond_ct_g_ml)
    held_hu = np.clip(ct.data, SCHNEIDER_HU[0], SCHNEIDER_HU[-1])  # padding far below air must not weigh in the mean
    tissue = np.where(covered, tissue_of_hu(ct.with_data(held_hu).averaged_onto(onto).data), np.uint8(SOFT_TISSUE))
    return PreparedAnatomy(share * covered, (share >= 0.5) | ~covered, density, tissue)


def share_in_body(ct: Volume, onto: Grid) -> Image32:
    """The share of each voxel of `onto` within the body that a CT shows; 0 beyond the CT."""
    return body_mask_from_ct(ct).averaged_onto(onto).data * ct.grid.covers(onto)
