"""Many studies: whose they are, and how they are split by patient; no patient on two sides."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nufitdose.errors import InputError
from nufitdose.study import Study

SPLITS = ("train", "validation", "test")


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

    def take_patients(self, train: int | None, validation: int | None) -> "Cohort":
        """Only so many patients to train and to validate on, the first by name; None takes all."""
        return replace(self, train=_first(self.train, train), validation=_first(self.validation, validation))

    def select_patient(self, patient: str) -> "Cohort":
        """One patient's studies to train on, wherever the splits put them, and nobody else."""
        found = tuple(member for member in self.members if member.patient == patient)
        if not found:
            known = ", ".join(sorted({member.patient for member in self.members})[:10])
            raise InputError(f"the patient {patient!r} is not in the cohort, known: {known}")
        return replace(self, train=found, validation=(), test=())


@dataclass(frozen=True)
class SplitRule:
    """How patients are split where no cohort.yaml says so: as `named` by split, the others being left out.

    Else by `shares` (validation, test) of the patients in a random order of `seed`.
    """

    named: Mapping[str, Sequence[str]] | None = None
    shares: tuple[float, float] = (0.15, 0.15)
    seed: int = 0

    def sides(self, patients: Iterable[str], where: Path) -> dict[str, str]:
        """Patient -> split. Raises `InputError` on a patient named twice, or named and not there."""
        names = sorted(set(patients))
        if self.named is None:
            return split_by_shares(names, self.shares, self.seed)
        return _split_as_named(self.named, names, where)


def split_by_shares(patients: Sequence[str], shares: tuple[float, float], seed: int) -> dict[str, str]:
    """Patient -> split: in random order, cut at the shares of validation and test.

    From three patients on, a split with a share gets at least one.
    """
    order = [patients[n] for n in np.random.default_rng([seed, 0]).permutation(len(patients))]
    least = int(len(patients) >= len(SPLITS))
    validation, test = (max(round(share * len(patients)), least if share > 0 else 0) for share in shares)
    train = len(patients) - validation - test
    return {name: SPLITS[(n >= train) + (n >= train + validation)] for n, name in enumerate(order)}


def gather_cohort(sides: Sequence[tuple[Member, str]], where: Path) -> Cohort:
    """The studies of each split.

    Raises `InputError` where a patient, or an image under two names, is on two sides, or nobody is left to train on.
    """
    _require_one_side(sides, where)
    found = {split: tuple(member for member, side in sides if side == split) for split in SPLITS}
    if not found["train"]:
        raise InputError("no study is left to train on", where=where, remedy="Check the splits and the studies")
    return Cohort(**found)


def _split_as_named(named: Mapping[str, Sequence[str]], patients: Sequence[str], where: Path) -> dict[str, str]:
    sides: dict[str, str] = {}
    for split in SPLITS:
        for name in named.get(split, ()):
            if name in sides:
                raise _on_two_sides({name: {sides[name], split}}, where)
            if name not in patients:
                raise InputError(f"the patient {name!r} of 'data.splits' has no usable study", where=where)
            sides[name] = split
    return sides


def _require_one_side(sides: Sequence[tuple[Member, str]], where: Path) -> None:
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


def _first(members: tuple[Member, ...], patients: int | None) -> tuple[Member, ...]:
    chosen = sorted({member.patient for member in members})[:patients]
    return tuple(member for member in members if member.patient in chosen)
