"""The absorbed dose that is true of a digital patient: transport on its own anatomy, kept in `truth/dose.nii.gz`."""

from pathlib import Path

from dosimetry.config import DoseSettings
from dosimetry.dose import absorbed_dose
from nufitdose.anatomy.prepared import PreparedAnatomy, prepare_anatomy
from nufitdose.errors import InputError
from nufitdose.io.nifti import load_volume, save_volume
from nufitdose.io.study_folder import load_study
from nufitdose.io.truth import FOLDER
from nufitdose.progress import OnProgress
from nufitdose.volume import Quantity, Volume

DOSE = "dose.nii.gz"
STATISTICAL_PERCENT = 1.0


def compute_true_dose(
    tia: Volume, anatomy: PreparedAnatomy, nuclide: str, *, on_progress: OnProgress | None = None
) -> Volume:
    """Dose in Gy of the true time-integrated activity (Bq·h/mL) by Monte Carlo, 1 % in blocks of 20 mL."""
    settings = DoseSettings(statistical_percent=STATISTICAL_PERCENT)
    found = absorbed_dose(
        tia, nuclide=nuclide, ct=anatomy, engine="montecarlo", settings=settings, on_progress=on_progress
    )
    return found.dose


def true_dose(study_folder: Path, *, on_progress: OnProgress | None = None) -> Volume:
    """The dose in `truth/` of a digital patient; computed and kept there where it is missing.

    Raises `InputError` where the study has no truth.
    """
    folder = study_folder / FOLDER
    if (folder / DOSE).is_file():
        return load_volume(folder / DOSE, Quantity.DOSE)
    if not (folder / "tia.nii.gz").is_file():
        raise InputError("this is no digital patient: there is no truth/tia.nii.gz", where=study_folder)
    tia, ct = load_volume(folder / "tia.nii.gz", Quantity.TIA), load_volume(folder / "ct.nii.gz", Quantity.HU)
    nuclide = load_study(study_folder).nuclide
    dose = compute_true_dose(tia, prepare_anatomy(ct, tia.grid), nuclide, on_progress=on_progress)
    save_volume(dose, folder / DOSE)
    return dose
