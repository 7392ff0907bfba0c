"""A study's scans on its reference, or on that of another study: each image interpolated once."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nufitdose.errors import InputError
from nufitdose.progress import Steps
from nufitdose.registration.lights import PairLight, judge_pair
from nufitdose.registration.objective import ObjectiveSettings
from nufitdose.registration.scan_to_scan import Registration, register
from nufitdose.registration.settings import RegistrationSettings
from nufitdose.registration.structure_quality import (
    StructureAgreement,
    StructureTransport,
    structure_agreement,
    structure_transport,
)
from nufitdose.study import Study, TimePoint
from nufitdose.types import Image32, Mask
from nufitdose.volume import Quantity, Volume

_log = logging.getLogger(__name__)

SECONDS_A_PAIR = 8.0  # expected, for the progress bar alone


@dataclass(frozen=True, eq=False)
class Frame:
    """One time point on the reference activity grid.

    `activity` is Bq/mL at the scan's own acquisition, `inside` marks the voxels its field of view covers
    (None: all of them), `total_mbq` is what the scan itself held. The reference has no `registration`.
    `offset_h` is how long after `time_h` each voxel was seen, where slices were acquired one after the other (None:
    all at once); `activity` is physically decay-corrected to `time_h` there. `u_registration_mm` is the standard
    uncertainty of a component of the displacement (None for the reference), `transport` what the warp did to the
    activity of every structure of the reference, `light` the verdict on the pair.
    """

    id: str
    time_h: float
    activity: Volume
    total_mbq: float
    inside: Mask | None = None
    registration: Registration | None = None
    agreement: tuple[StructureAgreement, ...] = ()
    offset_h: Image32 | None = None
    u_registration_mm: Volume | None = None
    transport: tuple[StructureTransport, ...] = ()
    light: PairLight | None = None


def register_series(
    study: Study, settings: RegistrationSettings, steps: Steps, *, device: str = "auto"
) -> tuple[Frame, ...]:
    """All time points of a study on its reference, the moving ones through the registration engine."""
    chosen = settings.resolve(study.nuclide, study.nuclide)
    return tuple(
        _as_it_is(timepoint)
        if timepoint.id == study.reference_id
        else _register_scan(study.reference, timepoint, chosen, steps, device)
        for timepoint in study.timepoints
    )


def register_other_series(
    fixed: Study, moving: Study, settings: RegistrationSettings, steps: Steps, *, device: str = "auto"
) -> tuple[Frame, ...]:
    """Every scan of another study (another tracer or cycle of the patient) on the reference of `fixed`."""
    if fixed.patient != moving.patient:
        _log.warning(
            "the studies name two patients, %r and %r; they are registered as one", fixed.patient, moving.patient
        )
    chosen = settings.resolve(fixed.nuclide, moving.nuclide)
    return tuple(_register_scan(fixed.reference, scan, chosen, steps, device) for scan in moving.timepoints)


def overlay_series(study: Study) -> tuple[Frame, ...]:
    """All time points laid over the reference by their world coordinates alone."""
    grid = study.reference.activity.grid
    frames = []
    for timepoint in study.timepoints:
        own = timepoint.activity
        inside = None if timepoint.id == study.reference_id else own.grid.covers(grid)
        frame = Frame(timepoint.id, timepoint.time_h, own.resampled_to(grid), own.total_mbq(), inside)
        frames.append(replace(frame, offset_h=_offset_h(timepoint, lambda slices: slices.resampled_to(grid))))
    return tuple(frames)


def weights_sha256(frames: Sequence[Frame]) -> str | None:
    """The digest of the network's weights that the scans were registered with; None where no network was used."""
    digests = (frame.registration.weights_sha256 for frame in frames if frame.registration is not None)
    return next((digest for digest in digests if digest is not None), None)


def _register_scan(
    fixed: TimePoint, moving: TimePoint, settings: RegistrationSettings, steps: Steps, device: str
) -> Frame:
    """A scan on another one as `settings` say, "auto" resolved."""
    assert settings.similarity_activity != "auto"
    objective = ObjectiveSettings(similarity_activity=settings.similarity_activity, rigidity=settings.tumour_rigidity)
    with steps.step(f"registering {moving.id} ({settings.engine})", SECONDS_A_PAIR) as on_progress:
        try:
            found = register(
                fixed,
                moving,
                engine=settings.engine,
                weights=settings.weights,
                options=settings.options,
                objective=objective,
                device=device,
                on_progress=on_progress,
            )
        except InputError as error:
            raise error.located(f"time point {moving.id}") from error
        return _warp(moving, fixed, found)


def _as_it_is(timepoint: TimePoint) -> Frame:
    activity = timepoint.activity
    offset_h = _offset_h(timepoint, lambda slices: slices)
    return Frame(timepoint.id, timepoint.time_h, activity, activity.total_mbq(), offset_h=offset_h)


def _offset_h(timepoint: TimePoint, bring: Callable[[Volume], Volume]) -> Image32 | None:
    """When each voxel of the reference was seen, that of the nearest slice; `bring` maps labels onto the reference."""
    if timepoint.slice_offsets_h is None:
        return None
    offsets_h, grid = timepoint.slice_offsets_h.astype(np.float32), timepoint.activity.grid
    numbers = np.arange(1, offsets_h.size + 1, dtype=np.uint16)
    slices = bring(Volume(np.ascontiguousarray(np.broadcast_to(numbers, grid.shape)), grid, Quantity.LABELS))
    outside = offsets_h.mean()  # never used: these voxels are not inside the scan
    return np.concatenate([[outside], offsets_h]).astype(np.float32)[slices.data]


def _warp(moving: TimePoint, fixed: TimePoint, found: Registration) -> Frame:
    grid = fixed.activity.grid
    activity = found.warp(moving.activity, onto=grid)
    u_mm = None if found.u_registration_mm is None else found.u_registration_mm.resampled_to(grid)
    agreement: tuple[StructureAgreement, ...] = ()
    transport: tuple[StructureTransport, ...] = ()
    if fixed.structures is not None and u_mm is not None:
        transport = structure_transport(fixed.structures, activity, found.field, u_mm)
    if fixed.structures is not None and moving.structures is not None:
        agreement = structure_agreement(fixed.structures, moving.structures, found.field)
    rigid = None if found.rigid is None else found.rigid.quality
    return Frame(
        id=moving.id,
        time_h=moving.time_h,
        activity=activity,
        total_mbq=moving.activity.total_mbq(),
        inside=found.inside(moving.activity.grid, onto=grid),
        registration=found,
        agreement=agreement,
        offset_h=_offset_h(moving, lambda slices: found.warp(slices, onto=grid)),
        u_registration_mm=u_mm,
        transport=transport,
        light=judge_pair(found.quality, found.unregistered, rigid, agreement, transport),
    )
