"""Scans of another study of the same patient, another tracer or another cycle, brought onto this study's reference."""

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dosimetry.config import DosimetrySettings, RegistrationSettings
from dosimetry.frames import SECONDS_A_PAIR, Frame, registered_frame
from dosimetry.output.images import write_registered
from dosimetry.output.tables import write_registration_tables
from nufitdose.io.study_folder import load_study, manifest_path, study_files
from nufitdose.progress import Steps, Stream
from nufitdose.registration.quality import RegistrationQuality
from nufitdose.run import RunRecord, collected_warnings, output_folder, write_record
from nufitdose.study import Study

QUALITY = "quality.json"
_WRITING_S = 8.0
_log = logging.getLogger(__name__)


def run_registration_between(
    fixed: str | Path,
    moving: str | Path,
    out: str | Path,
    settings: DosimetrySettings | None = None,
    *,
    device: str = "auto",
    seed: int = 0,
    stream: Stream | None = None,
) -> tuple[Frame, ...]:
    """Bring every scan of the study folder `moving` onto the reference scan of the study folder `fixed`.

    Writes what a registration of one study writes, and quality.json: each scan before and after. Raises `InputError`
    on anything the user can mend; `out` is then left as it was.
    """
    settings = settings or DosimetrySettings()
    manifests = manifest_path(fixed), manifest_path(moving)
    record = RunRecord("register", {}, seed=seed, device=device)
    with (
        output_folder(out, kind=record.command, inputs=[m.parent for m in manifests]) as place,
        collected_warnings(record),
    ):
        here, other = (load_study(manifest) for manifest in manifests)
        chosen = _between(here, other, settings.registration)
        record.config = settings.model_copy(update={"registration": chosen}).model_dump(mode="json")
        record.notes |= {"fixed": _identity(here), "moving": _identity(other)}
        for manifest in manifests:
            record.add_inputs(study_files(manifest), manifest.parent.parent)
        with Steps(_WRITING_S + SECONDS_A_PAIR * len(other.timepoints), stream) as steps:
            frames = tuple(
                registered_frame(here.reference, scan, chosen, steps, device=device) for scan in other.timepoints
            )
            with steps.step("writing", _WRITING_S):
                write_registration_tables(frames, place)
                write_registered(here.reference, other.timepoints, frames, place)
                (place / QUALITY).write_text(json.dumps(_quality(here, other, chosen, frames), indent=2) + "\n")
        record.timings_s = steps.seconds
        write_record(record, place)
    return frames


def _between(here: Study, other: Study, settings: RegistrationSettings) -> RegistrationSettings:
    """The settings with "auto" resolved: activities of two nuclides are those of two tracers."""
    if here.patient != other.patient:
        _log.warning(
            "the studies name two patients, %r and %r; they are registered as one", here.patient, other.patient
        )
    if settings.similarity_activity != "auto":
        return settings
    return settings.model_copy(update={"similarity_activity": "lncc" if here.nuclide == other.nuclide else "mind"})


def _identity(study: Study) -> dict[str, str]:
    return {"patient": study.patient, "nuclide": study.nuclide, "reference": study.reference_id}


def _quality(here: Study, other: Study, settings: RegistrationSettings, frames: Sequence[Frame]) -> dict[str, Any]:
    found = [frame.registration for frame in frames if frame.registration is not None]
    return {
        "fixed": _identity(here),
        "moving": _identity(other),
        "engine": settings.engine,
        "similarity_activity": settings.similarity_activity,
        "scans": {
            frame.id: {
                "basis": one.basis,
                "seconds": round(one.seconds, 3),
                "before": _numbers(one.unregistered),
                "after": _numbers(one.quality),
            }
            for frame, one in zip(frames, found, strict=True)
        },
    }


def _numbers(quality: RegistrationQuality) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in asdict(quality).items()}
