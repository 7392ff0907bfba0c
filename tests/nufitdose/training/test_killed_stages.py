"""Stages killed (SIGKILL) at every kind of moment of their run: resumed, they end as if nothing had been."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support.training_studies import write_patient

from nufitdose.training.records import read_table

PROGRAM = Path(__file__).parents[2] / "support/killed_training.py"


def contents(run):
    """The files of a run by their bytes, without seconds and moments; of run.json what it tells of the training."""
    found = {}
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        if not path.is_file():
            found[name] = "folder"
        elif path.name == "metrics.csv":
            found[name] = [{k: v for k, v in row.items() if k != "seconds"} for row in read_table(path)]
        elif path.name == "run.json":
            record = json.loads(path.read_text())
            keys = ("status", "steps", "skipped_steps", "best_checkpoint", "best_validation_loss", "weights_sha256")
            found[name] = {key: record[key] for key in keys}
        else:
            found[name] = path.read_bytes()
    return found


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_killed_at_every_stage_of_its_run_and_resumed_it_is_the_undisturbed_run(tmp_path, stage):
    cohort = tmp_path / "cohort"
    splits = {"patient_1": "train", "patient_2": "train", "patient_3": "validation"}
    for number, name in enumerate(splits, start=1):
        write_patient(cohort / name, f"P{number}", dimmer=0.2 * number)
    (cohort / "cohort.yaml").write_text(yaml.safe_dump({"patients": {n: {"split": s} for n, s in splits.items()}}))
    loop = {"steps": 3, "learning_rate": 1e-3, "save_every": 1, "validate_every": 2, "keep_last": 1, "ema_decay": 0.9}
    settings = {
        "network": {"size": "tiny", "working_spacing_mm": 10.0},
        "data": {"cohort": str(cohort), "validation_pairs": 1, "train_patients": 2, "workers": 1},
        "loop": loop,
    }
    config = tmp_path / "short.yaml"
    config.write_text(yaml.safe_dump(settings | ({"start": "scratch"} if stage == "finetune" else {})))
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "NUMBA_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    subprocess.run([sys.executable, str(PROGRAM), stage, str(config), str(tmp_path)], env=environment, check=True)
    killed, whole = (contents(tmp_path / name / "run") for name in ("killed", "whole"))
    assert killed == whole
    assert whole["run.json"]["steps"] == 3
    assert not [name for name in killed if "unfinished" in name]
    assert [path.name for path in (tmp_path / "killed").iterdir()] == ["run"]
