"""What a run found, in one table for the terminal."""

from dosimetry.lights.structures import judge
from dosimetry.lights.values import tally
from dosimetry.results import PatientResults
from nufitdose.text import significant, text_table


def summary(results: PatientResults) -> str:
    """Structures with TIA and dose, beside the dose without registration, their lights, and the warnings."""
    columns = [
        "structure",
        "role",
        "mL",
        "TIA MBq·h",
        "T_eff h",
        "model",
        "mean Gy",
        "± total",
        "D2% Gy",
        "D98% Gy",
        "mean Gy unregistered",
    ]
    rows = [
        [
            found.name,
            found.role,
            significant(found.volume_ml),
            significant(found.tia_mbq_h),
            significant(found.curve.teff_h),
            found.curve.model,
            significant(found.dose.get("dose_mean_gy", float("nan"))),
            significant(found.u_dose_mean_gy, 2),
            *(significant(found.dose.get(f"dose_{key}_gy", float("nan"))) for key in ("d2", "d98")),
            significant(found.unregistered.get("dose_mean_gy", float("nan"))),
        ]
        for found in results.rows
    ]
    judged = judge(results)
    told = [[name, light.state.colour, light.sentence] for name, light in judged.items()]
    counted = tally([(found.role, judged[found.name].state.colour) for found in results.structures])
    lights = [text_table(["structure", "light", "because"], told, words=3), counted] if told else []
    lines = [text_table(columns, rows), *lights, *results.flag_lines]
    return "\n".join([*lines, *(f"warning: {warning}" for warning in results.warnings)])
