"""What a registration does to the numbers that matter: TIA, dose and curve residuals of structures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dosimetry.config import DosimetrySettings
from dosimetry.curves.requirements import with_tracer
from dosimetry.curves.structures import structure_curves
from dosimetry.dose import absorbed_dose
from dosimetry.metrics import Region, dose_volume_metrics
from dosimetry.pipeline import dose_maps
from dosimetry.results import DoseMaps
from dosimetry.structures import regions_of
from nufitdose.anatomy.prepared import PreparedAnatomy, prepare_anatomy
from nufitdose.io.nifti import load_volume
from nufitdose.io.truth import FOLDER
from nufitdose.nuclides import half_life_h
from nufitdose.registration.field import DisplacementField
from nufitdose.registration.series import Frame
from nufitdose.study import Study, TimePoint
from nufitdose.volume import Quantity, Volume

_LEAST_OF_MEAN = 0.05  # a true dose below this part of the structure's mean has no error in percent: at a cut, in air
_DOSES = {"dose_mean_percent": "dose_mean_gy", "d2_percent": "dose_d2_gy", "d98_percent": "dose_d98_gy"}


@dataclass(frozen=True)
class StructureScore:
    """One structure under one method: signed errors against the truth in percent, and the residual of the curves.

    `tac_rmse_percent` is the root mean square residual of the voxels' curves over the mean activity of the structure;
    it knows no truth: below that of the exact field it is fitted noise.
    """

    method: str
    patient: str
    structure: str
    role: str
    tia_percent: float
    dose_mean_percent: float
    d2_percent: float
    d98_percent: float
    tac_rmse_percent: float


def judge_structures(
    method: str, folder: Path, study: Study, fields: Mapping[str, DisplacementField], settings: DosimetrySettings
) -> list[StructureScore]:
    """The whole chain on the frames that `fields` (by time point) make, against `truth/` of a digital patient."""
    grid = study.reference.activity.grid
    tia, ct = (
        load_volume(folder / FOLDER / name, quantity)
        for name, quantity in (("tia.nii.gz", Quantity.TIA), ("ct.nii.gz", Quantity.HU))
    )
    true_anatomy = prepare_anatomy(ct, tia.grid)
    true_dose = absorbed_dose(
        tia, nuclide=study.nuclide, ct=true_anatomy, engine=settings.dose.engine, settings=settings.dose
    ).dose
    frames = tuple(_frame(timepoint, study, fields) for timepoint in study.timepoints)
    regions = regions_of(study)
    tumours = study.structures.tumours if study.structures else frozenset()
    settings = settings.model_copy(update={"kinetics": with_tracer(settings.kinetics, study.tracer)})
    curves = structure_curves(frames, regions, settings.kinetics, half_life_h(study.nuclide), tumours=tumours)
    reference = study.reference.ct
    anatomy = None if reference is None else prepare_anatomy(reference, grid)
    maps = dose_maps(frames, study, settings, regions, curves, anatomy)
    return [
        StructureScore(
            method=method,
            patient=study.patient,
            structure=name,
            role="tumour" if name in tumours else "organ",
            tia_percent=percent_off(region.integral(maps.tia), region.integral(tia)),
            **_dose_errors(region, maps, anatomy, true_dose, true_anatomy),
            tac_rmse_percent=_residual_percent(region, maps, frames),
        )
        for name, region in regions.items()
    ]


def percent_off(found: float, true: float) -> float:
    """`100 (found / true - 1)`; NaN where the truth is 0."""
    return 100.0 * (found / true - 1.0) if true > 0 else float("nan")


def _frame(timepoint: TimePoint, study: Study, fields: Mapping[str, DisplacementField]) -> Frame:
    activity, grid = timepoint.activity, study.reference.activity.grid
    total_mbq = activity.total_mbq()
    if timepoint.id == study.reference_id:
        return Frame(timepoint.id, timepoint.time_h, activity, total_mbq)
    field = fields[timepoint.id]
    inside = field.inside(activity.grid, grid)
    return Frame(timepoint.id, timepoint.time_h, field.warp(activity, grid), total_mbq, inside)


def _dose_errors(
    region: Region, maps: DoseMaps, anatomy: PreparedAnatomy | None, true: Volume, true_anatomy: PreparedAnatomy
) -> dict[str, float]:
    density = region.values(anatomy.density) if anatomy else 1.0
    found = dose_volume_metrics(region.values(maps.dose), region.part_ml, density)
    wanted = dose_volume_metrics(region.values(true), region.part_ml, region.values(true_anatomy.density))
    least_gy = _LEAST_OF_MEAN * wanted["dose_mean_gy"]
    return {
        name: percent_off(found[key], wanted[key]) if wanted[key] > least_gy else np.nan for name, key in _DOSES.items()
    }


def _residual_percent(region: Region, maps: DoseMaps, frames: Sequence[Frame]) -> float:
    residual = maps.fit.rmse[region.index].astype(np.float64)
    known = np.isfinite(residual)
    activity = float(np.mean([region.mean(frame.activity) for frame in frames]))
    if not known.any() or activity <= 0:
        return float("nan")
    return 100.0 * float(np.sqrt(np.average(residual[known] ** 2, weights=region.part_ml[known]))) / activity
