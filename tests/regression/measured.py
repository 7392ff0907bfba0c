"""What is frozen of a run, and how it is read from the files that the run wrote."""

import csv
import os
from pathlib import Path

from dosimetry import run_patient
from dosimetry.config import load_settings
from nufitdose.io.importer.planning import ImportOptions, plan_import, write_study

HERE = Path(__file__).parent
SAMPLES = {"sample": HERE / "sample_study", "iodine": HERE / "iodine_study"}
FROZEN = HERE / "frozen.json"
_COLUMNS = (
    "volume_ml", "mass_g", "tia_mbq_h", "tiac_h", "teff_h", "dose_mean_gy", "dose_d2_gy", "dose_d50_gy", "dose_d98_gy",
    "dose_max_gy", "dose_mean_unregistered_gy",
)  # fmt: skip
_LEAST_ML = 2.0  # of few voxels: their numbers jump by a whole one

#: By its own motion alone, where every step is settled to small differences, and as a run is by default.
ENGINES = ("rigid", "nufit")


def numbers_of(study: Path, out: Path, engine: str) -> dict[str, dict[str, float | None]]:
    """Metrics of every structure, and for each pair what registration did to structures known at both times.

    None where a table is empty, as the effective half-life of activity that rises is. Structures below 2 mL are left
    out.
    """
    run_patient(study, out, load_settings(None, [f"registration.engine={engine}"]))
    drawn = [row for row in _rows(out / "metrics.csv") if row["role"] in {"organ", "tumour"}]
    drawn = [row for row in drawn if float(row["volume_ml"]) >= _LEAST_ML]
    found = {row["structure"]: {c: float(row[c]) if row[c] else None for c in _COLUMNS} for row in drawn}
    kept = {row["structure"] for row in drawn}
    for row in (row for row in _rows(out / "registration_structures.csv") if row["structure"] in kept):
        pair = f"{row['timepoint']} {row['structure']}"
        found[pair] = {c: float(row[c]) for c in ("centroid_before_mm", "centroid_after_mm", "dice_after")}
    return found


def real_patient() -> Path | None:
    """The folder of the real two-point patient, where it is present."""
    data = Path(os.environ.get("NUFITDOSE_DATA") or HERE.parents[1] / "../shared/data")
    folder = data / "lu177_dotatate_2tp"
    return folder if folder.is_dir() else None


def import_real(folder: Path, study: Path) -> Path:
    """Import the real patient untouched."""
    study.mkdir()
    write_study(plan_import(folder, ImportOptions()), study)
    return study


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))
