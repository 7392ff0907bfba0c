"""All tumours of a patient together: the whole tumour burden."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dosimetry.metrics import DoseVolume
from dosimetry.metrics.biological import MixedBiologicalDose
from dosimetry.metrics.tissues import TUMOUR
from dosimetry.results import PatientResults, StructureResult
from nufitdose.anatomy.regions import Region, unite
from nufitdose.types import F64

NAME, ROLE = "all_tumours", "tumour_burden"
_MEANS = ("bed_mean_gy", "u_bed_mean_gy", "eqd2_mean_gy", "u_eqd2_mean_gy", "dose_rbe_mean_gy", "u_dose_rbe_mean_gy")


@dataclass(frozen=True, eq=False)
class TumourBurden:
    """The union of the tumours; where they overlap, a voxel counts once.

    Relative uncertainties are the mean of the tumours' own, weighted by what they contribute, as if all erred alike: an
    upper bound, since counting noise and curves do not. `biological` holds means weighted by the tumours' masses and no
    EUBED; None unless every tumour has a BED.
    """

    volume_ml: float
    mass_g: float
    tia_mbq_h: float
    tiac_h: float
    dose: Mapping[str, float]
    relative_u_tia: float
    u_dose_mean_gy: float
    biological: MixedBiologicalDose | None

    @property
    def name(self) -> str:
        """That of its row."""
        return NAME


def tumour_burden(results: PatientResults) -> TumourBurden | None:
    """The burden of two or more tumours; None with fewer, where it would say nothing new."""
    tumours = [found for found in results.structures if found.role == TUMOUR]
    if len(tumours) < 2:
        return None
    region = unite([found.region for found in tumours], results.maps.dose.grid)
    density = _density(results, region)
    asked = results.settings.metrics
    histogram = DoseVolume.of(region.values(results.maps.dose), region.part_ml, density)
    tia_mbq_h = 1e-6 * region.integral(results.maps.tia)
    mass = np.array([found.mass_g for found in tumours])
    relative_tia = _mean([found.budget.relative_u_tia for found in tumours], [found.tia_mbq_h for found in tumours])
    energy = mass * [found.dose["dose_mean_gy"] for found in tumours]
    relative_dose = _mean([found.budget.relative_u_dose for found in tumours], energy)
    return TumourBurden(
        volume_ml=region.volume_ml,
        mass_g=float((region.part_ml * density).sum()),
        tia_mbq_h=tia_mbq_h,
        tiac_h=tia_mbq_h / results.study.administration.activity_mbq,
        dose=histogram.metrics(asked.volume_at_gy, asked.dose_at_ml),
        relative_u_tia=relative_tia,
        u_dose_mean_gy=relative_dose * histogram.mean_gy,
        biological=_biological_means(tumours, mass),
    )


def _density(results: PatientResults, region: Region) -> F64:
    if results.density is None:
        return np.full(region.index.size, results.settings.dose.density_without_ct_g_ml)
    return region.values(results.density)


def _biological_means(tumours: list[StructureResult], mass: F64) -> MixedBiologicalDose | None:
    known = [found.biological for found in tumours if found.biological is not None]
    if len(known) < len(tumours):
        return None
    return MixedBiologicalDose(
        effects=tuple(one.effect for one in known),
        eubed_gy=float("nan"),
        u_eubed_gy=float("nan"),
        **{name: _mean([getattr(one, name) for one in known], mass) for name in _MEANS},
    )


def _mean(values: list[float], weights: F64 | list[float]) -> float:
    """Weighted mean; NaN where the weights add to nothing."""
    share = np.asarray(weights, dtype=np.float64)
    return float(share @ np.asarray(values) / share.sum()) if share.sum() > 0 else float("nan")
