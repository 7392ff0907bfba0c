"""Stage 2: starts from what was trained, keeps frozen what is to stay, one patient alone, early checks."""

import json
import shutil

import pytest
import torch
import yaml
from pydantic import ValidationError
from support.training_studies import write_patient

from finetune.config import FinetuneSettings
from finetune.stage import freeze, load_start, run_finetune, stage_of
from nufitdose.errors import InputError
from nufitdose.registration.network import NetworkSettings, NufitReg, save_weights
from nufitdose.training.low_rank import add_low_rank, merge_low_rank
from nufitdose.training.preparation import read_cohort
from nufitdose.training.records import read_table
from nufitdose.training.request import RunRequest, read_settings
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
    out = run_finetune(RunRequest(path, tmp_path / "run", device="cpu"))
    before, after = (load_start(place)[0].state_dict() for place in (weights, out.parent / "checkpoints/step_00000002"))
    for name in before:
        kept = name.startswith(("encoders.", "stitches."))
        assert torch.equal(before[name], after[name]) or not kept, name
    assert any(not torch.equal(before[name], after[name]) for name in before if name.startswith("decoder."))
    checkpoint = load_start(out.parent / "checkpoints/step_00000002")[0]
    assert checkpoint.settings == load_start(weights)[0].settings  # as trained, not as the configuration would have it
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
    assert torch.equal(model.state_dict()["head.weight"], load_start(weights)[0].state_dict()["head.weight"])
    assert set(stage.depends_on) == {"start_sha256"}


def test_a_run_may_go_on_at_another_spacing_with_more_passes(weights):
    settings = {
        "start": str(weights),
        "working_spacing_mm": 5.0,
        "ct_contrast": "tissue",
        "passes": 3,
        "data": {"cohort": "c"},
    }
    stage = stage_of(FinetuneSettings.model_validate(settings))
    network = stage.network
    assert (network.working_spacing_mm, network.ct_contrast, network.passes) == (5.0, "tissue", 3)
    assert stage.model().settings == stage.network


def test_a_start_that_is_none_is_refused(tmp_path, weights):
    with pytest.raises(InputError, match="no weights to start from"):
        load_start(tmp_path)
    broken = tmp_path / "weights.safetensors"
    broken.write_bytes(weights.read_bytes()[:-4])
    broken.with_suffix(".json").write_text(weights.with_suffix(".json").read_text())
    with pytest.raises(InputError, match="checksum"):
        load_start(broken)


def test_one_patient_alone(cohort):
    everyone = read_cohort(DataSettings(cohort=str(cohort)), seed=0)
    only = everyone.select_patient("P2")
    assert [member.patient for member in only.members] == ["P2"]
    with pytest.raises(InputError, match="P1, P2, P3"):
        everyone.select_patient("P9")


def test_a_low_rank_change_begins_at_nothing_and_merges_into_plain_weights(weights):
    torch.manual_seed(1)
    plain, _ = load_start(weights)
    model, _ = load_start(weights)
    add_low_rank(model, 3)
    assert all(torch.equal(p, merge_low_rank(model.state_dict())[name]) for name, p in plain.state_dict().items())
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("0.up"):
                p.normal_(std=0.1)
        model.head.weight.mul_(1e4)
        plain.head.weight.mul_(1e4)
        images = torch.rand(2, 1, 2, 16, 16, 16)
        seen = (*images, torch.tensor([[True, True]]))
        before, after = plain.eval()(*seen).velocity, model.eval()(*seen).velocity
        assert (after - before).abs().max() > 0.01 * before.abs().max()
        plain.load_state_dict(merge_low_rank(model.state_dict()))
        torch.testing.assert_close(plain(*seen).velocity, after)
    layer = "encoders.0.swin.layers4.0.blocks.0.mlp.linear1.weight"
    change = plain.state_dict()[layer] - load_start(weights)[0].state_dict()[layer]
    assert torch.linalg.matrix_rank(change, rtol=1e-4) == 3


