"""What a run leaves to look at: pictures of validation pairs, curves for TensorBoard."""

import sys
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from support.training_stand_in import SETTINGS, train_stand_in

from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.registration.objective import NetworkOutput
from nufitdose.training import pictures
from nufitdose.training.pictures import draw_pair, from_the_front
from nufitdose.training.scans import Scan, ScanKey, ScanStore
from nufitdose.training.settings import LoopSettings

FIXED, MOVING = (ScanKey(name * 16, "tp1", "P") for name in "fm")


class Shift(torch.nn.Module):
    """A field of so many voxels along the first axis everywhere."""

    def __init__(self, voxels: float) -> None:
        super().__init__()
        self.voxels = torch.nn.Parameter(torch.tensor(voxels))

    def forward(self, ct, activity, present):
        velocity = torch.zeros(1, 3, *(n // 2 for n in ct.shape[2:]))
        velocity[:, 0] = self.voxels
        return NetworkOutput(velocity, displacement=True)


@pytest.fixture
def store(tmp_path):
    """A hot cube within a soft one, 4 voxels further along the first axis on the moving scan."""
    grid = Grid.from_spacing((24, 16, 32), (4.0, 4.0, 4.0))
    store = ScanStore(tmp_path / "prepared", memory_bytes=1e9)
    for key, shift in ((FIXED, 0), (MOVING, 4)):
        channels = torch.zeros(4, *grid.shape)
        channels[0, 4 + shift : 14 + shift, 4:12, 6:26] = 0.6
        channels[1, 6 + shift : 10 + shift, 6:10, 8:14] = 1.0
        channels[2:] = 1.0
        store.put(key, Scan(channels.half(), (True, True), grid, np.eye(4)))
    return store


@pytest.mark.parametrize("voxels", [4.0, 0.0])
def test_a_picture_shows_the_moving_scan_brought_onto_the_fixed_one(store, tmp_path, monkeypatch, voxels):
    shown = []
    draw = pictures._show

    def watched(axes, ct, activity):
        shown.append((ct, activity))
        draw(axes, ct, activity)

    monkeypatch.setattr(pictures, "_show", watched)
    path = tmp_path / "pictures/step_00000001.png"
    draw_pair(Shift(voxels), (FIXED, MOVING), store, path, precision="float32")
    (ct_f, fixed), (_, before), (ct, after) = shown
    apart = np.abs(fixed - before).max()
    assert apart == pytest.approx(1.0)
    brought = voxels == 4.0
    assert np.abs(fixed - after).max() == pytest.approx(0.0 if brought else apart, abs=1e-3)
    assert np.abs(ct_f - ct).max() == pytest.approx(0.0 if brought else 0.6, abs=1e-3)
    assert ct_f.max() > 0.5  # the slice goes through the patient
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.width > 2 * image.height
        assert len(np.unique(np.asarray(image).reshape(-1, 4), axis=0)) > 20


def test_a_scan_without_ct_is_drawn_too(store, tmp_path):
    scan = store.get(FIXED)
    alone = ScanKey("a" * 16, "tp1", "P")
    without = torch.cat([torch.zeros_like(scan.channels[:1]), scan.channels[1:]])
    store.put(alone, Scan(without, (False, True), scan.grid, scan.pose))
    draw_pair(Shift(0.0), (alone, alone), store, tmp_path / "x.png", precision="float32")
    assert (tmp_path / "x.png").is_file()


@pytest.mark.parametrize(
    ("order", "signs"), [((0, 1, 2), (1, 1, 1)), ((2, 0, 1), (-1, 1, -1)), ((1, 2, 0), (1, -1, 1))]
)
def test_the_right_of_the_patient_is_on_the_left_and_the_head_above(order, signs):
    """However the voxel axes lie: x (to the right) falls along the first axis shown, z (to the head) rises."""
    directions = np.zeros((3, 3))
    directions[list(order), range(3)] = signs
    index = np.stack(np.meshgrid(*(np.arange(float(n)) for n in (4, 5, 6)), indexing="ij"))
    x, z = (np.einsum("d,dijk->ijk", directions[axis], index).astype(np.float32) for axis in (0, 2))
    assert (np.diff(from_the_front(x, directions), axis=0) == -1).all()
    assert (np.diff(from_the_front(z, directions), axis=2) == 1).all()


class Writer:
    """Takes the place of TensorBoard's."""

    made: ClassVar[list["Writer"]] = []

    def __init__(self, log_dir: str, purge_step: int) -> None:
        self.log_dir, self.purge_step, self.points, self.flushed = Path(log_dir), purge_step, [], 0
        self.made.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.points.append((name, step, value))

    def flush(self) -> None:
        self.flushed = len(self.points)


@pytest.fixture
def tensorboard(monkeypatch):
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(Writer, "made", [])
    return Writer.made


def test_curves_hold_what_the_tables_hold_and_go_on_where_the_run_does(tensorboard, tmp_path):
    from nufitdose.training.records import read_table

    short = SETTINGS.model_copy(update={"steps": 3, "validate_every": 3, "tensorboard": True})
    train_stand_in(tmp_path, short)
    train_stand_in(tmp_path, short, resume=True)
    first, second = tensorboard
    assert first.log_dir == tmp_path / "tensorboard"
    assert (first.purge_step, second.purge_step) == (1, 4)
    losses = [(step, value) for name, step, value in first.points if name == "training/loss"]
    assert losses == [(int(row["step"]), row["loss"]) for row in read_table(tmp_path / "metrics.csv")]
    assert [step for name, step, _ in first.points if name == "validation/loss"] == [3]
    assert first.flushed == len(first.points)


def test_tensorboard_that_is_absent_is_refused_before_anything_is_done(monkeypatch, tmp_path):
    from nufitdose.training.request import RunRequest
    from nufitdose.training.stage import run_stage
    from pretrain.config import PretrainSettings
    from pretrain.stage import stage_of

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    settings = PretrainSettings.model_validate({"data": {"cohort": "c"}, "loop": LoopSettings(tensorboard=True)})
    with pytest.raises(InputError, match=r"nufitdose\[tensorboard\]"):
        run_stage(stage_of(settings), RunRequest(tmp_path / "c.yaml", tmp_path / "run", device="cpu"))
    assert not (tmp_path / "run").exists()
