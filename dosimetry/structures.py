"""The numbers of every structure, of the whole body and of its remainder, from the maps and the frames."""

import logging
from collections.abc import Mapping

import numpy as np

from dosimetry.biological import structure_biological_dose
from dosimetry.config import REST, WHOLE_BODY, DoseSettings, DosimetrySettings
from dosimetry.curves.structures import BodyCurves, StructureCurve
from dosimetry.dose import sphere_s_value
from dosimetry.kinetics import FitStatus
from dosimetry.metrics import DoseVolume, Region, region_on
from dosimetry.results import CurveResult, DoseMaps, StructureResult
from dosimetry.uncertainty.budget import Budget
from nufitdose.anatomy.composition import SOFT_TISSUE, mass_fractions
from nufitdose.anatomy.prepared import PreparedAnatomy
from nufitdose.grid import Grid
from nufitdose.nuclides import DECAYS_PER_MBQ_H
from nufitdose.study import Structures, Study
from nufitdose.types import F64, Image32
from nufitdose.volume import Volume

log = logging.getLogger(__name__)

_IN_BODY = 0.5  # share of a voxel within the body from which its dose counts
_COVERED = 0.99  # share of a structure that a CT or a scan must hold for nothing to be said


def regions_of(study: Study) -> dict[str, Region]:
    """The structures of the reference time point on its activity grid, those with voxels there."""
    structures = study.structures
    if structures is None:
        return {}
    absent = sorted(set(structures.names.values()) - set(structures.present()))
    if absent:
        log.warning("study.yaml names %s, but the label map has no voxel of it: no row", ", ".join(absent))
    found = {name: _region(structures, name, study.reference.activity.grid) for name in structures.present()}
    regions = {name: region for name, region in found.items() if region.index.size}
    for name, region in regions.items():
        _warn_of_missing_ct(name, region, study)
    return regions


def structure_results(
    study: Study,
    settings: DosimetrySettings,
    regions: Mapping[str, Region],
    curves: BodyCurves,
    maps: DoseMaps,
    unregistered: Volume | None,
    anatomy: PreparedAnatomy | None,
    budgets: Mapping[str, Budget],
) -> tuple[StructureResult, ...]:
    """One result for each region."""
    structures = study.structures
    return tuple(
        _result(
            name,
            structures.role(name),
            region,
            study,
            settings,
            curves.of(name),
            maps,
            unregistered,
            anatomy,
            budgets[name],
        )
        for name, region in regions.items()
        if structures is not None
    )


def body_results(
    study: Study,
    curves: BodyCurves,
    maps: DoseMaps,
    unregistered: Volume | None,
    anatomy: PreparedAnatomy | None,
    budgets: Mapping[str, Budget],
) -> tuple[CurveResult, CurveResult | None]:
    """The rows of the whole body and of its remainder; without structures there is no remainder.

    Their integrals are those of all voxels that every scan sees; volume, mass and mean dose are of those within the
    body that the CT shows, NaN without one.
    """
    whole = _body_result(WHOLE_BODY, curves.whole_ml, study, curves, maps, unregistered, anatomy, budgets[WHOLE_BODY])
    if not curves.structures:
        return whole, None
    return whole, _body_result(REST, curves.rest_ml, study, curves, maps, unregistered, anatomy, budgets[REST])


def _body_result(
    name: str,
    part_ml: Image32,
    study: Study,
    curves: BodyCurves,
    maps: DoseMaps,
    unregistered: Volume | None,
    anatomy: PreparedAnatomy | None,
    budget: Budget,
) -> CurveResult:
    tia_mbq_h = 1e-6 * float(np.vdot(maps.tia.data.astype(np.float64), part_ml))
    volume_ml = mass_g = float("nan")
    dose: dict[str, float] = {}
    before: dict[str, float] = {}
    if anatomy is not None and (anatomy.body_share >= _IN_BODY).any():
        inside_ml = np.where(anatomy.body_share >= _IN_BODY, part_ml, 0.0).astype(np.float64)
        mass = inside_ml * anatomy.density.data
        volume_ml, mass_g = float(inside_ml.sum()), float(mass.sum())
        dose = _mean_dose(maps.dose, mass)
        before = _mean_dose(unregistered, mass) if unregistered else {}
    return CurveResult(
        name=name,
        role=name,
        volume_ml=volume_ml,
        mass_g=mass_g,
        curve=curves.of(name),
        tia_mbq_h=tia_mbq_h,
        tiac_h=tia_mbq_h / study.administration.activity_mbq,
        dose=dose,
        unregistered=before,
        budget=budget,
        sum_to_curve=maps.sum_to_curve.get(name, float("nan")),
    )


