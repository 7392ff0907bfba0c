"""From time-integrated activity to absorbed dose."""

from dosimetry.dose.registry import ENGINES, DoseEngine, absorbed_dose, engine_named
from dosimetry.dose.values import AbsorbedDose, DoseRequest
from nufitdose.anatomy.density import density_from_ct, mass_density_g_ml

__all__ = [
    "ENGINES",
    "AbsorbedDose",
    "DoseEngine",
    "DoseRequest",
    "absorbed_dose",
    "density_from_ct",
    "engine_named",
    "mass_density_g_ml",
]
