"""Stage 1 from the command's point of view: what it writes, that it resumes, what it refuses."""

import csv
import json
import os
import subprocess
import sys

import pytest
import yaml
from support.training_studies import write_patient

from nufitdose.errors import InputError
from nufitdose.registration.network import load_weights
from nufitdose.training.checkpoint import checkpoints, read_card
from nufitdose.training.pairs import InterPatientOrder
from nufitdose.training.records import read_table
from nufitdose.training.request import RunRequest, read_settings
from pretrain.config import PretrainSettings
from pretrain.stage import run_pretrain, stage_of

SHORT = {
    "network": {"size": "tiny", "working_spacing_mm": 10.0},
    "data": {"validation_pairs": 2, "train_patients": 2, "workers": 1},
    "loop": {"steps": 2, "learning_rate": 1e-3, "save_every": 1, "validate_every": 2, "keep_last": 3},
}


def config(folder, **data):
    path = folder / "short.yaml"
    path.write_text(yaml.safe_dump(SHORT | {"data": SHORT["data"] | data}))
    return path


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    for number in range(1, 5):
        write_patient(folder / f"patient_{number}", f"P{number}", dimmer=0.2 * number)
    splits = {"patient_1": "train", "patient_2": "train", "patient_3": "validation", "patient_4": "test"}
    index = {"patients": {name: {"split": split} for name, split in splits.items()}}
    (folder / "cohort.yaml").write_text(yaml.safe_dump(index))
    return folder


@pytest.mark.slow
def test_a_run_leaves_metrics_checkpoints_weights_and_a_record_and_resumes(cohort, tmp_path):
    run = tmp_path / "run"
    path = config(tmp_path, cohort=str(cohort))
    weights = run_pretrain(RunRequest(path, run, device="cpu", seed=1))
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:2] == ["step", "loss"]
    assert [row["step"] for row in rows] == ["1", "2"]
    assert [path.name for path in checkpoints(run)] == ["step_00000001", "step_00000002"]
    assert [path.name for path in (run / "pictures").iterdir()] == ["step_00000002.png"]
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "done"
    assert record["splits"] == {"train": ["P1", "P2"], "validation": ["P3"], "test": ["P4"]}
    assert {entry["path"] for entry in record["inputs"]} == {f"patient_{n}" for n in range(1, 5)}
    card = read_card(checkpoints(run)[-1])
    assert card.config["network"]["size"] == "tiny"
    assert set(card.data) == {"train/patient_1", "train/patient_2", "validation/patient_3"}
    assert load_weights(weights).settings.working_spacing_mm == 10.0
    assert json.loads(weights.with_suffix(".json").read_text())["trained_on"] == ["P1", "P2"]

    with pytest.raises(InputError, match="--resume"):
        run_pretrain(RunRequest(path, run, device="cpu", seed=1))
    before = (run / "metrics.csv").read_text()
    assert run_pretrain(RunRequest(path, run, device="cpu", seed=1, resume=True)) == weights
    assert (run / "metrics.csv").read_text() == before
    with pytest.raises(InputError, match=r"loop\.learning_rate was 0\.001, is 0\.1"):
        run_pretrain(RunRequest(path, run, overrides=("loop.learning_rate=0.1",), device="cpu", seed=1, resume=True))


@pytest.mark.slow
@pytest.mark.long
def test_torchrun_trains_on_two_processes_as_on_one(cohort, tmp_path, pytestconfig):
    path = config(tmp_path, cohort=str(cohort), prepared=str(tmp_path / "prepared"), validation_pairs=0)
    common = [
        "pretrain",
        str(path),
        "--device",
        "cpu",
        "--set",
        "loop.pairs_per_step=2",
        "--set",
        "loop.steps=1",
        "--out",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(pytestconfig.rootpath)}
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    losses = []
    for name, program in (("one", []), ("two", launcher)):
        command = [sys.executable, *program, "-m", *common, str(tmp_path / name)]
        subprocess.run(command, env=environment, check=True, timeout=180)
        losses.append(read_table(tmp_path / name / "metrics.csv")[0]["loss"])
        assert (tmp_path / name / "weights.safetensors").is_file()
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_one_patient_cannot_be_paired(cohort, tmp_path):
    with pytest.raises(InputError, match="two or more"):
        run_pretrain(RunRequest(config(tmp_path, cohort=str(cohort), train_patients=1), tmp_path / "run", device="cpu"))


def test_pairs_are_between_patients_in_training_and_also_within_in_validation():
    stage = stage_of(PretrainSettings.model_validate({"data": {"cohort": "c"}}))
    from nufitdose.training.scans import ScanKey

    studies = [[ScanKey(p, f"tp{n}", p) for n in range(3)] for p in "ABC"]
    assert isinstance(stage.order(studies, 0), InterPatientOrder)
    judged = stage.validation(studies, 10, 0)
    assert len(judged) == 10
    assert sum(fixed.patient == moving.patient for fixed, moving in judged) == 5
    assert stage.validation(studies[:1], 4, 0)
    assert stage.validation([], 4, 0) == []


@pytest.mark.parametrize("name", ["pretrain", "smoke_pretrain", "shipped_pretrain"])
def test_the_shipped_configurations_are_read(pytestconfig, name):
    settings = read_settings(PretrainSettings, pytestconfig.rootpath / f"configs/{name}.yaml")
    assert settings.data.cohort == "cohort"
    if name == "pretrain":
        default = PretrainSettings.model_validate({"data": {"cohort": "cohort"}, "network": {"size": "small"}})
        assert settings == default