def _mean_dose(dose: Volume, mass_g: F64) -> dict[str, float]:
    whole = float(mass_g.sum())
    return {"dose_mean_gy": float(np.vdot(dose.data.astype(np.float64), mass_g)) / whole} if whole > 0.0 else {}


def _region(structures: Structures, name: str, onto: Grid) -> Region:
    mask, layer = structures.mask(name)
    region = region_on(mask, layer.grid, onto)
    whole = region.volume_ml + region.outside_ml
    if region.outside_ml > (1.0 - _COVERED) * whole:
        log.warning(
            "%.0f %% of structure %r lies outside the reference scan and is left out of all its numbers",
            100 * region.outside_ml / whole,
            name,
        )
    return region


def _result(
    name: str,
    role: str,
    region: Region,
    study: Study,
    settings: DosimetrySettings,
    curve: StructureCurve,
    maps: DoseMaps,
    unregistered: Volume | None,
    anatomy: PreparedAnatomy | None,
    budget: Budget,
) -> StructureResult:
    density_g_ml = region.values(anatomy.density) if anatomy else settings.dose.density_without_ct_g_ml
    tia_mbq_h = region.integral(maps.tia) * 1e-6
    dose_gy = region.values(maps.dose)
    _warn_of_air(name, region, maps, dose_gy)
    histogram = DoseVolume.of(dose_gy, region.part_ml, density_g_ml)
    asked, geud_a = settings.metrics, settings.metrics.geud_a.get(name)
    mass_g = float(np.sum(region.part_ml * density_g_ml))
    return StructureResult(
        name=name,
        role=role,
        region=region,
        volume_ml=region.volume_ml,
        mass_g=mass_g,
        curve=curve,
        tia_mbq_h=tia_mbq_h,
        tiac_h=tia_mbq_h / study.administration.activity_mbq,
        dose=histogram.metrics(asked.volume_at_gy, asked.dose_at_ml, geud_a),
        histogram=histogram,
        unregistered=DoseVolume.of(region.values(unregistered), region.part_ml, density_g_ml).metrics(
            asked.volume_at_gy, asked.dose_at_ml, geud_a
        )
        if unregistered
        else {},
        biological=structure_biological_dose(
            name, role, curve, histogram, budget.relative_u_dose, study.nuclide, asked.radiobiology
        ),
        status_percent=_status_percent(region, maps),
        budget=budget,
        sum_to_curve=maps.sum_to_curve.get(name, float("nan")),
        sphere_gy=_sphere_gy(region, mass_g, tia_mbq_h, study.nuclide, settings.dose, anatomy),
    )


def _sphere_gy(
    region: Region,
    mass_g: float,
    tia_mbq_h: float,
    nuclide: str,
    settings: DoseSettings,
    anatomy: PreparedAnatomy | None,
) -> float:
    """D = Ã S of a sphere of this mass, mean density and commonest tissue; NaN unless the structure is small enough."""
    if settings.sphere_below_ml is None or region.volume_ml >= settings.sphere_below_ml:
        return float("nan")
    tissue = SOFT_TISSUE
    if anatomy is not None and anatomy.tissue is not None:
        tissue = int(np.bincount(anatomy.tissue.reshape(-1)[region.index], weights=region.part_ml).argmax())
    decays_bq_s = tia_mbq_h * DECAYS_PER_MBQ_H
    return decays_bq_s * sphere_s_value(nuclide, mass_g, mass_g / region.volume_ml, mass_fractions(tissue))


def _warn_of_missing_ct(name: str, region: Region, study: Study) -> None:
    ct, grid = study.reference.ct, study.reference.activity.grid
    if ct is None or ct.grid.matches(grid):
        return
    seen = ct.grid.covers(grid).reshape(-1)[region.index]
    share = float(region.part_ml[~seen].sum()) / region.volume_ml
    if share > 1.0 - _COVERED:
        log.warning("%.0f %% of structure %r lies beyond the reference CT: density assumed", 100 * share, name)


def _warn_of_air(name: str, region: Region, maps: DoseMaps, dose_gy: F64) -> None:
    """Activity without dose lies outside the body that the CT shows."""
    in_air = (dose_gy == 0) & (region.values(maps.tia) > 0)
    share = float(region.part_ml[in_air].sum()) / region.volume_ml
    if share > 1.0 - _COVERED:
        log.warning(
            "%.0f %% of structure %r lies outside the body that the CT shows and gets no dose: D98%% and mean are low",
            100 * share,
            name,
        )


def _status_percent(region: Region, maps: DoseMaps) -> dict[str, float]:
    status: F64 = maps.fit.status[region.index]
    shares = {s.name: 100 * float(region.part_ml[status == s].sum()) / region.volume_ml for s in FitStatus}
    return {name: share for name, share in shares.items() if share > 0}
