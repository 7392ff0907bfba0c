"""Cohorts on disk: cohort.yaml and folders of studies, split by patient, broken studies refused or left out."""

import logging
import re
import shutil
from itertools import pairwise

import pytest
import yaml
from support.training_studies import write_patient

from nufitdose.cohort import SplitRule
from nufitdose.errors import InputError
from nufitdose.io.cohort_folder import CohortFile, load_cohort, read_cohort_file, write_cohort_file


@pytest.fixture
def folder(tmp_path):
    for number in range(1, 7):
        write_patient(tmp_path / "deep" / f"study{number}", f"P{number}", dimmer=0.1 * number)
    return tmp_path


def read(place, seed=0, splits=None, **how):
    return load_cohort(place, SplitRule(splits, seed=seed), **how)


def names(members):
    return [member.patient for member in members]


def cohort_file(folder, **splits):
    entries = {f"deep/{name}": {"split": split, "seed": 1, "tracer": "any"} for name, split in splits.items()}
    (folder / "cohort.yaml").write_text(yaml.safe_dump({"settings": {"seed": 1}, "patients": entries}))


def test_a_folder_of_studies_is_split_by_patient_the_same_way_every_time(folder):
    write_patient(folder / "cycle2", "P3", dimmer=0.9)  # the second cycle of one of them
    cohort = read(folder, seed=4)
    again = read(folder, seed=4)
    assert [names(part) for part in (cohort.train, cohort.validation, cohort.test)] == [
        names(part) for part in (again.train, again.validation, again.test)
    ]
    sides = [set(names(part)) for part in (cohort.train, cohort.validation, cohort.test)]
    assert all(sides)
    assert not any(a & b for a, b in pairwise([*sides, sides[0]]))
    assert len(cohort.members) == 7
    assert read(folder, seed=5).digests() != cohort.digests()


def test_cohort_yaml_says_the_splits(folder):
    cohort_file(folder, study1="train", study2="train", study3="validation", study4="test")
    for place in (folder, folder / "cohort.yaml"):
        cohort = read(place, seed=0)
        assert names(cohort.train) == ["P1", "P2"]
        assert names(cohort.validation) == ["P3"]
        assert names(cohort.test) == ["P4"]
    assert names(read(folder, seed=0).take_patients(1, None).train) == ["P1"]


def test_a_patient_on_two_sides_is_refused(folder):
    write_patient(folder / "deep/cycle2", "P1", dimmer=0.95)
    cohort_file(folder, study1="train", cycle2="test", study2="validation")
    with pytest.raises(InputError, match="'P1' in test and train"):
        read(folder, seed=0)
    (folder / "cohort.yaml").unlink()
    splits = {"train": ("P1", "P2"), "validation": ("P1",)}
    with pytest.raises(InputError, match="two sides: 'P1'"):
        read(folder, seed=0, splits=splits)


def test_one_patient_under_two_names_is_found_by_its_images(folder):
    shutil.copytree(folder / "deep/study1", folder / "deep/other")
    path = folder / "deep/other/study.yaml"
    path.write_text(re.sub(r"patient: .*", "patient: Q1", path.read_text()))
    cohort_file(folder, study1="train", other="test")
    with pytest.raises(InputError, match="the same image"):
        read(folder, seed=0)


def test_a_broken_study_is_refused_or_reported_and_left_out(folder, caplog):
    (folder / "deep/study2/tp1/activity.nii.gz").unlink()
    (folder / "deep/study5/study.yaml").write_text("patient: [")
    with pytest.raises(InputError, match=r"2 of the studies cannot be used.*study2.*study5") as refused:
        read(folder, seed=0)
    assert "broken=skip" in str(refused.value)
    with caplog.at_level(logging.WARNING):
        cohort = read(folder, seed=0, broken="skip")
    assert len(cohort.members) == 4
    assert len([text for text in caplog.messages if "left out" in text]) == 2


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda folder: folder / "nothing", "no such cohort"),
        (lambda folder: (folder / "empty").mkdir() or folder / "empty", "holds a study.yaml"),
    ],
)
def test_nothing_there(tmp_path, made, said):
    with pytest.raises(InputError, match=said):
        read(made(tmp_path))


def test_scans_of_one_time_point_make_no_pairs(folder):
    write_patient(folder / "single", "P9", hours=(4.0,))
    with pytest.raises(InputError, match="1 scan, 2 are wanted"):
        read(folder, seed=0, least_scans=2)


def test_named_splits_beside_cohort_yaml_are_refused(folder):
    cohort_file(folder, study1="train")
    with pytest.raises(InputError, match="both say who"):
        read(folder, splits={"train": ("P1",)})


def test_what_is_written_is_read_and_nothing_else_lies_there(tmp_path):
    content = CohortFile.model_validate({"settings": {"shape": [4, 5]}, "patients": {"a": {"split": "test"}}})
    path = write_cohort_file(content, tmp_path / "new")
    assert read_cohort_file(path) == content
    assert [p.name for p in path.parent.iterdir()] == ["cohort.yaml"]
    path.write_text("patients: {a: {split: exam}}")
    with pytest.raises(InputError, match="split"):
        read_cohort_file(path)
