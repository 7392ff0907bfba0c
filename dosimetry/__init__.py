"""Stage 3: the patient run, from a study to absorbed dose, its metrics and the report."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dosimetry.config import DosimetrySettings as DosimetrySettings
    from dosimetry.pipeline import run_patient as run_patient
    from dosimetry.results import PatientResults as PatientResults

_HOME = {
    "DosimetrySettings": "dosimetry.config",
    "PatientResults": "dosimetry.results",
    "run_patient": "dosimetry.pipeline",
}
__all__ = sorted(_HOME)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOME:
        raise AttributeError(f"module 'dosimetry' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
