"""From time-integrated activity to absorbed dose."""

from dosimetry.dose.local import absorbed_dose
from nufitdose.anatomy.density import density_from_ct, mass_density_g_ml
from nufitdose.anatomy.tissue import Tissue, tissue_from_ct

__all__ = ["Tissue", "absorbed_dose", "density_from_ct", "mass_density_g_ml", "tissue_from_ct"]
