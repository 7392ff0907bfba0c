"""Registration alone: the scans of one study on its reference, or those of another study (tracer, cycle) on it."""

from pathlib import Path

from nufitdose.io.study_run import study_run
from nufitdose.progress import Steps, Stream, tell_warnings
from nufitdose.registration.output import identify, write_quality, write_registered, write_registration_tables
from nufitdose.registration.series import (
    SECONDS_A_PAIR,
    Frame,
    register_other_series,
    register_series,
    weights_sha256,
)
from nufitdose.registration.settings import RegistrationSettings
from nufitdose.run import RunRecord
from nufitdose.study import Study

_WRITING_S = 8.0  # expected, for the progress bar alone


def run_registration(
    study: Study | str | Path,
    out: str | Path,
    settings: RegistrationSettings | None = None,
    *,
    other: Study | str | Path | None = None,
    device: str = "auto",
    seed: int = 0,
    stream: Stream | None = None,
) -> tuple[Frame, ...]:
    """Bring the scans of a study, or those of `other`, onto the reference of `study`.

    Writes registered/, registration.csv, registration_structures.csv and run.json into `out`, for another study
    quality.json too: each scan before and after. Progress and warnings go to `stream`. Raises `InputError` on anything
    the user can mend; `out` is then left as it was.
    """
    settings = settings or RegistrationSettings()
    settings.check_needs()
    record = RunRecord("register", {}, seed=seed, device=device)
    studies = [study] if other is None else [study, other]
    with study_run(studies, out, record) as (place, loaded):
        fixed, moving = loaded[0], loaded[-1]
        if other is not None:
            settings = settings.resolve(fixed.nuclide, moving.nuclide)
            record.notes |= {"fixed": identify(fixed), "moving": identify(moving)}
        record.config = {"registration": settings.model_dump(mode="json")}
        with Steps(_WRITING_S + SECONDS_A_PAIR * (len(moving.timepoints) - (other is None)), stream) as steps:
            if other is None:
                frames = register_series(fixed, settings, steps, device=device)
            else:
                frames = register_other_series(fixed, moving, settings, steps, device=device)
            record.notes["weights_sha256"] = weights_sha256(frames)
            with steps.step("writing", _WRITING_S):
                write_registration_tables(frames, place)
                write_registered(fixed.reference, moving.timepoints, frames, place)
                if other is not None:
                    write_quality(fixed, moving, settings, frames, place)
        record.timings_s = steps.seconds
    tell_warnings(record.warnings, stream)
    return frames
