"""One patient of many, as the job of a process of its own."""

import sys
from pathlib import Path
from typing import Any

from dosimetry.cohort.finished import Wanted, is_finished
from nufitdose.errors import InputError
from nufitdose.locks import locked
from nufitdose.version import __version__

_BASE_MB = 800.0  # of the program itself; this and the next from two runs of real size
_BYTES_A_VOXEL = 60.0  # of all images together
_LOST_S = 60.0  # a run whose worker was lost ends within seconds


def run_member(study: Path, results: Path, wanted: Wanted) -> bool:
    """Run a patient into `results` unless that is there already; whether it was.

    Raises `InputError` on anything the user can mend, another version of the program on this machine among it.
    """
    if wanted.version != __version__:
        raise InputError(
            f"this worker runs nufitdose {__version__}, the cohort was asked for by {wanted.version}",
            remedy="Install one version everywhere",
        )
    with locked(results, wait_s=_LOST_S):  # whoever was at it meanwhile may have finished it
        if is_finished(study, results, wanted):
            return True
    from dosimetry.config import DosimetrySettings  # only now: a finished patient costs no more than reading it
    from dosimetry.pipeline import run_patient

    settings = DosimetrySettings.model_validate(wanted.config)
    run_patient(study, results, settings, device=wanted.device, seed=wanted.seed, stream=sys.stderr)
    return False


def expected_memory_mb(study: Path) -> float:
    """About what the run of a study will need, by its images' headers; 0 where they cannot be read."""
    import nibabel

    from nufitdose.io.study_folder import study_files

    try:
        voxels = 0
        for path in study_files(study):
            if path.name.endswith((".nii", ".nii.gz")):
                image: Any = nibabel.load(path)
                voxels += int(image.shape[0]) * int(image.shape[1]) * int(image.shape[2])
    except Exception:  # the patient's own run will say what is wrong
        return 0.0
    return _BASE_MB + voxels * _BYTES_A_VOXEL / 2**20
