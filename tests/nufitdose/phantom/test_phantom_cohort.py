"""Cohorts: splits by patient, one seed each, continued where they stopped, the same however they are made."""

import hashlib
import shutil

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.processes import ended_process

from nufitdose.cohort import SPLITS
from nufitdose.errors import InputError
from nufitdose.phantom import CohortPlan, cohort, simulate_cohort

SMALL = {"shape": (16, 16, 16), "spacing_mm": 16.0, "times_h": (4.0, 24.0)}


def plan(patients, seed=1, shares=(0.7, 0.15, 0.15)):
    return CohortPlan(patients, seed, ("Lu-177-DOTATATE",), None, (16, 16, 16), 16.0, None, 1.0, shares)


def digests(folder):
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*.csv")}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("cohort") / "a"
    seen: list[float] = []
    simulate_cohort(out, CohortPlan(patients=4, seed=3, **SMALL), on_progress=seen.append)
    return out, seen


@given(patients=st.integers(1, 200), seed=st.integers(0, 1000))
def test_every_patient_is_in_one_split_of_its_share(patients, seed):
    splits = [*plan(patients, seed).splits().values()]
    assert set(splits) <= set(SPLITS)
    if patients >= 3:
        assert splits.count("validation") == max(1, round(0.15 * patients))
        assert splits.count("test") == max(1, round(0.15 * patients))
    assert splits.count("train") >= 1


def test_seeds_differ_between_patients_and_do_not_depend_on_the_size_of_the_cohort():
    seeds = [plan(40).patient_seed(n) for n in range(1, 41)]
    assert len(set(seeds)) == 40
    assert [plan(10).patient_seed(n) for n in range(1, 11)] == seeds[:10]
    assert plan(10, seed=2).patient_seed(1) != seeds[0]


def test_the_index_names_every_patient_and_progress_ends_at_one(made):
    out, seen = made
    index = yaml.safe_load((out / "cohort.yaml").read_text())
    assert sorted(index["patients"]) == [f"patient_{n:04d}" for n in range(1, 5)]
    assert all((out / name / "study.yaml").is_file() for name in index["patients"])
    assert seen == [0.25, 0.5, 0.75, 1.0]


def test_a_killed_run_continues_and_patients_made_alone_are_the_same(made, tmp_path, monkeypatch):
    out, _ = made
    copy = tmp_path / "b"
    simulate_cohort(copy, CohortPlan(patients=4, seed=3, **SMALL), only=3)
    assert [p.name for p in copy.iterdir() if p.is_dir()] == ["patient_0003"]
    half = copy / f".patient_0002.unfinished-{ended_process()}"
    half.mkdir()
    (half / "study.yaml").write_text("half")
    made_now = []
    real = cohort._simulate_one
    monkeypatch.setattr(cohort, "_simulate_one", lambda p, f, n: (made_now.append(n), real(p, f, n)))
    simulate_cohort(copy, CohortPlan(patients=4, seed=3, **SMALL))
    assert made_now == [1, 2, 4]
    assert not half.exists()
    assert digests(copy) == digests(out)


@pytest.mark.slow
def test_workers_make_the_same_cohort(made, tmp_path):
    out, _ = made
    simulate_cohort(tmp_path / "c", CohortPlan(patients=4, seed=3, **SMALL), workers=2)
    assert digests(tmp_path / "c") == digests(out)


def test_another_cohort_in_the_folder_is_refused(made):
    out, _ = made
    with pytest.raises(InputError, match="other settings"):
        simulate_cohort(out, CohortPlan(patients=5, seed=3, **SMALL))


def test_a_run_stopped_by_a_mistake_leaves_the_finished_patients(made, tmp_path, monkeypatch):
    out, _ = made
    copy = tmp_path / "d"
    shutil.copytree(out, copy)
    shutil.rmtree(copy / "patient_0004")

    def broken(*_args, **_kwargs):
        raise InputError("no room")

    monkeypatch.setattr(cohort, "simulate_patient", broken)
    with pytest.raises(InputError, match="no room"):
        simulate_cohort(copy, CohortPlan(patients=4, seed=3, **SMALL))
    assert sorted(p.name for p in copy.iterdir() if p.is_dir()) == [f"patient_{n:04d}" for n in (1, 2, 3)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"patients": 0},
        {"patients": 2, "tracers": ()},
        {"patients": 2, "tracers": ("beer",)},
        {"patients": 2, "shares": (0.5, 0.2, 0.2)},
    ],
)
def test_nonsense_is_refused(wrong, tmp_path):
    with pytest.raises(InputError):
        simulate_cohort(tmp_path / "x", CohortPlan(**wrong))
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("how", [{"workers": 0}, {"only": 3}])
def test_workers_and_numbers_that_cannot_be_are_refused(how, tmp_path):
    with pytest.raises(InputError):
        simulate_cohort(tmp_path / "x", plan(2), **how)
    assert not (tmp_path / "x").exists()
