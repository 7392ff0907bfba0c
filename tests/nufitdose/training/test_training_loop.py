"""The loop: learns, resumes as if never killed, skips what is not finite, is one run on one process or two."""

import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from support.training_stand_in import OBJECTIVE, SETTINGS, StandIn, blob_pair, train_stand_in

from nufitdose.errors import InputError, RunStopped
from nufitdose.training.checkpoint import best_checkpoint, checkpoints, latest_checkpoint, load_weights, read_card
from nufitdose.training.pairs import generator_of
from nufitdose.training.records import read_table
from nufitdose.training.settings import DropoutSettings
from nufitdose.training.task import drop_modalities, pair_loss_of

TESTS = Path(__file__).parents[2]
STAND_IN = TESTS / "support" / "training_stand_in.py"
THREADS = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"}

COMPILER = pytest.mark.skipif(
    not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))), reason="torch.compile needs a C++ compiler"
)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the processes that are compared with
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    torch.set_num_threads(1)
    model, _ = train_stand_in(folder)
    return folder, model


def rows(folder):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read_table(folder / "metrics.csv")]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.values(), b.values(), strict=True))


class SamePair:
    """The pair of one place again and again."""

    def along(self, places):
        return (blob_pair(1) for _ in places)


def test_the_loss_falls_and_every_step_is_a_row(tmp_path):
    settings = SETTINGS.model_copy(update={"steps": 40, "pairs_per_step": 1, "save_every": 40, "validate_every": 40})
    train_stand_in(tmp_path, settings, pairs=SamePair())
    found = read_table(tmp_path / "metrics.csv")
    assert [row["step"] for row in found] == list(range(1, 41))
    early, late = (sum(row["similarity_activity"] for row in part) / 5 for part in (found[:5], found[-5:]))
    assert late > early + 0.05
    assert found[0]["learning_rate"] == pytest.approx(3e-3)
    assert found[20]["learning_rate"] == pytest.approx(3e-3 * 0.5**0.9, rel=1e-6)


@pytest.mark.slow
def test_killed_and_resumed_is_the_very_same_run(uninterrupted, tmp_path):
    folder, _ = uninterrupted
    program = [sys.executable, str(STAND_IN), str(tmp_path)]
    with subprocess.Popen([*program, "--pause", "0.15"], env=THREADS) as process:
        deadline = time.monotonic() + 60
        table = tmp_path / "metrics.csv"
        while not (table.is_file() and len(table.read_text().splitlines()) > 5):  # past the checkpoint of step 3
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    killed = rows(tmp_path)
    assert 3 < len(killed) < SETTINGS.steps
    assert read_card(latest_checkpoint(tmp_path)).step < SETTINGS.steps
    with table.open("a") as file:
        file.write("7,0.12")  # the line that the kill cut short
    train_stand_in(tmp_path, resume=True)
    assert rows(tmp_path) == rows(folder)
    assert (tmp_path / "validation.csv").read_text() == (folder / "validation.csv").read_text()
    for name in ("model.safetensors", "average.safetensors"):
        assert same(load_weights(latest_checkpoint(tmp_path), name), load_weights(latest_checkpoint(folder), name))


