"""What run.json says of the scanner and of recovery."""

from typing import Any

import numpy as np

from dosimetry.results import PatientResults
from nufitdose.io.study_folder.scanner_file import scanner_entry


def recovery_record(results: PatientResults) -> dict[str, Any]:
    """The notes `scanner` and `recovery`: description, choice, resolution, and R of every structure at every scan."""
    found, scanner = results.recovery, results.study.scanner
    structures = {
        name: {
            "method": found.method_of(name),
            "r": {row.timepoint: _known(row.value) for row in rows},
            "relative_u": _known(found.relative_u(name)),
            "noise": _known(max(row.noise for row in rows)),
        }
        for name, rows in found.structures.items()
        if rows
    }
    return {
        "scanner": None if scanner is None else scanner_entry(scanner),
        "recovery": {
            "method": found.method,
            "assumed": found.assumed,
            "fwhm_mm": [_known(width) for width in found.fwhm_mm],
            "activity_change_percent": {key: _known(value) for key, value in found.total_change_percent.items()},
            "structures": structures,
        },
    }


def _known(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None
