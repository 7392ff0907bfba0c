"""What a CT says of the voxels of a dose grid, told once for every dose on it."""

from dataclasses import dataclass

from nufitdose.anatomy.body import body_mask_from_ct
from nufitdose.anatomy.density import density_from_ct
from nufitdose.grid import Grid
from nufitdose.types import Mask
from nufitdose.volume import Volume


@dataclass(frozen=True, eq=False)
class Tissue:
    """Mass density, g/mL, and the voxels that take up dose: those of the body, and those that the CT does not cover."""

    density: Volume
    takes_dose: Mask


def tissue_from_ct(ct: Volume, onto: Grid, *, beyond_ct_g_ml: float = 1.0) -> Tissue:
    """Tissue on the dose grid `onto`; beyond the CT its density is `beyond_ct_g_ml`."""
    takes_dose = (body_mask_from_ct(ct).averaged_onto(onto).data >= 0.5) | ~ct.grid.covers(onto)
    return Tissue(density_from_ct(ct, onto, beyond_ct_g_ml=beyond_ct_g_ml), takes_dose)
