"""The density that energy is divided by, the same for every engine that divides voxel by voxel."""

import logging

import numpy as np

from dosimetry.dose.values import DoseRequest
from nufitdose.types import Image32

log = logging.getLogger(__name__)


def floored_density_g_ml(request: DoseRequest) -> Image32 | float:
    """Mass density, g/mL, not below `density_floor_g_ml`; one number, as set, where there is no CT."""
    settings = request.settings
    if request.anatomy is None:
        return settings.density_without_ct_g_ml
    density, floor_g_ml = request.anatomy.density.data, settings.density_floor_g_ml
    thin = int((request.anatomy.takes_dose & (density < floor_g_ml)).sum())
    if thin:
        log.warning(
            "%.1f mL inside the body are thinner than %.2g g/mL (gas, lung); their dose is computed with %.2g g/mL",
            thin * request.tia.grid.voxel_volume_ml,
            floor_g_ml,
            floor_g_ml,
        )
    return np.maximum(density, np.float32(floor_g_ml))
