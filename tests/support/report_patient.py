"""The results of a small patient whose later scans lie apart from the first, and their page."""

import dataclasses
from datetime import datetime
from pathlib import Path

import numpy as np

from dosimetry.config import DosimetrySettings
from dosimetry.curves.structures import structure_curves
from dosimetry.dose import absorbed_dose
from dosimetry.kinetics import fit_voxels
from dosimetry.metrics.biological import Share, mixed_biological_dose
from dosimetry.recovery import UNKNOWN
from dosimetry.report import write_report
from dosimetry.results import DerivedResult, DoseMaps, PatientResults, RedMarrow, StructureResult
from dosimetry.structures import body_results, regions_of, structure_results
from dosimetry.uncertainty.points import point_errors
from dosimetry.uncertainty.sources import own_shares
from dosimetry.uncertainty.structures import structure_budgets
from nufitdose.anatomy.prepared import prepare_anatomy
from nufitdose.grid import Grid
from nufitdose.nuclides import half_life_h
from nufitdose.registration import DisplacementField, Registration, RegistrationQuality
from nufitdose.registration.lights import judge_pair
from nufitdose.registration.series import Frame
from nufitdose.registration.structure_quality import StructureTransport, structure_agreement
from nufitdose.run import RunRecord
from nufitdose.study import Administration, Structures, Study, TimePoint
from nufitdose.volume import Quantity, Volume
from support.results_folder import write_results

SHAPE, SPACING_MM = (30, 26, 28), 8.0
SHIFT_MM = np.array([16.0, -8.0, 24.0])
NAMES = {1: "liver", 2: "kidney_left", 3: "tumour_1"}
TWO_TUMOURS = NAMES | {4: "tumour_2"}
CENTRES_MM = {1: (50.0, 10.0, 20.0), 2: (-50.0, -40.0, -20.0), 3: (60.0, 20.0, 30.0), 4: (-40.0, 30.0, 30.0)}
RADII_MM = {1: 36.0, 2: 24.0, 3: 8.1, 4: 20.0}


def ball(grid: Grid, centre_mm, radius_mm: float) -> np.ndarray:
    places = grid.world(np.moveaxis(np.indices(grid.shape), 0, -1))
    return np.linalg.norm(places - np.asarray(centre_mm), axis=-1) < radius_mm


def scan(grid, number, time_h, shift_mm, names, *, ct, scale, nuclide) -> TimePoint:
    activity, labels = np.full(grid.shape, 1e3), np.zeros(grid.shape, np.uint8)
    for label in names:
        inside = ball(grid, np.array(CENTRES_MM[label]) + shift_mm, RADII_MM[label])
        activity[inside] = 4e5 * label * 2 ** (-time_h / (0.4 * half_life_h(nuclide)))
        labels[inside] = label
    body = ball(grid, shift_mm, 105.0)
    hu = Volume(np.where(body, 40.0, -1000.0), grid, Quantity.HU) if ct else None
    drawn = Structures((Volume(labels, grid, Quantity.LABELS),), names, tumours(names)) if names else None
    return TimePoint.of(f"tp{number}", time_h, Volume(scale * activity * body, grid, Quantity.ACTIVITY), hu, drawn)


def tumours(names) -> frozenset[str]:
    return frozenset(name for name in names.values() if "tumour" in name)


def quality(**numbers: float) -> RegistrationQuality:
    usual = dict.fromkeys((f.name for f in dataclasses.fields(RegistrationQuality)), 0.5)
    return RegistrationQuality(**usual | {"tre_mm": np.nan, "folding_percent": 0.0, "jacobian_min": 1.0} | numbers)


