"""Stage 2: starts from what was trained, keeps frozen what is to stay, one patient alone, early checks."""

import json

import pytest
import torch
import yaml
from training_studies import write_patient

from finetune.config import FinetuneSettings, load_settings
from finetune.stage import alone, freeze, run_finetune, stage_of, started
from nufitdose.errors import InputError
from nufitdose.registration.network import NetworkSettings, NufitReg, save_weights
from nufitdose.training.cohort import load_cohort
from nufitdose.training.settings import DataSettings


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    for number in range(1, 4):
        write_patient(folder / f"patient_{number}", f"P{number}", dimmer=0.2 * number)
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    model = NufitReg(NetworkSettings(size="tiny", working_spacing_mm=10.0))
    return save_weights(model, tmp_path_factory.mktemp("start") / "weights.safetensors", {})


@pytest.mark.slow
def test_a_run_starts_from_the_weights_and_keeps_the_encoders(cohort, weights, tmp_path):
    path = tmp_path / "short.yaml"
    loop = {"steps": 2, "learning_rate": 1e-3, "save_every": 1, "validate_every": 2, "ema_decay": None}
    path.write_text(
        yaml.safe_dump(
            {
                "start": str(weights),
                "freeze": "encoders",
                "data": {"cohort": str(cohort), "validation_pairs": 1},
                "loop": loop,
            }
        )
    )
    out = run_finetune(path, tmp_path / "run", device="cpu")
    before, after = (started(place)[0].state_dict() for place in (weights, out.parent / "checkpoints/step_00000002"))
    for name in before:
        kept = name.startswith(("encoders.", "stitches."))
        assert torch.equal(before[name], after[name]) or not kept, name
    assert any(not torch.equal(before[name], after[name]) for name in before if name.startswith("decoder."))
    card = json.loads(out.with_suffix(".json").read_text())
    assert card["stage"] == "finetune"
    assert card["settings"]["start"] == str(weights)


def test_freezing_leaves_what_it_says_to_train():
    model = NufitReg(NetworkSettings(size="tiny"))
    parts = {name: name.split(".")[0] for name, _ in model.named_parameters()}
    for what, trained in {
        "none": set(parts.values()),
        "encoders": {"decoder", "head"},
        "all_but_heads": {"head"},
    }.items():
        freeze(model, what)
        assert {parts[name] for name, p in model.named_parameters() if p.requires_grad} == trained


def test_the_start_decides_the_network(weights):
    settings = FinetuneSettings.model_validate({"start": str(weights), "data": {"cohort": "c"}})
    stage = stage_of(settings)
    assert stage.network.working_spacing_mm == 10.0
    model = stage.model()
    assert torch.equal(model.state_dict()["head.weight"], started(weights)[0].state_dict()["head.weight"])
    assert set(stage.depends_on) == {"start_sha256"}


def test_a_run_may_go_on_at_another_spacing_with_more_passes(weights):
    settings = {"start": str(weights), "working_spacing_mm": 5.0, "passes": 3, "data": {"cohort": "c"}}
    stage = stage_of(FinetuneSettings.model_validate(settings))
    assert (stage.network.working_spacing_mm, stage.network.passes) == (5.0, 3)
    assert stage.model().settings == stage.network


def test_a_start_that_is_none_is_refused(tmp_path, weights):
    with pytest.raises(InputError, match="no weights to start from"):
        started(tmp_path)
    broken = tmp_path / "weights.safetensors"
    broken.write_bytes(weights.read_bytes()[:-4])
    broken.with_suffix(".json").write_text(weights.with_suffix(".json").read_text())
    with pytest.raises(InputError, match="checksum"):
        started(broken)


def test_one_patient_alone(cohort):
    everyone = load_cohort(DataSettings(cohort=str(cohort)), seed=0)
    only = alone(everyone, "P2")
    assert [member.patient for member in only.members] == ["P2"]
    with pytest.raises(InputError, match="P1, P2, P3"):
        alone(everyone, "P9")


@pytest.mark.parametrize("name", ["finetune", "smoke_finetune"])
def test_the_shipped_configurations_are_read(pytestconfig, name):
    settings = load_settings(pytestconfig.rootpath / f"configs/{name}.yaml")
    assert settings.loop.learning_rate < 1e-3
