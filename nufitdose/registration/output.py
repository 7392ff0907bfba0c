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
from nufitdose.registration.structure_quality import mean_over
from nufitdose.registration.uncertainty import mean_inside
from nufitdose.study import Study, TimePoint

QUALITY = "quality.json"

_REGISTRATION = (
    "timepoint", "engine", "seconds", "ssim", "wssim", "lncc", "mi", "tre_mm", "jacobian_min",
    "folding_percent", "ndv_percent", "displacement_max_mm", "activity_change_percent", "nmi", "jacobian_max",
    "jacobian_beyond_percent", "sd_log_jacobian", "inverse_consistency_mm", "overlap_percent", "dice", "hd95_mm",
    "u_registration_mm", "ssim_rigid", "wssim_rigid", "lncc_rigid", "light", "why",
)  # fmt: skip
_AGREEMENT = (
    "timepoint", "structure", "centroid_before_mm", "centroid_after_mm", "dice_before", "dice_after",
    "hd95_before_mm", "hd95_after_mm",
)  # fmt: skip
_ACTIVITY = (
    "timepoint", "structure", "activity_mbq", "activity_conserved_mbq", "activity_change_percent", "u_registration_mm",
)  # fmt: skip


def write_registration_tables(frames: Sequence[Frame], folder: Path) -> None:
    """registration.csv, registration_structures.csv and registration_activity.csv."""
    write_csv(folder / "registration.csv", _REGISTRATION, registration_rows(frames))
    write_csv(folder / "registration_structures.csv", _AGREEMENT, _agreement_rows(frames))
    rows = ({"timepoint": frame.id} | asdict(row) for frame in frames for row in frame.transport)
    write_csv(folder / "registration_activity.csv", _ACTIVITY, rows)


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
        save_field(frame.registration.field.parts_on(onto), onto, place / f"{frame.id}_field.nii.gz")
        if frame.u_registration_mm is not None:
            save_volume(frame.u_registration_mm, place / f"{frame.id}_u_registration_mm.nii.gz")


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


def registration_rows(frames: Sequence[Frame]) -> Iterable[Row]:
    """The rows of registration.csv."""
    for frame in frames:
        found = frame.registration
        if found is not None:
            rigid = {} if found.rigid is None else asdict(found.rigid.quality)
            yield {
                "timepoint": frame.id,
                "engine": found.engine,
                "seconds": found.seconds,
                **asdict(found.quality),
                "dice": mean_over(frame.agreement, "dice_after"),
                "hd95_mm": mean_over(frame.agreement, "hd95_after_mm"),
                "u_registration_mm": mean_inside(frame.u_registration_mm),
                **{f"{name}_rigid": rigid.get(name, math.nan) for name in ("ssim", "wssim", "lncc")},
                "light": "" if frame.light is None else frame.light.state.value,
                "why": "" if frame.light is None else frame.light.why,
            }


def _agreement_rows(frames: Sequence[Frame]) -> Iterable[Row]:
    for frame in frames:
        for row in frame.agreement:
            yield {"timepoint": frame.id} | asdict(row)
