"""The whole chain on a digital patient, compared with the truth that only a digital patient has."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from dosimetry.config import DosimetrySettings
from dosimetry.curves.structures import structure_curves
from dosimetry.evaluation.true_dose import true_dose
from dosimetry.metrics import dose_volume_metrics
from dosimetry.pipeline import dose_maps, run_patient
from dosimetry.recovery import correct_frames, plan_recovery
from dosimetry.results import PatientResults
from nufitdose.anatomy.prepared import prepare_anatomy
from nufitdose.nuclides import half_life_h
from nufitdose.phantom import DigitalPatient, PatientSettings, simulate_patient, write_patient
from nufitdose.progress import Steps, Stream, one_clock
from nufitdose.registration import DisplacementField
from nufitdose.registration.series import Frame
from nufitdose.run import RunRecord, collected_warnings, output_folder, write_record
from nufitdose.text import significant, text_table
from nufitdose.volume import Volume

_METRICS = {"mean": "dose_mean_gy", "D2%": "dose_d2_gy", "D98%": "dose_d98_gy"}
_LEGEND = """\
Differences from the true dose, by Monte Carlo. The truth is free of noise and blur, so every difference holds
what recovery leaves of the scanner's own loss, largest in small tumours; 'true motion' is what a perfect
registration would have found in the same scans, 'unregistered' what no registration would."""


def run_demo(
    out: Path, settings: DosimetrySettings, *, device: str = "auto", seed: int = 1, stream: Stream | None = None
) -> str:
    """Simulate the patient into out/study, run it into out/results, and return the comparison as text."""
    record = RunRecord("demo", settings.model_dump(mode="json"), seed=seed, device=device)
    with one_clock(), output_folder(out, kind=record.command) as place:
        with Steps(2.0, stream) as steps:
            with steps.step("simulating the digital patient"):
                patient = demo_patient(seed)
                write_patient(patient, place / "study")
            with steps.step("computing its true dose") as on_progress:
                true = true_dose(place / "study", on_progress=on_progress)
        results = run_patient(place / "study", place / "results", settings, device=device, seed=seed, stream=stream)
        with collected_warnings(record):
            table = comparison(patient, true, results)
        record.timings_s = steps.seconds
        write_record(record, place)
    warnings = (f"warning: {warning}" for warning in results.warnings)
    return "\n".join([table, *warnings, f"report: {out / 'results' / 'report.html'}"])


def demo_patient(seed: int) -> DigitalPatient:
    """A small patient: Lu-177-DOTATATE, four SPECT/CT scans over a week."""
    return simulate_patient(
        PatientSettings(
            tracer="Lu-177-DOTATATE",
            times_h=(4.0, 24.0, 72.0, 168.0),
            shape=(72, 72, 72),
            spacing_mm=4.8,
            tumours=4,
            tumour_mm=(18.0, 45.0),
            seed=seed,
        )
    )


def comparison(patient: DigitalPatient, true_dose: Volume, results: PatientResults) -> str:
    """Mean dose, D2% and D98% of every structure against the truth, as text."""
    perfect = true_motion_dose(patient, results)
    anatomy = prepare_anatomy(patient.truth.ct, patient.truth.tia.grid)
    rows = []
    for found in results.structures:
        region = found.region
        density = region.values(results.density) if results.density else 1.0
        true = dose_volume_metrics(region.values(true_dose), region.part_ml, region.values(anatomy.density))
        best = dose_volume_metrics(region.values(perfect), region.part_ml, density)
        for label, key in _METRICS.items():
            rows.append(
                [
                    found.name if label == "mean" else "",
                    label,
                    significant(true[key]),
                    significant(found.dose[key]),
                    *_percents([found.dose.get(key), best[key], found.unregistered.get(key)], true[key]),
                ]
            )
    columns = ["structure", "dose", "true Gy", "found Gy", "found %", "true motion %", "unregistered %"]
    return f"{text_table(columns, rows)}\n{_LEGEND}"


def true_motion_dose(patient: DigitalPatient, results: PatientResults) -> Volume:
    """Dose from the same scans and the same chain with the exact field in place of the registration."""
    frames = []
    for frame, timepoint in zip(results.frames, patient.study.timepoints, strict=True):
        if frame.registration is None:
            frames.append(frame)
            continue
        true = patient.truth.timepoint(frame.id)
        frames.append(_warp(frame, DisplacementField(true.field, true.grid), timepoint.activity))
    regions = {found.name: found.region for found in results.structures}
    plan = plan_recovery(patient.study, frames, regions, results.anatomy, results.settings.recovery)
    corrected, _ = correct_frames(plan, frames)
    kinetics, physical_h = results.settings.kinetics, half_life_h(patient.study.nuclide)
    tumours = [found.name for found in results.structures if found.role == "tumour"]
    curves = structure_curves(corrected, regions, kinetics, physical_h, tumours=tumours)
    return dose_maps(corrected, patient.study, results.settings, regions, curves, results.anatomy).dose


def _warp(frame: Frame, field: DisplacementField, moving: Volume) -> Frame:
    grid = frame.activity.grid
    return replace(frame, activity=field.warp(moving, grid), inside=field.inside(moving.grid, grid))


def _percents(values: Iterable[float | None], true: float) -> list[str]:
    return [f"{100 * (value / true - 1):+.1f}" if value is not None and true else "-" for value in values]
