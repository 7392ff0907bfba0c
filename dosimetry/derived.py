"""The numbers of derived structures: what the voxels of the maps hold there, without a curve of their own."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from dosimetry.burden import NAME as ALL_TUMOURS
from dosimetry.config import REST, WHOLE_BODY, DosimetrySettings, MetricsSettings
from dosimetry.curves.structures import StructureCurve
from dosimetry.derived_biology import check_derived_tissues, derived_biological_dose
from dosimetry.metrics import DoseVolume, Region
from dosimetry.metrics.derived import derive_region
from dosimetry.results import DerivedResult, DoseMaps, StructureResult
from nufitdose.errors import InputError
from nufitdose.study import Study
from nufitdose.types import F64
from nufitdose.volume import Volume

log = logging.getLogger(__name__)

_KNOWN = 0.99  # share of the energy whose uncertainty must be known for that of the mean to be stated
_COVERED = 0.99  # share of a structure that a scan must hold for nothing to be said


def check_derived(settings: MetricsSettings, structures: Collection[str]) -> None:
    """`InputError` where a derived structure takes a name that is given, or is made of what is no structure."""
    check_derived_tissues(settings.derived, settings.radiobiology)
    for name, asked in settings.derived.items():
        if name in (*structures, REST, WHOLE_BODY, ALL_TUMOURS):
            raise InputError(
                f"metrics.derived names {name}, a name that the results have already", remedy="Give it another name"
            )
        unknown = sorted({*asked.of, *asked.without} - set(structures))
        if unknown:
            raise InputError(
                f"metrics.derived.{name} is made of {', '.join(unknown)}, which is no structure of this study",
                remedy=f"Known here: {', '.join(structures) or 'none, as no structures are drawn'}",
            )


def derived_results(
    study: Study,
    settings: DosimetrySettings,
    maps: DoseMaps,
    unregistered: Volume | None,
    density: Volume | None,
    structures: Sequence[StructureResult],
    rest: StructureCurve,
) -> tuple[DerivedResult, ...]:
    """One result for each structure of `metrics.derived` of which something lies in the reference scan.

    `structures` are those drawn, with their BED; `rest` is the curve of the voxels of none.
    """
    found = []
    for name, asked in settings.metrics.derived.items():
        region = derive_region(asked, study.structures, study.reference.activity.grid)
        _warn_of_loss(name, region)
        if region.index.size:
            density_g_ml = (
                np.full(region.index.size, settings.dose.density_without_ct_g_ml)
                if density is None
                else region.values(density)
            )
            plain = _result(name, region, study, settings, maps, unregistered, density_g_ml)
            tissues, mass_g = settings.metrics.radiobiology, region.part_ml * density_g_ml
            biological = derived_biological_dose(
                name, asked, region, mass_g, maps, structures, rest, study.nuclide, tissues
            )
            found.append(replace(plain, biological=biological))
    return tuple(found)


def _warn_of_loss(name: str, region: Region) -> None:
    if not region.index.size:
        log.warning("nothing of the derived structure %r is left within the reference scan: it has no row", name)
    elif region.outside_ml > (1.0 - _COVERED) * (region.volume_ml + region.outside_ml):
        share = region.outside_ml / (region.volume_ml + region.outside_ml)
        log.warning("%.0f %% of the derived structure %r lies outside the reference scan", 100.0 * share, name)


def _result(
    name: str,
    region: Region,
    study: Study,
    settings: DosimetrySettings,
    maps: DoseMaps,
    unregistered: Volume | None,
    density_g_ml: F64,
) -> DerivedResult:
    asked = settings.metrics
    histogram = DoseVolume.of(region.values(maps.dose), region.part_ml, density_g_ml)
    before = DoseVolume.of(region.values(unregistered), region.part_ml, density_g_ml) if unregistered else None
    tia_mbq_h = 1e-6 * region.integral(maps.tia)
    return DerivedResult(
        name=name,
        volume_ml=region.volume_ml,
        mass_g=float(region.part_ml @ density_g_ml),
        tia_mbq_h=tia_mbq_h,
        tiac_h=tia_mbq_h / study.administration.activity_mbq,
        dose=histogram.metrics(asked.volume_at_gy, asked.dose_at_ml, asked.geud_a.get(name)),
        unregistered=before.metrics() if before else {},
        u_dose_mean_gy=_u_mean_gy(region, maps, density_g_ml),
        histogram=histogram,
    )


def _u_mean_gy(region: Region, maps: DoseMaps, density_g_ml: F64) -> float:
    """Mean of the voxels' standard uncertainties weighted by mass, as if all erred alike; NaN where not known."""
    if maps.u_dose is None:
        return float("nan")
    mass, dose, u = region.part_ml * density_g_ml, region.values(maps.dose), region.values(maps.u_dose)
    known, energy = np.isfinite(u), mass * dose
    if not energy[known].sum() >= _KNOWN * energy.sum() or not energy.sum() > 0:
        return float("nan")
    return float(mass[known] @ u[known] / mass.sum())
