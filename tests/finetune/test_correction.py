"""Learning to correct: it learns, the same every time, lands beside the network, wants truth."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from support.training_studies import write_patient

from finetune.config import CorrectionSettings
from finetune.stage import run_finetune
from nufitdose.errors import InputError
from nufitdose.phantom import PatientSettings, simulate_patient
from nufitdose.phantom import write_patient as write_digital
from nufitdose.registration.network import NetworkSettings, NufitReg, load_weights, save_weights
from nufitdose.registration.network.correction import FieldCorrection
from nufitdose.training.correction_examples import StoredExample
from nufitdose.training.correction_task import Crops, errors, loss_of, mirrored
from nufitdose.training.records import read_table
from nufitdose.training.request import RunRequest, read_settings

LOOP = {"steps": 4, "learning_rate": 3e-3, "save_every": 2, "validate_every": 4, "warmup_steps": 0}


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    torch.manual_seed(0)
    model = NufitReg(NetworkSettings(working_spacing_mm=10.0))
    return save_weights(model, tmp_path_factory.mktemp("start") / "weights.safetensors", {})


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digital")
    for seed in (1, 2):
        settings = PatientSettings(
            shape=(40, 32, 24), spacing_mm=8.0, times_h=(4.0, 24.0), seed=seed, patient=f"P{seed}"
        )
        write_digital(simulate_patient(settings), folder / f"P{seed}")
    return folder


@pytest.fixture(scope="module")
def config(cohort, start, tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "correction.yaml"
    splits = {"train": ["P1"], "validation": ["P2"]}
    content = {
        "learns": "correction",
        "start": str(start),
        "data": {"cohort": str(cohort), "splits": splits, "validation_pairs": 1},
        "width": 8,
        "crops": 2,
        "optimiser": {"spacing_mm": 5.0, "steps": [2, 2]},
        "loop": LOOP,
    }
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    return run_finetune(RunRequest(config, tmp_path_factory.mktemp("run") / "run", device="cpu")).parent


def one_of(run: Path) -> StoredExample:
    """A pair that a run has prepared."""
    return StoredExample(min(run.glob("prepared/*/*.safetensors")))


@pytest.mark.slow
def test_the_weights_are_those_of_the_start_and_a_correction(run, start):
    before, after = load_weights(start), load_weights(run / "weights.safetensors")
    assert before.correction is None
    assert any(p.abs().max() > 0 for p in after.correction.head.parameters())
    kept = after.state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in before.state_dict().items())
    assert json.loads((run / "weights.json").read_text())["trained_on"] == ["P1"]
    assert {"loss", "displacement", "change"} <= read_table(run / "metrics.csv")[0].keys()
    assert {"displacement_start", "change_start"} <= read_table(run / "validation.csv")[0].keys()


@pytest.mark.slow
def test_a_correction_that_the_start_has_learns_on(run, config, tmp_path):
    """Hardly a step from it, of another width than a new one would have: it is still what it was."""
    learned = run / "weights.safetensors"
    asked = (f"start={learned}", "width=16", "loop.steps=1", "loop.learning_rate=1e-9")
    on = run_finetune(RunRequest(config, tmp_path / "on", asked, device="cpu"))
    before, after = (load_weights(path).correction.state_dict() for path in (learned, on))
    assert all(torch.allclose(value, after[name], atol=1e-6) for name, value in before.items())


@pytest.mark.slow
def test_the_same_seed_gives_the_same_losses(run, config, tmp_path):
    shared = (f"data.prepared={run / 'prepared'}", "loop.schedule=constant")
    cut = RunRequest(config, tmp_path / "cut", ("loop.steps=2", *shared), device="cpu")
    whole = RunRequest(config, tmp_path / "whole", shared, device="cpu")
    for request in (cut, whole):
        run_finetune(request)
    losses = [[row["loss"] for row in read_table(request.out / "metrics.csv")] for request in (cut, whole)]
    assert losses[0] == losses[1][:2]


@pytest.mark.slow
def test_it_learns_what_the_optimiser_misses_in_a_crop(run):
    stored = one_of(run)
    crops, loss = Crops([stored], 1, seed=0), loss_of(4.0, "float32")
    torch.manual_seed(0)
    model = FieldCorrection(16)
    adam = torch.optim.AdamW(model.parameters(), 3e-3)
    batch = crops.at(0).mapped(lambda image: image[..., 8:24, 8:24, 8:24])
    found = []
    for _ in range(40):
        terms = loss(model, batch, torch.Generator())
        adam.zero_grad()
        terms["loss"].backward()
        adam.step()
        found.append(terms["loss"].item())
    assert found[-1] < 0.8 * found[0]


@pytest.mark.slow
def test_a_mirrored_crop_mirrored_again_is_itself(run):
    stored = one_of(run)
    crop = stored.read((slice(0, 16), slice(0, 16), slice(0, 16)))
    for axis in range(3):
        twice = mirrored(mirrored(crop, axis), axis)
        assert torch.equal(twice.evidence, crop.evidence)
        assert torch.equal(twice.missing, crop.missing)
        once = mirrored(crop, axis)
        assert torch.equal(once.missing[axis], -crop.missing[axis].flip(axis))


@pytest.mark.slow
def test_a_change_of_volume_costs_more_than_a_shift_of_the_same_size(run):
    batch = Crops([one_of(run)], 1, seed=1).at(0)
    shift = torch.full_like(batch.missing, 0.5)
    still = errors(shift, batch)
    assert float(still["change"]) == 0.0
    assert float(still["tumour_change"]) == 0.0
    place = torch.linspace(-0.5, 0.5, shift.shape[2]).reshape(1, 1, -1, 1, 1)
    assert float(errors(shift * place, batch)["change"]) > 0.0
    assert float(still["displacement"]) > 0.0


@pytest.mark.slow
def test_an_error_in_a_tumour_counts_as_if_it_filled_the_body(run):
    """Half of the crops hold one; in its few nodes an error is told apart from that of the body."""
    stored = one_of(run)
    crops = Crops([stored], 1, seed=0)
    batch = next(batch for batch in map(crops.at, range(20)) if float(batch.tumour.max()) > 0.25)
    inside = (batch.tumour > 0.25).float()
    errors_mm = errors(inside * torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1, 1), batch)
    assert float(errors_mm["tumour_displacement"]) > 0.5
    assert float(errors_mm["displacement"]) < 0.2 * float(errors_mm["tumour_displacement"])


def test_patients_without_truth_are_refused(start, tmp_path):
    for number in (1, 2):
        write_patient(tmp_path / "cohort" / f"p{number}", f"P{number}", dimmer=0.2 * number)
    path = tmp_path / "c.yaml"
    content = {"learns": "correction", "start": str(start), "data": {"cohort": str(tmp_path / "cohort")}, "loop": LOOP}
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match="true motion"):
        run_finetune(RunRequest(path, tmp_path / "run", device="cpu"))


def test_the_shipped_configuration_is_one(pytestconfig):
    settings = read_settings(CorrectionSettings, pytestconfig.rootpath / "configs/correction.yaml")
    assert settings.loop.schedule == "cosine"
