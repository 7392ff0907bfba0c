"""What a CT says of the voxels of an activity grid, computed once in a run and passed on."""

from dataclasses import dataclass

from nufitdose.anatomy.body import body_mask_from_ct
from nufitdose.anatomy.density import density_from_ct
from nufitdose.grid import Grid
from nufitdose.types import Image32, Mask
from nufitdose.volume import Volume


@dataclass(frozen=True, eq=False)
class PreparedAnatomy:
    """The body on a grid and its mass density, g/mL.

    `body_share` is the share of each voxel within the body that the CT shows, 0 beyond the CT. `takes_dose` marks the
    voxels of the body, and those that the CT does not cover: what is there is unknown, not air.
    """

    body_share: Image32
    takes_dose: Mask
    density: Volume


def prepare_anatomy(ct: Volume, onto: Grid, *, beyond_ct_g_ml: float = 1.0) -> PreparedAnatomy:
    """Body and density of a CT on the grid `onto`; beyond the CT density is `beyond_ct_g_ml`."""
    share, covered = body_mask_from_ct(ct).averaged_onto(onto).data, ct.grid.covers(onto)
    density = density_from_ct(ct, onto, beyond_ct_g_ml=beyond_ct_g_ml)
    return PreparedAnatomy(share * covered, (share >= 0.5) | ~covered, density)


def share_in_body(ct: Volume, onto: Grid) -> Image32:
    """The share of each voxel of `onto` within the body that a CT shows; 0 beyond the CT."""
    return body_mask_from_ct(ct).averaged_onto(onto).data * ct.grid.covers(onto)
