"""From time-integrated activity to absorbed dose."""

from dosimetry.dose.absorbed import absorbed_dose
from dosimetry.dose.density import density_from_ct, mass_density_g_ml

__all__ = ["absorbed_dose", "density_from_ct", "mass_density_g_ml"]
