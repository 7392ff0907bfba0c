"""The patient run, top to bottom: registration, recovery, voxel curves, absorbed dose, structures, files."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from dosimetry.biological import check_metrics, warn_of_alpha
from dosimetry.config import DosimetrySettings
from dosimetry.curves.requirements import check_methods, with_tracer
from dosimetry.curves.structures import BodyCurves, structure_curves, warn_of_cuts
from dosimetry.curves.voxels import fit_frames
from dosimetry.derived import check_derived, derived_results
from dosimetry.dose import absorbed_dose, dose_parts
from dosimetry.dose_rates import dose_rates
from dosimetry.findings.file import save_findings
from dosimetry.findings.gather import gather_findings
from dosimetry.lights.structures import warn_of_curves
from dosimetry.marrow import check_red_marrow, red_marrow
from dosimetry.metrics import Region
from dosimetry.output.dicom import write_dicom_if_wanted
from dosimetry.output.images import write_maps
from dosimetry.output.recovery import recovery_record
from dosimetry.output.tables import write_tables
from dosimetry.output.tissues import tissues_record
from dosimetry.output.workbook import check_installed, write_workbook
from dosimetry.plausibility import check_study
from dosimetry.recovery import RecoveryPlan, correct_frames, plan_recovery
from dosimetry.report import write_pictures, write_report
from dosimetry.results import DoseMaps, PatientResults
from dosimetry.structures import body_results, regions_of, structure_results
from dosimetry.uncertainty.maps import total_u_dose
from dosimetry.uncertainty.points import PointErrors, point_errors
from dosimetry.uncertainty.sources import own_shares
from dosimetry.uncertainty.structures import structure_budgets
from nufitdose.anatomy.prepared import PreparedAnatomy, prepare_anatomy
from nufitdose.io.study_run import study_run
from nufitdose.nuclides import half_life_h
from nufitdose.profiling import profiled
from nufitdose.progress import OnProgress, Steps, Stream
from nufitdose.registration.output import write_registered
from nufitdose.registration.series import SECONDS_A_PAIR, Frame, overlay_series, register_series, weights_sha256
from nufitdose.run import RunRecord, write_record
from nufitdose.study import Study
from nufitdose.volume import Quantity, Volume

PROFILE = "profile.txt"
# Expected seconds of a step on a whole-body study, for the progress bar alone.
_COST = {"read": 2.0, "recovery": 3.0, "maps": 3.0, "unregistered": 3.0, "structures": 3.0, "write": 8.0, "report": 6.0}


def run_patient(
    study: Study | str | Path,
    out: str | Path,
    settings: DosimetrySettings | None = None,
    *,
    device: str = "auto",
    seed: int = 0,
    profile: bool = False,
    stream: Stream | None = None,
) -> PatientResults:
    """Run the whole chain, write every file of the results folder `out`, and return what was found.

    `study` is a `Study` or the path of a study folder; progress goes to `stream`. With `profile` the folder holds
    profile.txt too, the time by function. Raises `InputError` on
    anything the user can mend; `out` is then left as it was.
    """
    settings = settings or DosimetrySettings()
    settings.registration.check_needs()
    if settings.output.tables == "xlsx":
        check_installed()
    record = RunRecord("dosimetry", settings.model_dump(mode="json"), seed=seed, device=device)
    with (
        study_run([study], out, record) as (place, (loaded,)),
        Steps(sum(_COST.values()) + SECONDS_A_PAIR * (len(loaded.timepoints) - 1), stream) as steps,
        profiled(place / PROFILE if profile else None),
    ):
        results = analyse(loaded, settings, steps, device=device, seed=seed)
        if settings.metrics.red_marrow and settings.metrics.red_marrow.blood:
            blood = Path(settings.metrics.red_marrow.blood)
            record.add_inputs([blood], blood.parent)
        results = replace(results, warnings=tuple(record.warnings))
        record.notes["weights_sha256"] = weights_sha256(results.frames)
        with steps.step("writing tables and maps", _COST["write"]):
            write_tables(results, place)
            if settings.output.tables == "xlsx":
                write_workbook(place)
            write_maps(results, place)
            record.notes |= recovery_record(results) | tissues_record(results)
            measured = results.measured_frames or results.frames
            write_registered(results.study.reference, results.study.timepoints, measured, place)
            write_dicom_if_wanted(results, place)
            write_pictures(results, place)
            save_findings(gather_findings(results), place)
        with steps.step("writing the report", _COST["report"]):
            record.timings_s = dict(steps.seconds)
            write_record(record, place)
            write_report(place)
    return results


def analyse(
    study: Study, settings: DosimetrySettings, steps: Steps, *, device: str = "auto", seed: int = 0
) -> PatientResults:
    """The chain itself, in memory: study -> registered frames -> recovery -> voxel curves -> dose -> structures."""
    with steps.step("reading and checking the scans", _COST["read"]):
        anatomy, regions, settings = _prepare(study, settings)
    measured = register_series(study, settings.registration, steps, device=device)
    with steps.step("recovery and spill-over", _COST["recovery"]):
        plan = plan_recovery(study, measured, regions, anatomy, settings.recovery)
        frames, recovery = correct_frames(plan, measured)
    with steps.step("fitting voxel curves, computing dose", _COST["maps"]) as on_progress:
        gain = {name: np.array([row.value * row.noise for row in rows]) for name, rows in recovery.structures.items()}
        errors = point_errors(
            measured, regions, settings.uncertainty, scanner=study.scanner, noise_gain=gain, reading=plan.reading
        )
        curves = _curves(frames, study, settings, regions, errors)
        warn_of_cuts(curves, frames)
        maps = dose_maps(
            frames,
            study,
            settings,
            regions,
            curves,
            anatomy,
            seed=seed,
            on_progress=on_progress,
            device=device,
        )
    unregistered = None
    if len(frames) > 1 and settings.registration.engine != "none":
        with steps.step("the same without registration", _COST["unregistered"]) as on_progress:
            unregistered = _unregistered_dose(plan, study, settings, regions, anatomy, seed, device, on_progress)
    with steps.step("measuring structures", _COST["structures"]):
        density = anatomy.density if anatomy else None
        tia_mbq_h = {name: curves.of(name).tia_mbq_h for name in regions}
        own = own_shares(study.nuclide, tia_mbq_h, regions, maps.dose, density, settings.dose)
        engine = settings.dose.engine
        budgets = structure_budgets(
            study, measured, regions, curves, errors, recovery, density, own, settings.uncertainty, engine
        )
        total = total_u_dose(maps.dose, maps.u_dose, regions, budgets)
        maps = replace(maps, absorbed=replace(maps.absorbed, u_dose=total))
        structures = structure_results(study, settings, regions, curves, maps, unregistered, anatomy, budgets)
        warn_of_curves(structures)
        derived = derived_results(study, settings, maps, unregistered, density, structures, curves.rest)
        marrow = red_marrow(settings.metrics.red_marrow, structures, study.nuclide, engine)
        whole_body, rest = body_results(study, curves, maps, unregistered, anatomy, budgets)
    return PatientResults(
        study=study,
        settings=settings,
        frames=frames,
        maps=maps,
        unregistered=unregistered,
        anatomy=anatomy,
        structures=structures,
        whole_body=whole_body,
        rest=rest,
        recovery=recovery,
        measured_frames=() if recovery.method == "none" else measured,
        derived=derived,
        red_marrow=marrow,
    )


def _prepare(
    study: Study, settings: DosimetrySettings
) -> tuple[PreparedAnatomy | None, dict[str, Region], DosimetrySettings]:
    """What the reference tells of the body, its structures, and the settings with the tracer of the study."""
    grid, ct = study.reference.activity.grid, study.reference.ct
    anatomy = None if ct is None else prepare_anatomy(ct, grid, beyond_ct_g_ml=settings.dose.density_without_ct_g_ml)
    check_study(study, anatomy)
    regions = regions_of(study)
    check_methods(settings.kinetics, regions, len(study.timepoints), half_life_h(study.nuclide))
    check_metrics(settings.metrics, [*regions, *settings.metrics.derived])
    check_derived(settings.metrics, regions)
    check_red_marrow(settings.metrics.red_marrow, regions)
    warn_of_alpha(study.nuclide, settings.metrics.radiobiology)
    kinetics = with_tracer(settings.kinetics, study.tracer)
    return anatomy, regions, settings.model_copy(update={"kinetics": kinetics})


def _curves(
    frames: tuple[Frame, ...],
    study: Study,
    settings: DosimetrySettings,
    regions: Mapping[str, Region],
    errors: Mapping[str, PointErrors] | None = None,
) -> BodyCurves:
    """The curves of structures and body, their points weighted by `errors` where these are known."""
    return structure_curves(
        frames,
        regions,
        settings.kinetics,
        half_life_h(study.nuclide),
        tumours=study.structures.tumours if study.structures else (),
        relative_u={name: found.relative_u for name, found in errors.items()} if errors else None,
    )


def _unregistered_dose(
    plan: RecoveryPlan,
    study: Study,
    settings: DosimetrySettings,
    regions: Mapping[str, Region],
    anatomy: PreparedAnatomy | None,
    seed: int,
    device: str,
    on_progress: OnProgress,
) -> Volume:
    """The dose (Gy) of the scans laid over each other by their world coordinates alone, recovered as `plan` says."""
    frames, _ = correct_frames(plan, overlay_series(study))
    curves = _curves(frames, study, settings, regions)
    maps = dose_maps(
        frames,
        study,
        settings,
        regions,
        curves,
        anatomy,
        with_error=False,
        seed=seed,
        on_progress=on_progress,
        device=device,
    )
    return maps.dose


def dose_maps(
    frames: tuple[Frame, ...],
    study: Study,
    settings: DosimetrySettings,
    regions: Mapping[str, Region],
    curves: BodyCurves,
    anatomy: PreparedAnatomy | None,
    *,
    with_error: bool = True,
    seed: int = 0,
    on_progress: OnProgress | None = None,
    device: str = "cpu",
) -> DoseMaps:
    """Voxel curves of the models of `curves`, their exact integral, and the dose, `with_error` of the curves.

    The dose is that of the integral, or, with `settings.dose.order` "dose_rate_first", the integral of curves through
    the dose rates of the scans (`dose_rates`).
    """
    grid, half_life = study.reference.activity.grid, half_life_h(study.nuclide)
    voxels = fit_frames(frames, half_life, settings.kinetics, regions, curves)
    fit = voxels.fit
    tia, u_tia = (Volume(values.reshape(grid.shape), grid, Quantity.TIA) for values in (fit.tia, fit.u_tia))
    engine = settings.dose.engine
    dose_of = partial(
        absorbed_dose, nuclide=study.nuclide, ct=anatomy, engine=engine, settings=settings.dose, device=device
    )
    if settings.dose.order == "activity_first":
        absorbed = dose_of(tia, u_tia=u_tia if with_error else None, seed=seed, on_progress=on_progress)
        return DoseMaps(fit, tia, absorbed, voxels.sum_to_curve)
    rates = dose_rates(frames, lambda hour, scan: dose_of(hour, seed=seed * len(frames) + scan))
    parts_of = partial(
        dose_parts, nuclide=study.nuclide, ct=anatomy, engine=engine, settings=settings.dose, device=device
    )
    absorbed = rates.integrate(frames, tia, u_tia, parts_of)
    return DoseMaps(fit, tia, absorbed, voxels.sum_to_curve)
