"""Splits by patient: everybody once, the same every time, no patient and no image on two sides."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.small_study import small_study

from nufitdose.cohort import SPLITS, Member, SplitRule, gather_cohort, split_by_shares
from nufitdose.errors import InputError

HERE = Path("somewhere")
STUDY = small_study((4.0,))


def member(patient, *images):
    return Member(HERE / patient, replace(STUDY, patient=patient), f"digest of {patient}", frozenset(images))


@given(
    count=st.integers(0, 80),
    seed=st.integers(0, 99),
    validation=st.floats(0.0, 0.45),
    test=st.floats(0.0, 0.45),
)
def test_shares_are_kept_and_everybody_is_split_once(count, seed, validation, test):
    patients = [f"P{n:03d}" for n in range(count)]
    found = split_by_shares(patients, (validation, test), seed)
    assert sorted(found) == patients
    assert found == split_by_shares(patients, (validation, test), seed)
    for name, share in (("validation", validation), ("test", test)):
        least = int(count >= 3 and share > 0)
        assert list(found.values()).count(name) == max(round(share * count), least)


def test_named_patients_are_on_their_side_and_others_nowhere():
    rule = SplitRule({"train": ("A",), "test": ("B",)})
    assert rule.sides(["A", "B", "C", "A"], HERE) == {"A": "train", "B": "test"}
    with pytest.raises(InputError, match="'D'"):
        SplitRule({"train": ("D",)}).sides(["A"], HERE)
    with pytest.raises(InputError, match="two sides: 'A'"):
        SplitRule({"train": ("A",), "test": ("A",)}).sides(["A"], HERE)


def test_a_cohort_has_its_digests_by_side_and_refuses_what_is_on_two():
    cycles = [(member("A", "x"), "train"), (member("A", "y"), "train"), (member("B", "z"), "test")]
    cohort = gather_cohort(cycles, HERE)
    assert [len(getattr(cohort, split)) for split in SPLITS] == [2, 0, 1]
    assert cohort.digests() == {"train/A": "digest of A", "test/B": "digest of B"}
    with pytest.raises(InputError, match="'A' in test and train"):
        gather_cohort([*cycles, (member("A"), "test")], HERE)
    with pytest.raises(InputError, match="same image"):
        gather_cohort([*cycles, (member("C", "x"), "test")], HERE)
    with pytest.raises(InputError, match="no study is left"):
        gather_cohort(cycles[2:], HERE)


def test_so_many_patients_are_taken_with_all_their_cycles():
    cohort = gather_cohort([(member(name), "train") for name in ("B", "A", "C", "A")], HERE)
    assert [m.patient for m in cohort.take_patients(2, None).train] == ["B", "A", "A"]
    assert [m.patient for m in cohort.select_patient("C").members] == ["C"]
    with pytest.raises(InputError, match="A, B, C"):
        cohort.select_patient("D")
