"""A cohort on disk: cohort.yaml, a folder of study folders however nested, or a BIDS-like tree."""

import hashlib
import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field

from nufitdose.cohort import Cohort, Member, SplitRule, gather_cohort
from nufitdose.config import Settings, build, read_yaml
from nufitdose.errors import InputError
from nufitdose.files import write_whole
from nufitdose.io.bids import load_subject
from nufitdose.io.dicom.read.find import holds_dicom
from nufitdose.io.study_folder import MANIFEST, load_study, study_files
from nufitdose.run import sha256

INDEX = "cohort.yaml"
SUBJECTS = "sub-*"
IMAGES = (".nii", ".nii.gz")
Broken = Literal["refuse", "skip"]
_log = logging.getLogger(__name__)


class PatientEntry(Settings):
    """One patient of cohort.yaml; `seed` and `tracer` say how a digital one was made."""

    seed: int | None = None
    tracer: str | None = None
    split: Literal["train", "validation", "test"]


class CohortFile(Settings):
    """cohort.yaml: the folder of every study, relative to the file, with its split; `settings` made digital ones."""

    settings: dict[str, object] | None = None
    patients: dict[str, PatientEntry] = Field(min_length=1)


def read_cohort_file(path: Path) -> CohortFile:
    """cohort.yaml. Raises `InputError` where it is not one."""
    return build(CohortFile, read_yaml(path), where=path)


def write_cohort_file(content: CohortFile, folder: Path) -> Path:
    """Write cohort.yaml, whole or not at all; several processes may do so at once. Returns its path."""
    path = folder / INDEX
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, yaml.safe_dump(content.model_dump(mode="json"), sort_keys=False))
    except OSError as error:
        raise InputError(
            f"the cohort cannot be written ({error.strerror})", where=folder, remedy="Choose a folder you can write to"
        ) from error
    return path


def load_cohort(
    place: Path, rule: SplitRule | None = None, *, broken: Broken = "refuse", least_scans: int = 1
) -> Cohort:
    """Read the studies at `place` and split them: as cohort.yaml says, else by `rule` (None: the default one).

    A study of fewer than `least_scans` scans counts as broken. Raises `InputError` where nothing is there, a patient
    is on two sides, a study is broken and `broken` is 'refuse', or no training patient is left.
    """
    index = place if place.is_file() else place / INDEX
    if not index.is_file():
        members = _read_members(_study_folders(place), broken, least_scans)
        side_of = (rule or SplitRule()).sides((member.patient for member in members), place)
        return gather_cohort([(m, side_of[m.patient]) for m in members if m.patient in side_of], place)
    if rule is not None and rule.named is not None:
        raise InputError(
            "cohort.yaml and 'data.splits' both say who is trained on", where=index, remedy="Leave out 'splits'"
        )
    entries = read_cohort_file(index).patients
    split_of = {index.parent / name: entry.split for name, entry in entries.items()}
    members = _read_members(split_of, broken, least_scans)
    return gather_cohort([(member, split_of[member.folder]) for member in members], index)


def find_studies(place: Path) -> list[Path]:
    """The folders of patients at `place`, unread: those of cohort.yaml, else every folder with a study.yaml below it.

    Beside them a patient whose folder holds DICOM alone has a place too: its run says that it is to be imported first.
    Raises `InputError` where there is none.
    """
    index = place if place.is_file() else place / INDEX
    if index.is_file():
        return [index.parent / name for name in read_cohort_file(index).patients]
    raw = _raw_patients(place) if place.is_dir() else []
    try:
        studies = _study_folders(place)
    except InputError:
        if not raw:
            raise
        studies = []
    return sorted([*studies, *raw])


def _raw_patients(root: Path) -> list[Path]:
    """The topmost folders below `root` that hold DICOM and, at any depth, no study."""
    studies = {Path(folder) for folder, _, files in os.walk(root) if MANIFEST in files}
    above = {parent for study in studies for parent in study.parents}
    found = []
    for folder, below, _ in os.walk(root):
        below[:] = sorted(name for name in below if not name.startswith(".") and Path(folder, name) not in studies)
        ended = [name for name in below if Path(folder, name) not in above]
        found += [Path(folder, name) for name in ended if holds_dicom(Path(folder, name))]
        below[:] = [name for name in below if name not in ended]
    return found


def report_broken(faults: Sequence[InputError], broken: Broken) -> None:
    """Warn of every study left out, or raise `InputError` naming them all where `broken` is 'refuse'."""
    if faults and broken == "refuse":
        listed = "; ".join(str(fault).rstrip(".") for fault in faults)
        raise InputError(
            f"{len(faults)} of the studies cannot be used: {listed}",
            remedy="Mend or remove them, or set data.broken=skip to train without them",
        )
    for fault in faults:
        _log.warning("study left out: %s", fault)


def _study_folders(root: Path) -> list[Path]:
    if not root.is_dir():
        raise InputError(
            "there is no such cohort",
            where=root,
            remedy="Name a folder of studies or a cohort.yaml in 'data.cohort'; "
            "'nufitdose simulate cohort' makes one of digital patients",
        )
    found = []
    for folder, below, files in os.walk(root):
        below.sort()
        if MANIFEST in files:
            found.append(Path(folder))
            below.clear()
    found = found or sorted(path for path in root.glob(SUBJECTS) if path.is_dir())
    if not found:
        raise InputError(
            f"no folder here holds a {MANIFEST}, there is no {INDEX} and no BIDS-like {SUBJECTS}/",
            where=root,
            remedy="DICOM becomes a study folder by 'nufitdose import DICOM_DIR --out DIR', a patient at a time",
        )
    return found


def _read_members(folders: Iterable[Path], broken: Broken, least_scans: int) -> list[Member]:
    """The studies that can be read; the others are refused or left out with a warning."""
    members, faults = [], []
    for folder in sorted(folders):
        try:
            members.append(_read_member(folder, least_scans))
        except InputError as error:
            faults.append(error)
    report_broken(faults, broken)
    return members


def _read_member(folder: Path, least_scans: int) -> Member:
    if (folder / MANIFEST).is_file() or not folder.match(SUBJECTS):
        study, files = load_study(folder), study_files(folder)
    else:
        study, files = load_subject(folder)
    if len(study.timepoints) < least_scans:
        raise InputError(f"it has {len(study.timepoints)} scan, {least_scans} are wanted", where=folder)
    sums = {file: sha256(file) for file in files}
    images = frozenset(digest for file, digest in sums.items() if file.name.endswith(IMAGES))
    return Member(folder, study, hashlib.sha256("".join(sums.values()).encode()).hexdigest(), images)
