"""Whose activity a structure's dose is from: what its own errs by moves that part of the dose alone."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dosimetry.config import DoseSettings
from dosimetry.dose.spheres import sphere_s_value
from dosimetry.uncertainty.budget import Part, Source
from nufitdose.anatomy.regions import Region
from nufitdose.volume import Volume

_DECAYS_PER_MBQ_H = 3.6e9


@dataclass(frozen=True)
class Sources:
    """The share of a structure's mean dose that its own activity gives, and what the others' Ã errs by, relative."""

    own_share: float
    u_elsewhere: float

    @property
    def part(self) -> Part:
        """What the activity of others does to the dose: their photons, and what crosses the surface."""
        share = 1.0 - self.own_share
        return Part(
            "dose from elsewhere", 0.0, share * self.u_elsewhere, Source.MEASURED, f"{100.0 * share:.0f} % of the dose"
        )


def own_shares(
    nuclide: str,
    tia_mbq_h: Mapping[str, float],
    regions: Mapping[str, Region],
    dose: Volume,
    density: Volume | None,
    settings: DoseSettings,
) -> dict[str, float]:
    """Ã S/D of every region, S that of a sphere of its mass and density, at most 1; 1 where there is no dose.

    Other shapes keep less of their own radiation, so that the shares err towards 1. Where the engine deposits energy
    where it is emitted, all of the dose is the structure's own.
    """
    if settings.engine == "local":
        return dict.fromkeys(regions, 1.0)
    plain = settings.density_without_ct_g_ml
    found = {}
    for name, region in regions.items():
        density_g_ml = plain if density is None else region.values(density)
        mass_g = float(np.sum(region.part_ml * density_g_ml))
        total_gy = float(np.sum(region.values(dose) * region.part_ml * density_g_ml)) / mass_g
        own_gy = _DECAYS_PER_MBQ_H * tia_mbq_h[name] * sphere_s_value(nuclide, mass_g, mass_g / region.volume_ml)
        found[name] = min(own_gy / total_gy, 1.0) if total_gy > 0.0 and own_gy > 0.0 else 1.0
    return found
