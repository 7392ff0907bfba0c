"""The whole chain on a digital patient, compared with the truth that only a digital patient has."""

from pathlib import Path

from dosimetry.config import DosimetrySettings
from dosimetry.dose import absorbed_dose, density_from_ct
from dosimetry.metrics import dose_volume_metrics, region_on
from dosimetry.pipeline import run_patient
from dosimetry.results import PatientResults, StructureResult
from nufitdose.phantom import DigitalPatient, simulate_patient, write_patient
from nufitdose.progress import Steps, Stream
from nufitdose.run import RunRecord, output_folder, write_record
from nufitdose.text import significant, text_table

_KEYS = {"mean": "dose_mean_gy", "D2%": "dose_d2_gy", "D98%": "dose_d98_gy"}


def run_demo(
    out: Path, settings: DosimetrySettings, *, device: str = "auto", seed: int = 1, stream: Stream | None = None
) -> str:
    """Simulate the patient into out/study, run it into out/results, and return the comparison as text."""
    record = RunRecord("demo", settings.model_dump(mode="json"), seed=seed, device=device)
    with output_folder(out) as place:
        with Steps(1.0, stream) as steps, steps.step("simulating the digital patient"):
            patient = demo_patient(seed)
            write_patient(patient, place / "study")
        results = run_patient(place / "study", place / "results", settings, device=device, seed=seed, stream=stream)
        record.timings_s = steps.seconds
        write_record(record, place)
    return "\n".join(
        [
            comparison(patient, results),
            *(f"warning: {warning}" for warning in results.warnings),
            f"report: {out / 'results' / 'report.html'}",
        ]
    )


def demo_patient(seed: int) -> DigitalPatient:
    """A small patient: Lu-177-DOTATATE, four SPECT/CT scans over a week."""
    return simulate_patient(
        tracer="Lu-177-DOTATATE", times_h=(4.0, 24.0, 72.0, 168.0), shape=(80, 80, 80), spacing_mm=4.8, seed=seed
    )


def comparison(patient: DigitalPatient, results: PatientResults) -> str:
    """Dose of every structure against the truth: what was found, and what no registration would have found.

    The truth is free of noise and blur, so a small tumour's difference holds the scanner's partial-volume
    loss as well as what is left of the motion.
    """
    columns = ["structure", *(f"{key} {what}" for key in _KEYS for what in ("true", "found", "%", "unreg. %"))]
    rows = [_row(patient, found) for found in results.structures]
    return (
        text_table(columns, rows) + "\ndose in Gy; % is found against true; unreg. is the same run without registration"
    )


def _row(patient: DigitalPatient, found: StructureResult) -> list[str]:
    true = true_metrics(patient, found.name)
    cells = [found.name]
    for key in _KEYS.values():
        cells += [significant(true[key]), significant(found.dose[key]), _percent(found.dose[key], true[key])]
        cells.append(_percent(found.unregistered[key], true[key]) if found.unregistered else "-")
    return cells


def _percent(value: float, true: float) -> str:
    return f"{100 * (value / true - 1):+.1f}" if true else "-"


def true_metrics(patient: DigitalPatient, structure: str) -> dict[str, float]:
    """Dose metrics of the noise-free, unblurred activity through the same dose engine."""
    truth = patient.truth
    dose = absorbed_dose(truth.tia, truth.ct, patient.study.nuclide)
    structures = patient.study.structures
    assert structures is not None
    mask, layer = structures.mask(structure)
    region = region_on(mask, layer.grid, dose.grid)
    density = density_from_ct(truth.ct, dose.grid)
    return dose_volume_metrics(region.values(dose), region.part_ml, region.values(density))
