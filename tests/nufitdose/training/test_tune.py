"""The search: finds the known optimum, stops hopeless runs, goes on after a kill, says what it cannot judge."""

import csv
import fcntl
import json
import sys
import time
from pathlib import Path

import pytest
import yaml

from nufitdose.errors import InputError, RunStopped
from nufitdose.training import tuning, watched
from nufitdose.training.request import RunRequest, read_settings
from nufitdose.training.search import Range, SearchSettings, on_bounds, trial_config
from nufitdose.training.tuning import run_tuning

STAGE = Path(__file__).parents[2] / "support" / "stage_stand_in.py"


@pytest.fixture(autouse=True)
def stage(monkeypatch):
    """The stand-in of a stage, and of optuna where that is not installed."""
    try:
        import optuna  # noqa: F401
    except ImportError:
        from support import optuna_stand_in

        monkeypatch.setitem(sys.modules, "optuna", optuna_stand_in)
    monkeypatch.setattr(tuning, "stage_command", lambda stage: [sys.executable, str(STAGE)])
    monkeypatch.setattr(watched, "_LOOK_EVERY_S", 0.05)


@pytest.fixture
def config(tmp_path):
    def written(cohort="known", **changes):
        (tmp_path / "finetune.yaml").write_text(f"start: scratch\ndata: {{cohort: {cohort}}}\nloop: {{steps: 30}}\n")
        content = {
            "stage": "finetune",
            "config": "finetune.yaml",
            "search": {"objective.smoothness": [0.9, 1.1, "log"]},
            "trials": 3,
        }
        (tmp_path / "tune.yaml").write_text(yaml.safe_dump(content | changes))
        return tmp_path / "tune.yaml"

    return written


