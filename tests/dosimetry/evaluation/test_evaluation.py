"""Judging engines by the truth of digital patients: what the truth itself scores, stopped runs, the command."""

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from dosimetry.evaluation.methods import Method, methods_of, true_field
from dosimetry.evaluation.motion import tissue_of
from dosimetry.evaluation.run import EvaluationPlan, run_evaluation
from nufitdose import load_study
from nufitdose.cli import app
from nufitdose.errors import InputError
from nufitdose.io.truth import read_landmarks
from nufitdose.phantom import CohortPlan, simulate_cohort


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluation") / "cohort"
    simulate_cohort(out, CohortPlan(patients=3, seed=5, shape=(24, 24, 24), spacing_mm=14.0, times_h=(4.0, 24.0, 96.0)))
    return out


@pytest.fixture(scope="module")
def judged(cohort, tmp_path_factory):
    out = tmp_path_factory.mktemp("judged") / "out"
    plan = EvaluationPlan(methods_of(["none", "exact"]), split="train", workers=0, device="cpu")
    return out, plan, run_evaluation(cohort, out, plan)


def test_the_true_motion_has_no_error_and_no_registration_has_that_of_the_motion(cohort, judged):
    out, _, found = judged
    none, true = ({s.method: s for s in score.pairs} for score in found.scores)
    assert (list(none), list(true)) == (["none"], ["exact"])
    with (out / "pairs.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        marks, study = read_landmarks(cohort / row["patient"]), load_study(cohort / row["patient"])
        p, q = marks.points[row["fixed"]], marks.points[row["moving"]]
        scans = {scan.id: scan.activity.grid for scan in study.timepoints}
        seen = scans[row["fixed"]].contains(p) & scans[row["moving"]].contains(q)
        organ = np.array([tissue_of(name) == "organ" for name in marks.structures])
        if row["method"] == "none":
            moved = np.linalg.norm(p - q, axis=1)[seen & organ].mean()
            assert float(row["organ_mm"]) == pytest.approx(moved, rel=1e-3)
            assert float(row["field_mm"]) > 1
        else:
            assert float(row["organ_mm"]) < 0.5
            assert float(row["field_mm"]) == pytest.approx(0, abs=0.01)
            assert float(row["seconds"]) == 0
    means = {(row.method, row.measure): row for row in found.comparisons}
    assert means["exact", "TIA error, tumours"].mean < means["none", "TIA error, tumours"].mean
    assert means["none", "TIA error, tumours, beside exact"].mean > 0
    assert ("exact", "TIA error, tumours, beside exact") not in means
    assert means["exact", "TRE organs"].better == "other"  # the one that is compared, `none`, loses
    for name in ("structures.csv", "summary.csv", "summary.md", "boxes.png", "run.json"):
        assert (out / name).stat().st_size > 0


def test_a_stopped_run_goes_on_and_a_changed_one_starts_anew(cohort, judged):
    out, plan, found = judged
    file = next((out / "done").glob("*/none.json"))
    content = json.loads(file.read_text())
    content["pairs"][0]["organ_mm"] = 123.0
    file.write_text(json.dumps(content))
    again = run_evaluation(cohort, out, plan)
    assert any(row.organ_mm == 123.0 for score in again.scores for row in score.pairs)
    file.write_text(json.dumps(content | {"key": "of other images"}))
    mended = run_evaluation(cohort, out, plan)
    assert [score.pairs[0].organ_mm for score in mended.scores] == [s.pairs[0].organ_mm for s in found.scores]


def test_options_reach_the_engine(cohort):
    folder = next(cohort.glob("patient_*"))
    study = load_study(folder)
    fixed, moving = study.timepoints[:2]
    with pytest.raises(InputError, match="stepps"):
        Method("x", "refine", options={"stepps": [1]}).load_network()
    field = true_field(folder, moving.id)
    assert np.abs(field.data).max() > 1
    with pytest.raises(InputError, match="true motion"):
        true_field(folder, "tp9")
    assert fixed.id == study.reference_id


def test_tissues_are_told_by_the_names_of_three_atlases():
    told = {
        "tumour_2": "tumour", "lung_upper_lobe_left": "lung", "ribs": "bone",
        "thoracic_spine_cortical": "bone",
        "vertebrae_L3": "bone", "hip_left": "bone", "spinal_cord": "organ", "kidney_left": "organ",
        "muscle_trunk": "other", "skin_arms": "other", "iliopsoas_left": "other", "heart": "organ",
        "costal_cartilages": "other",
    }  # fmt: skip
    assert {name: tissue_of(name) for name in told} == told


def test_the_command_prints_the_table_and_says_what_is_wrong(cohort, tmp_path):
    how = ["--split", "train", "--workers", "0", "--no-downstream"]
    run = CliRunner().invoke(
        app, ["evaluate", str(cohort), "--out", str(tmp_path / "o"), "--engines", "none,rigid", *how]
    )
    assert run.exit_code == 0, run.output
    table = [line for line in run.stdout.splitlines() if line.startswith("| `")]
    assert [line.split("|")[1].strip() for line in table[:2]] == ["`none`", "`rigid`"]
    none = methods_of(["none"])
    for wrong, words in (({"split": "tests"}, "one of train"), ({"split": "train", "patients": 0}, "no digital")):
        with pytest.raises(InputError, match=words):
            run_evaluation(cohort, tmp_path / "x", EvaluationPlan(none, workers=0, **wrong))
    assert not (tmp_path / "x").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    with pytest.raises(InputError, match="no evaluation"):
        run_evaluation(cohort, tmp_path / "mine", EvaluationPlan(none, split="train", workers=0))
    with pytest.raises(InputError, match="nothing"):
        methods_of([])
