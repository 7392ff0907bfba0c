"""Judging engines by the true motion of digital patients: what the truth itself scores, what the table says."""

import csv
import math

import numpy as np
import pytest
from typer.testing import CliRunner

from dosimetry.evaluation.motion import Method, PairScore, methods_of, run_evaluation, summarise, table
from nufitdose import load_study
from nufitdose.cli import app
from nufitdose.errors import InputError
from nufitdose.io.field_file import load_field
from nufitdose.io.truth import read_landmarks
from nufitdose.phantom import CohortPlan, simulate_cohort
from nufitdose.registration.engines.engine import Engine
from nufitdose.registration.field import DisplacementField


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluation") / "cohort"
    simulate_cohort(out, CohortPlan(patients=3, seed=5, shape=(24, 24, 24), spacing_mm=14.0, times_h=(4.0, 24.0, 96.0)))
    return out


def test_the_true_motion_has_no_error_and_no_registration_has_that_of_the_motion(cohort, tmp_path):
    folders = {float(load_study(f).reference.activity.data.sum()): f for f in cohort.glob("patient_*")}

    def exact(request):
        folder = folders[float(request.fixed.activity.data.sum())]
        return DisplacementField(*load_field(folder / f"truth/{request.moving.id}_field.nii.gz"))

    methods = {"none": Method.of("none"), "exact": Method(Engine("exact", exact))}
    none, true = run_evaluation(cohort, tmp_path / "out", methods, split="train", device="cpu")
    assert (none.method, true.method) == ("none", "exact")
    assert true.organ_mm < 0.5
    assert true.organ_gain_percent == pytest.approx(100 * (1 - true.organ_mm / none.organ_mm))
    assert none.organ_gain_percent == 0
    with (tmp_path / "out/pairs.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == "none"]
    assert len(rows) == none.pairs
    assert {row["moving"] for row in rows} == {"tp1", "tp2", "tp3"} - {rows[0]["fixed"]}
    own = [row for row in rows if row["patient"] == rows[0]["patient"]]
    marks = read_landmarks(cohort / own[0]["patient"])
    organ = np.array([not name.startswith("tumour") for name in marks.structures])
    moved = np.linalg.norm(marks.points[own[0]["fixed"]] - marks.points[own[0]["moving"]], axis=1)
    values = [float(own[0][kind]) for kind in ("organ_mm", "bone_mm")]
    assert min(values) - 1e-3 <= moved[organ].mean() <= max(values) + 1e-3  # organs and bones make up the rest


def test_a_method_is_averaged_over_patients_and_not_over_pairs():
    def score(method, patient, organ_mm):
        return PairScore(method, patient, "tp1", "tp2", organ_mm, 1.0, float("nan"), 0.0, 2.0)

    rows = [score("a", "p1", 2.0), score("a", "p1", 4.0), score("a", "p1", 6.0), score("a", "p2", 8.0)]
    rows += [score("b", "p1", 3.0), score("b", "p2", 3.0)]
    a, b = summarise(rows)
    assert (a.patients, a.pairs, a.organ_mm) == (2, 4, 6.0)
    assert a.organ_mm_sd == pytest.approx(math.sqrt(8.0))
    assert b.organ_gain_percent == pytest.approx(50.0)
    assert math.isnan(a.tumour_mm)
    assert "| b | 3.00 ± 0.00 | 1.00 ± 0.00 | nan ± nan | 50 % | 0.0000 | 2.0 |" in table([a, b])


def test_the_command_prints_the_table_and_says_what_is_wrong(cohort, tmp_path):
    run = CliRunner().invoke(
        app, ["evaluate", str(cohort), "--out", str(tmp_path / "o"), "--engines", "none,rigid", "--split", "train"]
    )
    assert run.exit_code == 0, run.output
    assert [line.split("|")[1].strip() for line in run.stdout.splitlines()[-2:]] == ["none", "rigid"]
    assert (tmp_path / "o/summary.csv").is_file()
    for wrong, words in (({"split": "tests"}, "one of train"), ({"split": "train", "patients": 0}, "no digital")):
        with pytest.raises(InputError, match=words):
            run_evaluation(cohort, tmp_path / "x", methods_of(["none"], {}), device="cpu", **wrong)
    assert not (tmp_path / "x").exists()
    with pytest.raises(InputError, match="nothing"):
        methods_of([], {})
