"""Whose scans are trained on: a cohort or a folder of studies, split by patient and checked."""

import hashlib
import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from nufitdose.config import Settings, build, read_yaml
from nufitdose.errors import InputError
from nufitdose.io.bids import load_subject
from nufitdose.io.study_folder import MANIFEST, load_study, study_files
from nufitdose.run import sha256
from nufitdose.study import Study
from nufitdose.training.settings import DataSettings, SplitSettings

INDEX = "cohort.yaml"
SUBJECTS = "sub-*"
IMAGES = (".nii", ".nii.gz")
SPLITS = ("train", "validation", "test")
_log = logging.getLogger(__name__)


class PatientEntry(Settings):
    """One patient of cohort.yaml; `seed` and `tracer` say how a digital one was made."""

    split: str = Field(pattern="^(train|validation|test)$")
    seed: int | None = None
    tracer: str | None = None


class CohortFile(Settings):
    """cohort.yaml: the folder of every study, relative to the file, with its split."""

    patients: dict[str, PatientEntry] = Field(min_length=1)
    settings: dict[str, object] | None = None


@dataclass(frozen=True, eq=False)
class Member:
    """One study folder: the patient it belongs to, the sha256 of its images, and a digest over all its files."""

    folder: Path
    study: Study
    digest: str
    images: frozenset[str]

    @property
    def patient(self) -> str:
        """The patient's name in study.yaml; several studies (cycles) may bear it."""
        return self.study.patient


@dataclass(frozen=True, eq=False)
class Cohort:
    """Studies by split; no patient is in two."""

    train: tuple[Member, ...]
    validation: tuple[Member, ...]
    test: tuple[Member, ...]

    @property
    def members(self) -> tuple[Member, ...]:
        """All studies."""
        return (*self.train, *self.validation, *self.test)

    def digests(self) -> dict[str, str]:
        """`split/folder` -> digest, of every study."""
        return {f"{split}/{m.folder.name}": m.digest for split in SPLITS for m in getattr(self, split)}


def load_cohort(settings: DataSettings, *, seed: int, least_scans: int = 1) -> Cohort:
    """Read and split the studies that `settings` names; a study of fewer than `least_scans` scans is not used.

    Raises `InputError` where nothing is there, a patient is on two sides, a study is broken and `broken` is
    'refuse', or no training patient is left.
    """
    root = Path(settings.cohort)
    index = root if root.is_file() else root / INDEX
    if index.is_file():
        if settings.splits is not None:
            raise InputError(
                "cohort.yaml and 'data.splits' both say who is trained on", where=index, remedy="Leave out 'splits'"
            )
        entries = build(CohortFile, read_yaml(index), where=index).patients
        folders = {name: index.parent / name for name in entries}
        members = _readable(folders.values(), settings.broken, least_scans)
        split_of = {folders[name]: entry.split for name, entry in entries.items()}
        sides = [(member, split_of[member.folder]) for member in members]
        where = index
    else:
        members = _readable(_study_folders(root), settings.broken, least_scans)
        sides = _sides(members, settings, seed, root)
        where = root
    _require_one_side(sides, where)
    found = {split: tuple(member for member, side in sides if side == split) for split in SPLITS}
    train = _few(found["train"], settings.train_patients)
    if not train:
        raise InputError("no study is left to train on", where=where, remedy="Check the splits and the studies")
    return Cohort(train, _few(found["validation"], settings.validation_patients), found["test"])


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
            f"no folder here holds a {MANIFEST}, there is no {INDEX} and no BIDS-like {SUBJECTS}/", where=root
        )
    return found


def _readable(folders: Iterable[Path], broken: str, least_scans: int) -> list[Member]:
    """The studies that can be read; the others are refused or left out with a warning."""
    members, faults = [], []
    for folder in sorted(folders):
        try:
            members.append(_member(folder, least_scans))
        except InputError as error:
            faults.append(error)
    report_broken(faults, broken)
    return members


def report_broken(faults: Sequence[InputError], broken: str) -> None:
    """Warn of every study left out, or raise `InputError` naming them all where `broken` is 'refuse'."""
    if faults and broken == "refuse":
        listed = "; ".join(str(fault).rstrip(".") for fault in faults)
        raise InputError(
            f"{len(faults)} of the studies cannot be used: {listed}",
            remedy="Mend or remove them, or set data.broken=skip to train without them",
        )
    for fault in faults:
        _log.warning("study left out: %s", fault)


def _member(folder: Path, least_scans: int) -> Member:
    if (folder / MANIFEST).is_file() or not folder.match(SUBJECTS):
        study, files = load_study(folder), study_files(folder)
    else:
        study, files = load_subject(folder)
    if len(study.timepoints) < least_scans:
        raise InputError(f"it has {len(study.timepoints)} scan, {least_scans} are wanted", where=folder)
    sums = {file: sha256(file) for file in files}
    images = frozenset(digest for file, digest in sums.items() if file.name.endswith(IMAGES))
    return Member(folder, study, hashlib.sha256("".join(sums.values()).encode()).hexdigest(), images)


def _sides(members: list[Member], settings: DataSettings, seed: int, root: Path) -> list[tuple[Member, str]]:
    """Splits of a folder of studies: as named, else by shares of the patients in random order."""
    patients = sorted({member.patient for member in members})
    if settings.splits is not None:
        named = _named(settings.splits, patients, root)
    else:
        order = [patients[n] for n in np.random.default_rng([seed, 0]).permutation(len(patients))]
        least = int(len(patients) >= len(SPLITS))
        counts = [max(round(share * len(patients)), least if share > 0 else 0) for share in settings.shares]
        train = len(patients) - sum(counts)
        named = {p: "train" if n < train else SPLITS[1 + (n >= train + counts[0])] for n, p in enumerate(order)}
    return [(member, named[member.patient]) for member in members if member.patient in named]


def _named(splits: SplitSettings, patients: list[str], root: Path) -> dict[str, str]:
    sides: dict[str, str] = {}
    for split in SPLITS:
        for name in getattr(splits, split):
            if name in sides:
                raise _on_two_sides({name: {sides[name], split}}, root)
            if name not in patients:
                raise InputError(f"the patient {name!r} of 'data.splits' has no usable study", where=root)
            sides[name] = split
    return sides


def _require_one_side(sides: list[tuple[Member, str]], where: Path) -> None:
    by_patient: dict[str, set[str]] = defaultdict(set)
    for member, side in sides:
        by_patient[member.patient].add(side)
    torn = {patient: found for patient, found in by_patient.items() if len(found) > 1}
    if torn:
        raise _on_two_sides(torn, where)
    owner: dict[str, tuple[Member, str]] = {}
    for member, side in sides:
        for image in member.images:
            other, known = owner.setdefault(image, (member, side))
            if known != side:
                raise InputError(
                    f"{other.folder.name} ({known}) and {member.folder.name} ({side}) hold the same image",
                    where=where,
                    remedy="One patient under two names? Keep all of a patient in one split",
                )


def _on_two_sides(torn: Mapping[str, set[str]], where: Path) -> InputError:
    listed = "; ".join(f"{patient!r} in {' and '.join(sorted(found))}" for patient, found in sorted(torn.items()))
    return InputError(
        f"a patient stands on two sides: {listed}",
        where=where,
        remedy="Keep all scans and cycles of a patient in one split; otherwise the numbers flatter",
    )


def _few(members: tuple[Member, ...], patients: int | None) -> tuple[Member, ...]:
    if patients is None:
        return members
    chosen = sorted({member.patient for member in members})[:patients]
    return tuple(member for member in members if member.patient in chosen)
