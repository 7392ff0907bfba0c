"""Tissue as water with α times as many electrons a gram and β times its photoelectric absorption.

Then D = α · D_Compton + β · D_photo, both doses of water that meets the same photons: where photons are known, the dose
to any tissue is. μ_tr/ρ from 0.05 to 1 MeV: to 0.4 % in lung and soft tissues, to 5 % (near 0.1 MeV) in the densest
bone of Schneider's tissues.
"""

from functools import lru_cache

import numpy as np

from dosimetry.dose.transport.photon_tables import INCOHERENT, PHOTOELECTRIC, WATER, cross_sections, photon_tables
from dosimetry.dose.transport.tissues import TissueTables, energy_absorption
from dosimetry.dose.transport.water import Numbers
from nufitdose.anatomy.composition import SCHNEIDER_PERCENT, mass_fractions

_COMPTON_MEV, _PHOTO_MEV = np.geomspace(0.06, 0.6, 10), np.geomspace(0.03, 0.1, 10)  # where α and β are taken


@lru_cache(maxsize=1)
def tissue_parts() -> tuple[Numbers, Numbers]:
    """α and β by row of `SCHNEIDER_PERCENT`."""
    return _over_water(_COMPTON_MEV, INCOHERENT), _over_water(_PHOTO_MEV, PHOTOELECTRIC)


def _over_water(energy_mev: Numbers, column: int) -> Numbers:
    water = cross_sections(WATER, energy_mev)[:, column]
    rows = (mass_fractions(row) for row in range(len(SCHNEIDER_PERCENT)))
    return np.array([np.mean(cross_sections(row, energy_mev)[:, column] / water) for row in rows])


def scoring_water(tables: TissueTables) -> tuple[TissueTables, TissueTables]:
    """The tissues' cross-sections, with what water takes by Compton's effect and pairs, and by the photoelectric one.

    Transport with them gives D_Compton and D_photo of water in the place of each voxel.
    """
    water = photon_tables(WATER)
    photo = water.values[:, PHOTOELECTRIC]
    parts = (energy_absorption(water) - photo, photo)
    compton, photo = (np.repeat(part[:, None], tables.total.shape[1], axis=1) for part in parts)
    return tables._replace(absorbed=compton), tables._replace(absorbed=photo)
