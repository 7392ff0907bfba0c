"""Absorbed dose by local deposition: what electrons, alphas and recoils carry stays in its voxel."""

import logging
from typing import Literal

import numpy as np

from nufitdose.anatomy.tissue import Tissue, tissue_from_ct
from nufitdose.nuclides import chain_emissions
from nufitdose.volume import Quantity, Volume

log = logging.getLogger(__name__)


def absorbed_dose(
    tia: Volume,
    ct: Volume | Tissue | None = None,
    nuclide: str = "Lu-177",
    engine: Literal["local"] = "local",
    *,
    density_without_ct_g_ml: float = 1.0,
    density_floor_g_ml: float = 0.2,
) -> Volume:
    """Dose in Gy on the grid of `tia` (Bq·h/mL).

    D = c̃ · Δ / ρ with Δ in Gy·g/(MBq·h) of the nuclide and its included progeny, photons excluded
    (MIRD local deposition). ρ comes from `ct`, bounded below by `density_floor_g_ml`; air outside the
    body receives no dose. Without CT, and beyond its field of view, ρ is `density_without_ct_g_ml`. `Tissue` in the
    place of the CT is what one says of the grid of `tia`, for several doses on it.
    """
    if tia.quantity is not Quantity.TIA:
        raise ValueError(f"absorbed dose needs a volume of {Quantity.TIA}, got {tia.quantity}")
    if engine != "local":
        raise ValueError(f"unknown dose engine {engine!r}, known: 'local'")
    dose = tia.data * np.float32(1e-6 * chain_emissions(nuclide).local_gy_g_per_mbq_h)
    if ct is None:
        return tia.with_data(dose / np.float32(density_without_ct_g_ml), Quantity.DOSE)
    if isinstance(ct, Volume):
        ct = tissue_from_ct(ct, tia.grid, beyond_ct_g_ml=density_without_ct_g_ml)
    density, inside = ct.density.data, ct.takes_dose
    floored = int((inside & (density < density_floor_g_ml)).sum())
    if floored:
        log.warning(
            "%.1f mL inside the body are thinner than %.2g g/mL (gas, lung); their dose is computed with %.2g g/mL",
            floored * tia.grid.voxel_volume_ml,
            density_floor_g_ml,
            density_floor_g_ml,
        )
    dose /= np.maximum(density, np.float32(density_floor_g_ml))
    dose[~inside] = 0.0
    return tia.with_data(dose, Quantity.DOSE)
