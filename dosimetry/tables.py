"""The CSV files of a run; their names and columns are an interface (docs/outputs.md)."""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from dosimetry.frames import Frame
from dosimetry.results import PatientResults, StructureResult

Row = Mapping[str, object]

_REGISTRATION = (
    "timepoint", "engine", "seconds", "ssim", "wssim", "lncc", "mi", "tre_mm", "jacobian_min",
    "folding_percent", "ndv_percent", "displacement_max_mm", "activity_change_percent",
)  # fmt: skip
_AGREEMENT = ("timepoint", "structure", "centroid_before_mm", "centroid_after_mm", "dice_before", "dice_after")
_TAC = ("structure", "timepoint", "time_h", "activity_mbq", "u_activity_mbq", "fitted_mbq")
_DVH = ("structure", "dose_gy", "volume_percent")


def write_tables(results: PatientResults, folder: Path) -> None:
    """metrics.csv, tac.csv, dvh.csv, registration.csv, registration_structures.csv."""
    write_csv(folder / "metrics.csv", _metrics_columns(results), map(_metrics_row, results.structures))
    write_csv(folder / "tac.csv", _TAC, _tac_rows(results))
    write_csv(folder / "dvh.csv", _DVH, _dvh_rows(results))
    write_registration_tables(results.frames, folder)


def write_registration_tables(frames: Sequence[Frame], folder: Path) -> None:
    """registration.csv and registration_structures.csv."""
    write_csv(folder / "registration.csv", _REGISTRATION, _registration_rows(frames))
    write_csv(folder / "registration_structures.csv", _AGREEMENT, _agreement_rows(frames))


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Row]) -> None:
    """A table with these columns; numbers with six significant digits, unknown ones left empty."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([_cell(row[column]) for column in columns] for row in rows)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else ""
    return str(value)


def _metrics_columns(results: PatientResults) -> tuple[str, ...]:
    thresholds = (f"v_{gy:g}gy_percent" for gy in results.settings.metrics.volume_at_gy)
    return (
        "structure", "role", "volume_ml", "mass_g", "tia_mbq_h", "tiac_h", "teff_h",
        "dose_mean_gy", "dose_d2_gy", "dose_d50_gy", "dose_d98_gy", "dose_min_gy", "dose_max_gy", "dose_d35mm3_gy",
        *thresholds,
        "dose_mean_gy_per_gbq", "tia_curve_mbq_h", "extrapolated_percent",
        "dose_mean_unregistered_gy", "dose_d2_unregistered_gy", "dose_d98_unregistered_gy",
        "u_tia_mbq_h", "u_tiac_h", "u_teff_h", "u_dose_mean_gy",
    )  # fmt: skip


def _metrics_row(result: StructureResult) -> Row:
    relative = result.relative_u_tia
    return {
        "structure": result.name,
        "role": result.role,
        "volume_ml": result.volume_ml,
        "mass_g": result.mass_g,
        "tia_mbq_h": result.tia_mbq_h,
        "tiac_h": result.tiac_h,
        "teff_h": result.fit.teff_h,
        **result.dose,
        "dose_mean_gy_per_gbq": result.dose["dose_mean_gy"] * result.tiac_h / result.tia_mbq_h * 1e3
        if result.tia_mbq_h > 0
        else float("nan"),
        "tia_curve_mbq_h": result.fit.tia_mbq_h,
        "extrapolated_percent": 100.0 * result.fit.extrapolated_fraction,
        **{
            f"dose_{name}_unregistered_gy": result.unregistered.get(f"dose_{name}_gy", float("nan"))
            for name in ("mean", "d2", "d98")
        },
        "u_tia_mbq_h": relative * result.tia_mbq_h,
        "u_tiac_h": relative * result.tiac_h,
        "u_teff_h": result.fit.u_teff_h,
        "u_dose_mean_gy": relative * result.dose["dose_mean_gy"],
    }


def _tac_rows(results: PatientResults) -> Iterable[Row]:
    for structure in results.structures:
        fitted = structure.fit.curve(results.times_h)
        for frame, activity, value in zip(results.frames, structure.activity_mbq, fitted, strict=True):
            yield {
                "structure": structure.name,
                "timepoint": frame.id,
                "time_h": frame.time_h,
                "activity_mbq": float(activity),
                "u_activity_mbq": float("nan"),
                "fitted_mbq": float(value),
            }


def _dvh_rows(results: PatientResults) -> Iterable[Row]:
    for structure in results.structures:
        for dose, volume in zip(*structure.histogram.curve(), strict=True):
            yield {"structure": structure.name, "dose_gy": float(dose), "volume_percent": float(volume)}


def _registration_rows(frames: Sequence[Frame]) -> Iterable[Row]:
    for frame in frames:
        if frame.registration is not None:
            found = frame.registration
            head = {"timepoint": frame.id, "engine": found.engine, "seconds": found.seconds}
            yield head | asdict(found.quality)


def _agreement_rows(frames: Sequence[Frame]) -> Iterable[Row]:
    for frame in frames:
        for row in frame.agreement:
            yield {"timepoint": frame.id} | asdict(row)
