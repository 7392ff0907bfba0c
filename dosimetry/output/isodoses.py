"""isodoses.csv: the volume within each isodose, in the body and in every structure."""

from dataclasses import asdict, fields
from pathlib import Path

from dosimetry.findings.isodoses import IsodoseVolume, isodose_volumes
from dosimetry.results import PatientResults
from nufitdose.io.csv_table import write_csv


def write_isodoses(results: PatientResults, folder: Path) -> None:
    """A row for each isodose that was asked for, by structure; the body comes last."""
    columns = [field.name for field in fields(IsodoseVolume)]
    write_csv(folder / "isodoses.csv", columns, (asdict(found) for found in isodose_volumes(results)))