def table(folder):
    with (folder / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_best_trial_is_written_as_a_configuration(config, tmp_path):
    best = run_tuning(RunRequest(config(settings={"loop": {"warmup_steps": 2}}), tmp_path / "out", seed=4))
    rows = table(tmp_path / "out")
    assert [row["state"] for row in rows] == ["COMPLETE"] * 3
    values = {float(row["value"]): float(row["objective.smoothness"]) for row in rows}
    found = yaml.safe_load(best.read_text())
    assert found["objective"]["smoothness"] == pytest.approx(values[min(values)])
    assert found["loop"] == {"steps": 30, "warmup_steps": 2}
    assert found["data"] == {"cohort": "known"}
    for row in rows:  # the error at the least loss, step 20: not the least error nor the last
        assert (row["step"], row["loss"]) == ("20.0", "2.0")
        assert float(row["value"]) == float(row["tre_mm"]) < 2.1
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["best_value"] == min(values)
    call = json.loads((tmp_path / "out/trial_000/calls.txt").read_text())
    assert call[-4:] == ["--device", "auto", "--seed", "4"]
    shared = {yaml.safe_load(file.read_text())["data"]["prepared"] for file in (tmp_path / "out").glob("trial_*.yaml")}
    assert shared == {str(tmp_path / "out/prepared")}  # scans are prepared once


def hopeless(folder):
    """The stand-in, far from its optimum wherever it is."""
    text = STAGE.read_text()
    assert "error = math.log10(x) ** 2" in text
    script = folder / "hopeless.py"
    script.write_text(text.replace("error = math.log10(x) ** 2", "error = 1.0"))
    return script


def test_a_run_worse_than_the_median_is_stopped(config, tmp_path, monkeypatch):
    """Two good runs, then one that would take a minute and a half."""
    run_tuning(RunRequest(config(trials=2), tmp_path / "out"))
    again = config(trials=3, unpruned_trials=2)
    monkeypatch.setattr(tuning, "stage_command", lambda stage: [sys.executable, str(hopeless(tmp_path))])
    begun = time.monotonic()
    run_tuning(RunRequest(again, tmp_path / "out", resume=True))
    assert time.monotonic() - begun < 25
    assert [row["state"] for row in table(tmp_path / "out")] == ["COMPLETE", "COMPLETE", "PRUNED"]


def test_an_interrupted_search_takes_its_trial_up_again(config, tmp_path, monkeypatch):
    path, out = config(trials=3), tmp_path / "out"
    noted = tuning._Search._should_prune
    seen = []

    def interrupted(self, trial, rows, row):
        seen.append(trial.number)
        if trial.number == 1:
            raise KeyboardInterrupt
        return noted(self, trial, rows, row)

    with monkeypatch.context() as changed:
        changed.setattr(tuning._Search, "_should_prune", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_tuning(RunRequest(path, out))
    before = yaml.safe_load((out / "trial_001.yaml").read_text())["objective"]["smoothness"]
    with pytest.raises(InputError, match="--resume"):
        run_tuning(RunRequest(path, out))
    run_tuning(RunRequest(path, out, resume=True))
    rows = table(out)
    assert [row["state"] for row in rows] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert [row["folder"] for row in rows] == ["trial_000", "trial_001", "trial_001", "trial_003"]
    assert float(rows[2]["objective.smoothness"]) == pytest.approx(before)
    calls = [json.loads(line) for line in (out / "trial_001/calls.txt").read_text().splitlines()]
    assert ["--resume" in call for call in calls] == [False, True]
    assert len({row["objective.smoothness"] for row in rows}) == 3  # no value is drawn twice after a resume
    run_tuning(RunRequest(path, out, resume=True))  # nothing is left to do
    assert len(table(out)) == 4


def test_another_search_does_not_go_on_in_the_folder(config, tmp_path):
    run_tuning(RunRequest(config(trials=1), tmp_path / "out"))
    with pytest.raises(InputError, match="other settings"):
        run_tuning(RunRequest(config(search={"objective.smoothness": [0.8, 1.1]}), tmp_path / "out", resume=True))


def test_a_run_still_at_work_keeps_others_out(config, tmp_path):
    (tmp_path / "out").mkdir()
    with (tmp_path / "out/.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        (tmp_path / "out/run.json").write_text("{}")
        with pytest.raises(InputError, match="still at work"):
            run_tuning(RunRequest(config(), tmp_path / "out", resume=True))


def test_losses_of_different_objectives_are_not_compared(config, tmp_path):
    with pytest.raises(InputError, match=r"objective.smoothness changes what the loss is"):
        run_tuning(RunRequest(config("unknown"), tmp_path / "out"))
    run_tuning(RunRequest(config("unknown", minimise="loss", trials=1), tmp_path / "chosen"))
    assert table(tmp_path / "chosen")[0]["value"] == "2.0"
    fixed = {"search": {"loop.learning_rate": [1e-5, 1e-3, "log"]}, "settings": {"objective": {"smoothness": 1.0}}}
    run_tuning(RunRequest(config("unknown", trials=1, **fixed), tmp_path / "rate"))
    assert table(tmp_path / "rate")[0]["value"] == "2.0"
    with pytest.raises(InputError, match="no column 'dyce'"):
        run_tuning(RunRequest(config(minimise="dyce"), tmp_path / "misspelt"))


def test_what_a_stage_refuses_is_said_and_what_fails_ends(config, tmp_path):
    with pytest.raises(InputError, match="no such cohort"):
        run_tuning(RunRequest(config("refused"), tmp_path / "refused"))
    with pytest.raises(RunStopped, match=r"3 runs in a row failed.*not finite"):
        run_tuning(RunRequest(config("broken", trials=9), tmp_path / "broken"))
    assert [row["state"] for row in table(tmp_path / "broken")] == ["FAIL"] * 3


def test_an_optimum_on_a_bound_is_told(config, tmp_path, caplog):
    search = {"objective.smoothness": Range(low=0.1, high=10, scale="log"), "loop.steps": Range(low=1, high=9)}
    assert on_bounds(search, {"objective.smoothness": 1.0, "loop.steps": 5}) == []
    said = on_bounds(search, {"objective.smoothness": 0.105, "loop.steps": 9})
    assert "0.1 of its range" in said[0]
    assert "9 of its range" in said[1]
    assert on_bounds(search, {"objective.smoothness": 0.2, "loop.steps": 1.2}) == []
    whole = {"choices": ["a", "b"]}
    build = SearchSettings.model_validate(
        {"stage": "pretrain", "config": "c", "search": {"k": whole, "n": [1, 3, "int"]}}
    )
    assert len(on_bounds(build.search, {"k": "a", "n": 3})) == 1
    path = config(trials=1, search={"objective.smoothness": {"choices": [1.0, 2.0]}, "loop.steps": [1, 2, "int"]})
    best = run_tuning(RunRequest(path, tmp_path / "out"))
    assert "lies on the bound" in best.read_text().splitlines()[1]
    assert "widen" in caplog.text


@pytest.mark.parametrize(
    ("space", "said"),
    [([2, 1], "not below"), ([0, 1, "log"], "above 0"), ([0.5, 3, "int"], "whole"), ([1, 2, "lin"], "scale")],
)
def test_a_range_that_is_none_is_refused(config, space, said):
    with pytest.raises(InputError, match=said):
        read_settings(SearchSettings, config(search={"loop.steps": space}))


def test_settings_are_laid_over_and_nothing_else_changes():
    base = {"data": {"cohort": "c", "splits": {"train": ["a", "b"]}}, "loop": {"steps": 9}}
    found = trial_config(base, {"data": {"cohort": "d: e"}, "start": None}, {"loop.learning_rate": 1e-7, "guide": "ct"})
    assert found == {
        "data": {"cohort": "d: e", "splits": {"train": ["a", "b"]}},
        "loop": {"steps": 9, "learning_rate": 1e-7},
        "start": None,
        "guide": "ct",
    }
    assert base["loop"] == {"steps": 9}


def test_without_optuna_it_says_what_to_install(config, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r"nufitdose\[tune\]"):
        run_tuning(RunRequest(config(), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_the_shipped_configuration_is_read_and_fits_its_stage(pytestconfig):
    from finetune.config import FinetuneSettings
    from nufitdose.config import read_yaml

    folder = pytestconfig.rootpath / "configs"
    settings = read_settings(SearchSettings, folder / "tune.yaml")
    middle = {
        key: space.low if isinstance(space, Range) else space.choices[0] for key, space in settings.search.items()
    }
    content = trial_config(read_yaml(folder / settings.config), settings.settings, middle)
    assert FinetuneSettings.model_validate(content).loop.learning_rate == middle["loop.learning_rate"]


@pytest.mark.slow
def test_a_real_stage_is_run_and_its_best_configuration_runs_too(tmp_path, monkeypatch):
    from support.training_studies import write_patient

    from finetune.config import FinetuneSettings

    for number in range(1, 4):
        write_patient(tmp_path / f"cohort/patient_{number}", f"P{number}", dimmer=0.2 * number)
    monkeypatch.setattr(tuning, "stage_command", watched.stage_command)
    loop = {"steps": 2, "validate_every": 1, "save_every": 1, "ema_decay": None}
    content = {
        "start": "scratch",
        "network": {"size": "tiny", "working_spacing_mm": 10.0},
        "data": {"cohort": str(tmp_path / "cohort"), "validation_pairs": 1},
        "loop": loop,
    }
    (tmp_path / "finetune.yaml").write_text(yaml.safe_dump(content))
    search = {"loop.learning_rate": [1e-5, 1e-3, "log"]}
    tune = {"stage": "finetune", "config": "finetune.yaml", "search": search, "trials": 2}
    (tmp_path / "tune.yaml").write_text(yaml.safe_dump(tune))
    best = run_tuning(RunRequest(tmp_path / "tune.yaml", tmp_path / "out", device="cpu"))
    rows = table(tmp_path / "out")
    assert [row["state"] for row in rows] == ["COMPLETE"] * 2
    assert all((tmp_path / "out" / row["folder"] / "weights.safetensors").is_file() for row in rows)
    chosen = min(rows, key=lambda row: float(row["value"]))
    found = read_settings(FinetuneSettings, best).loop.learning_rate
    assert found == pytest.approx(float(chosen["loop.learning_rate"]))
    assert len(list((tmp_path / "out/prepared").rglob("*.safetensors"))) == 4  # of the two patients in use, once
