"""What a scan shows of spheres whose true concentration is known."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nufitdose.anatomy.regions import Region
from nufitdose.errors import InputError
from nufitdose.volume import Volume


@dataclass(frozen=True)
class SphereReading:
    """One sphere: its volume, its mean concentration in the image, and R = (mean - B)/(T - B).

    T is the true concentration of the sphere and B that around it, so that what the surroundings spill into it does
    not count as its own.
    """

    name: str
    volume_ml: float
    mean_bq_ml: float
    recovery: float


def read_spheres(
    activity: Volume, spheres: Mapping[str, Region], truth_bq_ml: float, background_bq_ml: float
) -> list[SphereReading]:
    """The reading of every sphere, smallest first; `InputError` on concentrations that no recovery follows from."""
    if not (np.isfinite(truth_bq_ml) and truth_bq_ml > 0):
        raise InputError(f"a true concentration of {truth_bq_ml} Bq/mL was given, wanted a positive number")
    if not (np.isfinite(background_bq_ml) and 0 <= background_bq_ml < truth_bq_ml):
        raise InputError(
            f"a background of {background_bq_ml:g} Bq/mL was given with spheres of {truth_bq_ml:g} Bq/mL, wanted 0 or "
            "more and less than the spheres"
        )
    readings = []
    for name, region in sorted(spheres.items(), key=lambda item: item[1].volume_ml):
        mean = region.mean(activity)
        recovery = (mean - background_bq_ml) / (truth_bq_ml - background_bq_ml)
        if not 0 < recovery < 1.5:
            raise InputError(
                f"{name!r} reads {mean:g} Bq/mL where the spheres hold {truth_bq_ml:g} and their surroundings "
                f"{background_bq_ml:g}: a recovery of {recovery:.3g}",
                remedy="Check both concentrations (at the time of the scan, in Bq/mL) and that the labels lie on the "
                "spheres",
            )
        readings.append(SphereReading(name, region.volume_ml, mean, recovery))
    return readings
