"""A small network and synthetic pairs to train it on; run as a program, it trains in a folder of its own.

`python training_stand_in.py FOLDER [--resume] [--pause SECONDS] [--compile]` — what the tests of the loop
start and kill.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from nufitdose.registration.objective import NetworkOutput, ObjectiveSettings
from nufitdose.registration.pair import PairTensors
from nufitdose.training.distributed import Processes, processes
from nufitdose.training.loop import train
from nufitdose.training.pairs import generator_of
from nufitdose.training.run_state import Run
from nufitdose.training.settings import DropoutSettings, LoopSettings
from nufitdose.training.task import pair_loss_of

SHAPE = (16, 12, 8)
SETTINGS = LoopSettings(
    steps=12, pairs_per_step=2, learning_rate=3e-3, save_every=3, validate_every=6, ema_decay=0.9, stitch_rate=10.0
)
OBJECTIVE = ObjectiveSettings(window=5)


class StandIn(nn.Module):
    """Two convolutions on the half lattice, with a dropout and a parameter called as a cross-stitch unit is."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Conv3d(4, 6, 3, padding=1, stride=2)
        self.stitch = nn.Parameter(torch.full((6,), 0.9))
        self.chance = nn.Dropout(0.1)
        self.head = nn.Conv3d(6, 3, 3, padding=1)
        nn.init.normal_(self.head.weight, std=1e-2)
        nn.init.zeros_(self.head.bias)

    def forward(self, ct, activity, present):
        shown = present.to(ct.dtype)[:, :, None, None, None]
        seen = torch.cat([ct * shown[:, :1], activity * shown[:, 1:]], dim=1)
        inner = self.chance(torch.relu(self.encoder(seen))) * self.stitch[None, :, None, None, None]
        return NetworkOutput(self.head(inner))


def blob_pair(place: int) -> PairTensors:
    """Two Gaussian blobs, the moving one shifted; CT and activity show both."""
    chance = generator_of(5, place)
    i, j, k = (torch.arange(float(n)) for n in SHAPE)
    centre = torch.tensor([(n - 1) / 2 for n in SHAPE]) + torch.randn(3, generator=chance)
    images = []
    for shift in (torch.randn(3, generator=chance), torch.zeros(3)):
        x, y, z = centre + shift
        distance2 = (i[:, None, None] - x) ** 2 + (j[None, :, None] - y) ** 2 + (k[None, None, :] - z) ** 2
        images.append(torch.exp(-distance2 / 18.0))
    both = torch.stack(images)[None]
    return PairTensors(
        both, both**2, torch.tensor([[True, True]]), torch.ones_like(both), torch.ones_like(both), (4.0,) * 3
    )


class BlobPairs:
    """The blobs by place."""

    def __init__(self, pause_s: float = 0.0) -> None:
        self.pause_s = pause_s

    def along(self, places):
        for place in places:
            time.sleep(self.pause_s)
            yield blob_pair(place)


def validation(model):
    loss = pair_loss_of(OBJECTIVE, DropoutSettings(ct=0.0, activity=0.0), "float32")
    found = [float(loss(model, blob_pair(10_000 + n), generator_of(0))["loss"]) for n in range(2)]
    return {"loss": float(np.mean(found))}


def run_in(folder: Path, group: Processes | None = None, **config) -> Run:
    return Run(
        folder, 3, {"made": "in a test", **config}, {"train/a": "0"}, group or Processes(0, 1, torch.device("cpu"))
    )


def train_stand_in(
    folder: Path,
    settings: LoopSettings = SETTINGS,
    *,
    resume=False,
    group=None,
    pairs=None,
    loss=None,
    validate=validation,
):
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(1)
    model = StandIn()
    loss = loss or pair_loss_of(OBJECTIVE, DropoutSettings(), "float32")
    progress = train(model, loss, pairs or BlobPairs(), validate, settings, run_in(folder, group), resume=resume)
    return model, progress


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--compile", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    settings = SETTINGS.model_copy(update={"compile": given.compile})
    with processes("cpu") as group:
        train_stand_in(given.folder, settings, resume=given.resume, group=group, pairs=BlobPairs(given.pause))
    if given.compile:
        from torch._dynamo.utils import counters

        (given.folder / "compiled").write_text(str(counters["stats"]["unique_graphs"]))