def test_low_rank_trains_little_of_the_encoders_and_all_of_the_rest(weights):
    model, _ = load_start(weights)
    whole = {name: p.numel() for name, p in model.named_parameters()}
    add_low_rank(model, 4)
    trained = {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}
    assert {name for name in whole if not name.startswith("encoders.")} <= trained.keys()
    encoders = [size for name, size in trained.items() if name.startswith("encoders.")]
    assert len(encoders) == 2 * 2 * 8 * 4  # up and down; encoders, blocks, layers of a block
    assert sum(encoders) < 0.12 * sum(size for name, size in whole.items() if name.startswith("encoders."))


def test_low_rank_needs_linear_layers_and_encoders_that_may_change():
    with pytest.raises(InputError, match="Swin"):
        add_low_rank(NufitReg(NetworkSettings(encoder="unet")), 4)
    with pytest.raises(ValidationError, match="choose one"):
        FinetuneSettings.model_validate(
            {"start": "scratch", "adapt": "low_rank", "freeze": "encoders", "data": {"cohort": "c"}}
        )


@pytest.mark.slow
def test_a_low_rank_run_resumes_exactly_and_leaves_ordinary_weights(cohort, weights, tmp_path):
    def run(place, steps, **how):
        loop = {"steps": steps, "learning_rate": 1e-2, "schedule": "constant", "save_every": 1, "warmup_steps": 0}
        content = {"start": str(weights), "adapt": "low_rank", "data": {"cohort": str(cohort), "validation_pairs": 0}}
        path = tmp_path / "short.yaml"
        path.write_text(yaml.safe_dump(content | {"loop": loop | {"keep_last": 4}}))
        return run_finetune(RunRequest(path, place, device="cpu", **how))

    out = run(tmp_path / "whole", 3)
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut/checkpoints/step_00000003")
    again = run(tmp_path / "cut", 3, resume=True)
    assert again.read_bytes() == out.read_bytes()
    losses = [[row["loss"] for row in read_table(folder.parent / "metrics.csv")] for folder in (out, again)]
    assert losses[0] == losses[1]
    plain, checkpoint = (
        load_start(place)[0].state_dict() for place in (out, tmp_path / "whole/checkpoints/step_00000003")
    )
    before = load_start(weights)[0].state_dict()
    layer = "encoders.1.swin.layers1.0.blocks.0.attn.qkv"
    assert (plain[f"{layer}.weight"] - before[f"{layer}.weight"]).abs().max() > 1e-4
    assert torch.equal(plain[f"{layer}.bias"], before[f"{layer}.bias"])
    for name, tensor in checkpoint.items():
        torch.testing.assert_close(plain[name], tensor, atol=1e-3, rtol=1e-3)  # half precision


@pytest.mark.parametrize("name", ["finetune", "smoke_finetune", "shipped_finetune_4mm", "varied_finetune_4mm"])
def test_the_shipped_configurations_are_read(pytestconfig, name):
    settings = read_settings(FinetuneSettings, pytestconfig.rootpath / f"configs/{name}.yaml")
    assert settings.loop.learning_rate < 1e-3


def test_the_run_on_varied_patients_sees_all_tissues(pytestconfig):
    settings = read_settings(FinetuneSettings, pytestconfig.rootpath / "configs/varied_finetune.yaml")
    assert (settings.ct_contrast, settings.working_spacing_mm, settings.objective.motion) == ("tissue", 6.0, 0.3)


def test_the_second_run_of_the_shipped_weights_is_read(pytestconfig):
    settings = read_settings(FinetuneSettings, pytestconfig.rootpath / "configs/shipped_finetune.yaml")
    assert settings.loop.learning_rate == 1e-3  # supervised by the known motion, it starts as a training of its own
    assert settings.dropout.ct == 0.3


def test_rows_of_the_ablation_differ_in_the_network_alone(pytestconfig):
    paths = sorted((pytestconfig.rootpath / "configs").glob("ablation_*.yaml"))
    rows = [read_settings(FinetuneSettings, path) for path in paths]
    assert len({row.network.model_dump_json() for row in rows}) == len(rows) == 5
    assert len({row.model_copy(update={"network": rows[0].network}).model_dump_json() for row in rows}) == 1
