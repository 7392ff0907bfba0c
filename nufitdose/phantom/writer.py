"""A digital patient as a folder: the study as anyone's study folder, and `truth/` beside it."""

import csv
from collections.abc import Iterable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from nufitdose.compiled import side_by_side
from nufitdose.errors import InputError
from nufitdose.files import sweep, whole_folder
from nufitdose.io.dicom.write.study import ActivityObject, write_dicom_study
from nufitdose.io.field_file import save_field
from nufitdose.io.nifti import save_volume
from nufitdose.io.study_folder import save_study
from nufitdose.io.truth import FOLDER as TRUTH
from nufitdose.io.truth import LANDMARKS, field_paths
from nufitdose.locks import holds_something, locked
from nufitdose.phantom.patient import DigitalPatient
from nufitdose.phantom.tracer import find_tracer
from nufitdose.phantom.truth import PatientTruth

#: DICOM needs a date: that of a patient who has none.
_ADMINISTERED_AT = datetime(2020, 1, 6, 9, 0)


def write_patient(patient: DigitalPatient, folder: str | Path, *, dicom: bool | ActivityObject = False) -> Path:
    """Write study and truth, whole or not at all; returns `folder`.

    With `dicom` the study is written once more as DICOM series below `dicom/`: CT, RTSTRUCT, and activity as the
    object named, `NM` or `PT`; where it is True as `NM` if the tracer is imaged with SPECT, else as `PT`.

    Raises `InputError` when `folder` exists and holds something, or cannot be written.
    """
    folder = Path(folder)
    require_free_folder(folder)
    try:
        with locked(folder), whole_folder(folder) as place:
            (place / TRUTH).mkdir()
            jobs = _truth_images(patient.truth, place / TRUTH)
            for _ in side_by_side(_call, [partial(save_study, patient.study, place), *jobs]):
                pass
            _write_tables(patient.truth, place / TRUTH)
            if dicom:
                spect = find_tracer(patient.study.nuclide).modality == "spect"
                kind: ActivityObject = dicom if isinstance(dicom, str) else "NM" if spect else "PT"
                administered = patient.study.administration.time or _ADMINISTERED_AT
                write_dicom_study(patient.study, place / "dicom", administered, activity=kind)
    except OSError as error:
        raise InputError(
            f"the patient could not be written ({error.strerror})", where=folder, remedy="Check free space and rights"
        ) from error
    return folder


def require_free_folder(folder: str | Path) -> None:
    """Raise `InputError` unless a patient can be written to `folder`; ask before a long simulation."""
    folder = Path(folder)
    sweep(folder)
    if folder.exists() and (not folder.is_dir() or holds_something(folder)):
        raise InputError(
            "there is already something here", where=folder, remedy="Name a new folder, or remove this one"
        )
    try:
        with locked(folder), whole_folder(folder) as place:
            place.rmdir()
    except OSError as error:
        raise InputError(
            f"the folder cannot be made ({error.strerror})", where=folder, remedy="Choose a folder you can write to"
        ) from error


def _call(job: partial[Any]) -> None:
    job()


def _truth_images(truth: PatientTruth, folder: Path) -> list[partial[Any]]:
    volumes = ("tia", "effective_half_life", "labels", "ct")
    jobs: list[partial[Any]] = [
        partial(save_volume, getattr(truth, name), folder / f"{name}.nii.gz") for name in volumes
    ]
    for tp in truth.timepoints:
        field, inverse = field_paths(folder, tp.id)
        jobs.append(partial(save_field, [tp.field], tp.grid, field))
        jobs.append(partial(save_field, [tp.inverse], tp.grid, inverse))
    return jobs


def _write_tables(truth: PatientTruth, folder: Path) -> None:
    columns = [f"{pose}_{axis}_mm" for pose in ("fixed", "moving") for axis in "xyz"]
    _table(
        folder / LANDMARKS,
        ["structure", "timepoint", *columns],
        ([m.structure, m.timepoint, *(f"{c:.4f}" for c in (*m.fixed_mm, *m.moving_mm))] for m in truth.landmarks),
    )
    number = {name: label for label, name in truth.names.items()}
    _table(
        folder / "organs.csv",
        ["label", "structure", "role", "volume_ml", "tia_mbq_h", "tiac_h", "teff_h", "own_tia_mbq_h"],
        (
            [
                number[o.structure],
                o.structure,
                o.role,
                *_digits(o.volume_ml, o.tia_mbq_h, o.tiac_h, o.teff_h, o.own_tia_mbq_h),
            ]
            for o in truth.organs
        ),
    )
    _table(
        folder / "tac.csv",
        ["structure", "timepoint", "time_h", "activity_mbq"],
        (
            [o.structure, tp.id, f"{tp.time_h:.6g}", *_digits(o.activity_mbq[tp.id])]
            for o in truth.organs
            for tp in truth.timepoints
        ),
    )


def _digits(*values: float) -> list[str]:
    return [f"{value:.6g}" for value in values]


def _table(path: Path, header: list[str], rows: Iterable[list[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