def patient(
    times_h=(4.0, 24.0, 72.0),
    *,
    names=NAMES,
    ct=True,
    scale=1.0,
    administered_mbq=7000.0,
    nuclide="Lu-177",
    patient_id="P001",
    registered_shift_mm=SHIFT_MM,
    after=None,
    engine="rigid",
) -> PatientResults:
    """The results of a small patient whose later scans lie `SHIFT_MM` away from the first."""
    grid, settings = Grid.from_spacing(SHAPE, (SPACING_MM,) * 3), DosimetrySettings()
    timepoints = [
        scan(grid, n + 1, t, SHIFT_MM * (n > 0), names, ct=ct, scale=scale, nuclide=nuclide)
        for n, t in enumerate(times_h)
    ]
    given = Administration(administered_mbq, datetime(2024, 3, 5, 9, 30))
    study = Study(patient_id, nuclide, given, "tp1", tuple(timepoints))
    frames = [Frame("tp1", times_h[0], timepoints[0].activity, timepoints[0].activity.total_mbq())]
    plain = frames[:]
    matrix = np.eye(4)
    matrix[:3, 3] = registered_shift_mm
    field = DisplacementField.from_affine(matrix, grid)
    for tp in timepoints[1:]:
        found = Registration(engine, "CT" if ct else "activity", field, 1.0, after or quality(), quality(lncc=0.2))
        agreement = structure_agreement(study.structures, tp.structures, field) if names else ()
        total = tp.activity.total_mbq()
        inside = field.inside(grid)
        frames.append(Frame(tp.id, tp.time_h, field.warp(tp.activity), total, inside, found, agreement))
        plain.append(Frame(tp.id, tp.time_h, tp.activity, total))
    maps, unregistered = (dose_maps(some, study) for some in (frames, plain))
    anatomy = prepare_anatomy(study.reference.ct, grid) if ct else None
    regions = regions_of(study)
    found = structure_curves(frames, regions, settings.kinetics, half_life_h(study.nuclide))
    errors = point_errors(frames, regions, settings.uncertainty)
    density = anatomy.density if anatomy else None
    tia_mbq_h = {name: found.of(name).tia_mbq_h for name in regions}
    own = own_shares(study.nuclide, tia_mbq_h, regions, maps.dose, density, settings.dose)
    asked, engine_of_dose = settings.uncertainty, settings.dose.engine
    budgets = structure_budgets(study, frames, regions, found, errors, UNKNOWN, density, own, asked, engine_of_dose)
    before = unregistered.dose if len(times_h) > 1 else None
    results = structure_results(study, settings, regions, found, maps, before, anatomy, budgets)
    whole_body, rest = body_results(study, found, maps, before, anatomy, budgets)
    return PatientResults(study, settings, tuple(frames), maps, before, anatomy, results, whole_body, rest)


def everything() -> PatientResults:
    """A patient with all that a run may have: two tumours, derived structures, isodoses in Gy, red marrow."""
    usual = patient(names=TWO_TUMOURS)
    liver, tumour = usual.structures[0], usual.structures[2]
    metrics = usual.settings.metrics.model_copy(update={"isodose_gy": (1.0,)})
    settings = usual.settings.model_copy(update={"metrics": metrics})
    derived = DerivedResult(
        name="healthy <liver>",
        volume_ml=liver.volume_ml,
        mass_g=liver.mass_g,
        tia_mbq_h=liver.tia_mbq_h,
        tiac_h=liver.tiac_h,
        dose=liver.dose,
        unregistered=liver.unregistered,
        u_dose_mean_gy=liver.u_dose_mean_gy,
        histogram=liver.histogram,
        biological=mixed_biological_dose(_halves(liver, tumour)),
    )
    marrow = RedMarrow(
        "red_marrow_blood", 0.8, 0.2, 41.0, 0.07, 0.02, np.nan, np.nan, 0.03, 0.01, 0.1, 0.022, "5 blood samples, mono"
    )
    frames = tuple(_transported(frame) if frame.registration else frame for frame in usual.frames)
    return dataclasses.replace(usual, settings=settings, frames=frames, derived=(derived,), red_marrow=(marrow,))


def _transported(frame: Frame) -> Frame:
    """The frame with an uncertainty of its displacement and activities that the warp changed, each by another share."""
    u_mm = Volume(np.full(SHAPE, 1.25), frame.activity.grid, Quantity.SCALAR)
    rows = tuple(
        StructureTransport(name, 20.0 * n, 20.0 * n / (1.0 + share), 100.0 * share, 0.4 * n)
        for n, (name, share) in enumerate(zip(TWO_TUMOURS.values(), (0.021, -0.13, 0.0004, np.nan), strict=True), 1)
    )
    found = frame.registration
    light = judge_pair(found.quality, found.unregistered, None, frame.agreement, rows)
    return dataclasses.replace(frame, u_registration_mm=u_mm, transport=rows, light=light)


def _halves(*owners: StructureResult) -> list[Share]:
    """The voxels of the first structure, as if each of these held as many of them."""
    held = owners[0].histogram
    doses_gy, masses_g = np.array_split(held.dose_gy, len(owners)), np.array_split(held.mass_g, len(owners))
    return [
        Share(one.biological.effect, dose_gy, mass_g, 0.2)
        for one, dose_gy, mass_g in zip(owners, doses_gy, masses_g, strict=True)
    ]


def dose_maps(frames, study) -> DoseMaps:
    curves = np.stack([f.activity.data.reshape(-1) for f in frames], axis=1)
    fit = fit_voxels(curves, [f.time_h for f in frames], half_life_h(study.nuclide))
    tia = Volume(fit.tia.reshape(SHAPE), frames[0].activity.grid, Quantity.TIA)
    return DoseMaps(fit, tia, absorbed_dose(tia, nuclide=study.nuclide, ct=study.reference.ct))


def record(**changes) -> RunRecord:
    return RunRecord("dosimetry", DosimetrySettings().model_dump(mode="json"), **changes)


def write_page(results: PatientResults, record: RunRecord, folder: Path) -> Path:
    write_results(results, record, folder)
    return write_report(folder)
