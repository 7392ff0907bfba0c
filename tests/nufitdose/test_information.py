"""What `nufitdose info` tells is what stands in the files, as text and as JSON."""

import json
import sys

import pytest
import yaml
from support.small_study import small_study, small_study_folder

from nufitdose.cli import main
from nufitdose.errors import InputError
from nufitdose.information import as_text, gather_facts
from nufitdose.registration.command import run_registration
from nufitdose.registration.network.weights import SHIPPED
from nufitdose.registration.settings import RegistrationSettings
from nufitdose.run import sha256
from nufitdose.text import json_text


def test_the_installation_names_its_weights_and_device():
    facts = gather_facts()
    assert facts["weights"]["sha256"] == sha256(SHIPPED)
    assert facts["device"]["auto"] in ("cpu", "cuda")
    assert facts["versions"]["python"] == sys.version.split()[0]


def test_a_study_tells_its_scans_totals_and_files(tmp_path):
    folder = small_study_folder(tmp_path / "S", hours=(4.0, 24.0))
    facts = gather_facts(folder)
    study = small_study((4.0, 24.0))
    assert [scan["time_h"] for scan in facts["timepoints"]] == [4.0, 24.0]
    assert [scan["total_mbq"] for scan in facts["timepoints"]] == pytest.approx(
        [scan.activity.total_mbq() for scan in study.timepoints]
    )
    left = 7400.0 * 2 ** (-24.0 / facts["half_life_h"])
    scan = facts["timepoints"][1]
    assert scan["percent_of_what_decay_leaves"] == pytest.approx(100 * scan["total_mbq"] / left)
    assert facts["files"]["tp1/activity.nii.gz"] == sha256(folder / "tp1/activity.nii.gz")
    assert facts["structures"][0]["structure"] == "liver"
    assert gather_facts(folder / "study.yaml") == facts
    assert yaml.safe_load(as_text(facts))["patient"] == "P7"


def test_a_results_folder_tells_its_run_and_what_is_missing(tmp_path, monkeypatch, capfd):
    folder, out = small_study_folder(tmp_path / "S", hours=(4.0, 24.0)), tmp_path / "out"
    run_registration(folder, out, RegistrationSettings(engine="none"))
    (out / "registered/tp2_ct.nii.gz").unlink()
    (out / "metrics.csv").write_text("structure,dose_mean_gy,u_dose_mean_gy,light\nliver,1.25,,yellow\n")
    monkeypatch.setattr(sys, "argv", ["nufitdose", "info", str(out), "--json"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    facts = json.loads(capfd.readouterr().out)
    assert (facts["command"], facts["patient"], facts["config"]["registration"]["engine"]) == ("register", "P7", "none")
    assert facts["missing_files"] == ["registered/tp2_ct.nii.gz"]
    liver = {"structure": "liver", "dose_mean_gy": 1.25, "u_dose_mean_gy": None, "light": "yellow"}
    assert facts["structures"] == [liver]
    assert facts["registration"][0]["timepoint"] == "tp2"
    assert facts["registration"][0]["light"]


def test_a_training_tells_its_last_step(tmp_path):
    (tmp_path / "run.json").write_text('{"command": "pretrain", "status": "running"}')
    (tmp_path / "metrics.csv").write_text("step,loss,rate\n1,0.5,1\n2,0.25,1\n")
    facts = gather_facts(tmp_path)
    assert (facts["last_step"], facts["status"]) == ({"step": 2.0, "loss": 0.25}, "running")
    assert facts["structures"] == facts["registration"] == []


def test_weights_are_checked_against_their_card(tmp_path):
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(SHIPPED.read_bytes())
    card = json.loads(SHIPPED.with_suffix(".json").read_text())
    weights.with_suffix(".json").write_text(json.dumps(card))
    facts = gather_facts(weights)
    assert facts["sha256"] == card["sha256"]
    assert facts["trained_on_patients"] == len(card["trained_on"])
    weights.write_bytes(SHIPPED.read_bytes()[:-1])
    with pytest.raises(InputError, match="checksum differs"):
        gather_facts(weights)


def test_a_record_that_is_none_and_an_unknown_place_are_refused(tmp_path):
    with pytest.raises(InputError, match="no results folder"):
        gather_facts(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(InputError, match="no record of a run"):
        gather_facts(tmp_path)


def test_json_has_null_for_what_is_not_finite():
    assert json.loads(json_text({"a": [float("nan"), 1.5], "b": (float("inf"), None, True)})) == {
        "a": [None, 1.5],
        "b": [None, None, True],
    }