def test_resuming_a_finished_run_changes_nothing(uninterrupted):
    folder, model = uninterrupted
    before = (folder / "metrics.csv").read_text()
    again, progress = train_stand_in(folder, resume=True)
    assert progress.step == SETTINGS.steps
    assert (folder / "metrics.csv").read_text() == before
    assert same(again.state_dict(), model.state_dict())


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one(uninterrupted, tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    subprocess.run([*torchrun, str(STAND_IN), str(tmp_path)], env=THREADS, check=True, timeout=120)
    for alone, shared in zip(rows(uninterrupted[0]), rows(tmp_path), strict=True):
        for name in ("loss", "similarity_ct", "smoothness", "gradient_norm"):
            assert shared[name] == pytest.approx(alone[name], rel=2e-4, abs=1e-6), (alone["step"], name)


def test_other_settings_or_data_are_no_resume(tmp_path):
    from support.training_stand_in import BlobPairs, run_in, validation

    from nufitdose.training.loop import train

    settings = SETTINGS.model_copy(update={"steps": 3})
    train_stand_in(tmp_path, settings)
    loss = pair_loss_of(OBJECTIVE, DropoutSettings(), "float32")
    with pytest.raises(InputError, match="made was in a test, is by hand"):
        train(StandIn(), loss, BlobPairs(), validation, SETTINGS, run_in(tmp_path, made="by hand"), resume=True)


class Poisoned:
    """A loss that is not a number on the steps named."""

    def __init__(self, *steps):
        self.loss, self.steps, self.calls = pair_loss_of(OBJECTIVE, DropoutSettings(), "float32"), steps, 0

    def __call__(self, model, pair, chance):
        self.calls += 1
        found = dict(self.loss(model, pair, chance))
        if (self.calls + 1) // 2 in self.steps:
            found["loss"] = found["loss"] * math.nan
        return found


def test_a_loss_that_is_not_finite_is_skipped_and_counted(tmp_path):
    settings = SETTINGS.model_copy(update={"steps": 8, "save_every": 1, "keep_last": 8})
    model, progress = train_stand_in(tmp_path, settings, loss=Poisoned(3, 4, 6))
    assert progress.skipped == 3
    assert [row["skipped"] for row in rows(tmp_path)] == [0, 0, 1, 2, 2, 3, 3, 3]
    assert all(torch.isfinite(p).all() for p in model.parameters())
    weights = [load_weights(folder) for folder in checkpoints(tmp_path)]
    assert same(weights[1], weights[2])
    assert same(weights[1], weights[3])
    assert not same(weights[3], weights[4])


def test_three_in_a_row_stop_the_run_with_a_message(tmp_path):
    with pytest.raises(RunStopped, match=r"not finite in 3 steps in a row.*step 6 \(4 skipped") as stopped:
        train_stand_in(tmp_path, loss=Poisoned(2, 4, 5, 6))
    assert "learning_rate" in str(stopped.value)
    assert len(rows(tmp_path)) == 6


def test_stops_early_when_validation_no_longer_improves_and_keeps_the_best(tmp_path):
    scores = iter([0.5, 0.3, 0.4, 0.35, 0.2])
    settings = SETTINGS.model_copy(update={"validate_every": 2, "save_every": 2, "patience": 2, "keep_last": 1})
    _, progress = train_stand_in(tmp_path, settings, validate=lambda model: {"loss": next(scores)})
    assert progress.step == 8  # worse twice after the second
    assert [path.name for path in checkpoints(tmp_path)] == ["step_00000004", "step_00000008"]
    assert read_card(best_checkpoint(tmp_path)).score == pytest.approx(0.3)


def test_accumulated_gradients_are_those_of_the_mean(tmp_path):
    """One step of two pairs moves the weights as the mean of the two losses says."""
    settings = SETTINGS.model_copy(update={"steps": 1, "ema_decay": None})
    no_dropout = pair_loss_of(OBJECTIVE, DropoutSettings(ct=0.0, activity=0.0), "float32")

    def quiet(model, pair, chance):
        model.chance.p = 0.0
        return no_dropout(model, pair, chance)

    train_stand_in(tmp_path, settings, loss=quiet)
    torch.manual_seed(1)
    model = StandIn()
    mean = sum(quiet(model, blob_pair(n), generator_of(0))["loss"] for n in range(2)) / 2
    mean.backward()
    norm = torch.sqrt(sum((p.grad**2).sum() for p in model.parameters()))
    assert rows(tmp_path)[0]["gradient_norm"] == pytest.approx(norm.item(), rel=1e-4)
    assert rows(tmp_path)[0]["loss"] == pytest.approx(mean.item(), rel=1e-5)


def test_stitches_have_a_rate_of_their_own_and_frozen_parameters_stay():
    from nufitdose.training.optimiser import _parameter_groups

    model = StandIn()
    model.encoder.requires_grad_(False)
    others, stitches = _parameter_groups(model, SETTINGS)
    assert stitches["lr"] == pytest.approx(SETTINGS.learning_rate * SETTINGS.stitch_rate)
    assert stitches["params"] == [model.stitch]
    assert {id(p) for p in others["params"]} == {id(model.head.weight), id(model.head.bias)}


def test_modality_dropout_hides_one_at_most_and_as_often_as_told():
    dropout = DropoutSettings(ct=0.3, activity=0.2)
    both = torch.tensor([[True, True]])
    seen = torch.cat([drop_modalities(both, dropout, generator_of(1, n)) for n in range(2000)])
    assert seen.any(dim=1).all()
    lost = (~seen).double().mean(dim=0)
    assert lost[0] == pytest.approx(0.3, abs=0.04)
    assert lost[1] == pytest.approx(0.2, abs=0.04)
    alone = torch.tensor([[False, True]])
    assert all(torch.equal(drop_modalities(alone, dropout, generator_of(2, n)), alone) for n in range(50))


def test_bfloat16_changes_a_loss_by_rounding_only():
    torch.manual_seed(0)
    model = StandIn().eval()
    pair, none = blob_pair(3), DropoutSettings(ct=0.0, activity=0.0)
    full, half = (
        float(pair_loss_of(OBJECTIVE, none, kind)(model, pair, generator_of(0))["loss"].detach())
        for kind in ("float32", "bfloat16")
    )
    assert half == pytest.approx(full, abs=0.01)
    assert half != full


@pytest.mark.slow
@COMPILER
def test_a_compiled_network_has_the_losses_of_one_that_is_not(uninterrupted, tmp_path):
    """In a process of its own: the shape checks of the tests would be compiled too."""
    program = [sys.executable, str(STAND_IN), str(tmp_path), "--compile"]
    subprocess.run(program, env=THREADS, check=True, timeout=300)
    assert (tmp_path / "compiled").read_text() != "0"
    for plain, compiled in zip(rows(uninterrupted[0]), rows(tmp_path), strict=True):
        for name in ("loss", "similarity_activity", "gradient_norm"):
            assert compiled[name] == pytest.approx(plain[name], rel=1e-3, abs=1e-5), (plain["step"], name)


@pytest.mark.slow
@pytest.mark.long
@COMPILER
def test_the_compiled_network_of_registration_gives_the_same_velocity():
    program = """
import torch
from nufitdose.registration.network import NetworkSettings, NufitReg
torch.manual_seed(0)
model = NufitReg(NetworkSettings(passes=1, encoder="unet", streams="activity")).eval()
images, present = torch.rand(2, 1, 2, 32, 32, 32), torch.tensor([[True, True]])
with torch.no_grad():
    model.head.weight.mul_(3e3)
    plain = model(*images, present).velocity
    model.compile(options={"fallback_random": True})
    again = model(*images, present).velocity
assert plain.abs().max() > 0.05
torch.testing.assert_close(again, plain, atol=1e-4, rtol=1e-3)
from torch._dynamo.utils import counters
assert counters["stats"]["unique_graphs"] > 0
"""
    subprocess.run([sys.executable, "-c", program], env=THREADS, check=True, timeout=300)


def test_compiled_loops_leave_torch_its_threads():
    from nufitdose.grid import Grid
    from nufitdose.registration.field import DisplacementField
    from nufitdose.training.distributed import keep_threads

    torch.set_num_threads(1)
    with keep_threads():
        DisplacementField.identity(Grid.from_spacing((12, 12, 12), (4.0, 4.0, 4.0))).jacobian_statistics()
        torch.set_num_threads(2)
    assert torch.get_num_threads() == 1
