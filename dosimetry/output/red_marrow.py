"""red_marrow.csv: what the image and the blood say of red marrow, where that was asked for."""

from dataclasses import asdict, fields
from pathlib import Path

from dosimetry.results import PatientResults, RedMarrow
from nufitdose.io.csv_table import write_csv


def write_red_marrow(results: PatientResults, folder: Path) -> None:
    """A row a method; no file where none was asked for."""
    if results.red_marrow:
        columns = [field.name for field in fields(RedMarrow)]
        write_csv(folder / "red_marrow.csv", columns, (asdict(found) for found in results.red_marrow))
