"""Mass density from CT numbers."""

import numpy as np
from numpy.typing import NDArray

from nufitdose.grid import Grid
from nufitdose.types import Numbers
from nufitdose.volume import Quantity, Volume

#: Schneider, Bortfeld, Schlegel, Phys Med Biol 2000;45:459, doi:10.1088/0031-9155/45/2/314: HU and g/mL,
#: linear between; the step at 100/101 HU is in the source. Ends are held.
SCHNEIDER_HU = np.array([-1000.0, -98.0, -97.0, 14.0, 23.0, 100.0, 101.0, 1600.0, 3000.0])
SCHNEIDER_G_ML = np.array([1.21e-3, 0.93, 0.930486, 1.03, 1.031, 1.1199, 1.0762, 1.9642, 2.8])


def mass_density_g_ml(hu: Numbers) -> NDArray[np.float32]:
    """Density of a CT number by Schneider's stoichiometric calibration, g/mL."""
    return np.asarray(np.interp(hu, SCHNEIDER_HU, SCHNEIDER_G_ML), dtype=np.float32)


def density_from_ct(ct: Volume, onto: Grid, *, beyond_ct_g_ml: float = 1.0) -> Volume:
    """Density on the dose grid: converted on the CT's own voxels, then averaged, so that mass is kept.

    Voxels that the CT does not cover get `beyond_ct_g_ml`: what is there is unknown, not air.
    """
    converted = np.empty_like(ct.data)
    for number, plane in enumerate(ct.data):  # numpy interpolates in double precision: four CTs' worth for a whole one
        converted[number] = mass_density_g_ml(plane)
    density = ct.with_data(converted, Quantity.DENSITY).averaged_onto(onto)
    return density.with_data(np.where(ct.grid.covers(onto), density.data, np.float32(beyond_ct_g_ml)))
