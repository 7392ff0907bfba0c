"""The files of a registration: tables, registered scans and fields, quality.json."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nufitdose.io.csv_table import Row, write_csv
from nufitdose.io.field_file import save_field
from nufitdose.io.nifti import save_volume
from nufitdose.registration.quality import RegistrationQuality
from nufitdose.registration.series import Frame
from nufitdose.registration.settings import RegistrationSettings
from nufitdose.study import Study, TimePoint

QUALITY = "quality.json"

_REGISTRATION = (
    "timepoint", "engine", "seconds", "ssim", "wssim", "lncc", "mi", "tre_mm", "jacobian_min",
    "folding_percent", "ndv_percent", "displacement_max_mm", "activity_change_percent",
)  # fmt: skip
_AGREEMENT = ("timepoint", "structure", "centroid_before_mm", "centroid_after_mm", "dice_before", "dice_after")


def write_registration_tables(frames: Sequence[Frame], folder: Path) -> None:
    """registration.csv and registration_structures.csv."""
    write_csv(folder / "registration.csv", _REGISTRATION, _registration_rows(frames))
    write_csv(folder / "registration_structures.csv", _AGREEMENT, _agreement_rows(frames))


def write_registered(
    reference: TimePoint, timepoints: Sequence[TimePoint], frames: Sequence[Frame], folder: Path
) -> None:
    """registered/: every scan on the reference grid at its own time, its CT, and the field that brought it there."""
    place = folder / "registered"
    place.mkdir()
    for frame, timepoint in zip(frames, timepoints, strict=True):
        save_volume(frame.activity, place / f"{frame.id}_activity.nii.gz")
        onto = reference.ct.grid if reference.ct else reference.activity.grid
        if frame.registration is None:
            if timepoint.ct is not None:
                save_volume(timepoint.ct, place / f"{frame.id}_ct.nii.gz")
            continue
        if timepoint.ct is not None:
            save_volume(frame.registration.warp(timepoint.ct, onto=onto), place / f"{frame.id}_ct.nii.gz")
        field = frame.registration.field.on(onto)
        save_field(field.data, field.grid, place / f"{frame.id}_field.nii.gz")


def write_quality(
    fixed: Study, moving: Study, settings: RegistrationSettings, frames: Sequence[Frame], folder: Path
) -> None:
    """quality.json of two studies: who was brought onto whom, how, and each scan before and after."""
    content = {
        "fixed": identify(fixed),
        "moving": identify(moving),
        "engine": settings.engine,
        "similarity_activity": settings.similarity_activity,
        "scans": {frame.id: _scan_quality(frame) for frame in frames},
    }
    (folder / QUALITY).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def identify(study: Study) -> dict[str, str]:
    """A study in three words."""
    return {"patient": study.patient, "nuclide": study.nuclide, "reference": study.reference_id}


def _scan_quality(frame: Frame) -> dict[str, Any]:
    found = frame.registration
    assert found is not None
    return {
        "basis": found.basis,
        "seconds": round(found.seconds, 3),
        "before": _numbers(found.unregistered),
        "after": _numbers(found.quality),
    }


def _numbers(quality: RegistrationQuality) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in asdict(quality).items()}


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
