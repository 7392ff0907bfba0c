"""From the studies on disk to prepared scans in a store: read, split, aligned, each made once."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from nufitdose.cohort import Cohort, Member, SplitRule
from nufitdose.errors import InputError
from nufitdose.io.cohort_folder import Broken, load_cohort, report_broken
from nufitdose.registration.engines.linear import affine_pose, basis_of, rigid_pose
from nufitdose.registration.intensity import scaled_ct
from nufitdose.study import TimePoint
from nufitdose.training.scans import ScanKey, ScanStore, prepare_scan
from nufitdose.training.settings import DataSettings
from nufitdose.training.truth import read_motion
from nufitdose.types import Affine, Image32
from nufitdose.volume import Volume

Align = Callable[[TimePoint, TimePoint], Affine]  # (fixed, moving) -> from fixed world to moving world, mm


def read_cohort(data: DataSettings, *, seed: int, least_scans: int = 1) -> Cohort:
    """The studies that `data` names, split; a study of fewer than `least_scans` scans counts as broken.

    Raises `InputError` where nothing is there, a patient is on two sides, a study is broken and `broken` is
    'refuse', or no training patient is left.
    """
    named = None if data.splits is None else data.splits.model_dump()
    rule = SplitRule(named, data.shares, seed)
    cohort = load_cohort(Path(data.cohort), rule, broken=data.broken, least_scans=least_scans)
    return cohort.take_patients(data.train_patients, data.validation_patients)


def keys_of(member: Member) -> tuple[ScanKey, ...]:
    """The keys of a study's scans, in order of time."""
    return tuple(ScanKey(member.digest, tp.id, member.patient) for tp in member.study.timepoints)


def align_rigidly(fixed: TimePoint, moving: TimePoint) -> Affine:
    """Scans of one patient, by a rigid pose."""
    return rigid_pose(fixed, moving, basis_of(fixed, moving)).matrix


def align_affinely(fixed: TimePoint, moving: TimePoint) -> Affine:
    """Scans of two patients, by an affine pose."""
    return affine_pose(fixed, moving, basis_of(fixed, moving)).matrix


def prepare_all(
    members: Sequence[Member],
    store: ScanStore,
    *,
    spacing_mm: float,
    broken: Broken,
    within: Align,
    between: Align | None,
    see_ct: Callable[[Volume], Image32] = scaled_ct,
    with_structures: bool = False,
    on_progress: Callable[[float], None] = lambda share: None,
) -> None:
    """Prepare every scan that is not in the store; `with_structures`: with what is drawn on it.

    `within` aligns scans of one patient with the patient's reference scan. `between` aligns the reference scans
    with that of the first study; None where scans of two patients are never paired. A study that cannot be read or
    aligned is refused or left out, as `broken` says. Raises `InputError` where structures are asked for and no two
    scans have any.
    """
    scans = [tp for member in members for tp in member.study.timepoints]
    if with_structures and sum(tp.read_structures is not None for tp in scans) < 2:
        raise InputError(
            "terms of the objective compare structures, and no two scans have any",
            remedy="Name them in study.yaml, or set objective.dice and objective.rigidity to 0",
        )
    faults: list[InputError] = []
    template: TimePoint | None = None
    for number, member in enumerate(members):
        reference = member.study.reference
        try:
            if between is not None and template is None:
                _ = reference.activity, reference.ct  # a scan that cannot be read is no template
                template = reference
            if not all(key in store for key in keys_of(member)):
                _prepare(member, store, spacing_mm, within, between, template, see_ct, with_structures)
        except InputError as error:
            faults.append(InputError(error.problem, where=error.where or member.folder, remedy=error.remedy))
            template = None if template is reference else template
        on_progress((number + 1) / len(members))
    report_broken(faults, broken)


def _prepare(
    member: Member,
    store: ScanStore,
    spacing_mm: float,
    within: Align,
    between: Align | None,
    template: TimePoint | None,
    see_ct: Callable[[Volume], Image32],
    with_structures: bool,
) -> None:
    reference = member.study.reference
    common = np.eye(4)
    if between is not None and template is not None and reference is not template:
        common = between(template, reference)
    for key, timepoint in zip(keys_of(member), member.study.timepoints, strict=True):
        held = reference if timepoint is reference else timepoint.released()
        pose = common if timepoint is reference else within(reference, held) @ common
        structures = held.structures if with_structures else None
        motion = read_motion(member.folder, timepoint.id)
        store.put(key, prepare_scan(held, pose, spacing_mm, motion, structures, see_ct))
