"""Stage 3: the patient run, from a study to absorbed dose, its metrics and the report."""

from typing import TYPE_CHECKING

from nufitdose.lazy import load_on_first_use

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


__getattr__ = load_on_first_use(__name__, _HOME)
