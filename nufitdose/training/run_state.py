"""Where a training run stands: what it depends on, kept in its checkpoints and taken up from the last of them."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nufitdose.errors import InputError
from nufitdose.run import versions
from nufitdose.training.checkpoint import (
    AVERAGE,
    check_files,
    latest_checkpoint,
    load_optimiser,
    load_weights,
    prune,
    save_checkpoint,
)
from nufitdose.training.distributed import Processes
from nufitdose.training.settings import LoopSettings


@dataclass
class Progress:
    """Where a run stands; kept in every checkpoint."""

    step: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    best_score: float | None = None
    validations_without_gain: int = 0

    def count(self, finite: bool) -> bool:
        """Take whether the loss and gradient of a step were finite; returns it."""
        self.skipped += not finite
        self.skipped_in_a_row = 0 if finite else self.skipped_in_a_row + 1
        return finite

    def judge(self, score: float) -> None:
        """Take a validation loss."""
        if self.best_score is None or score < self.best_score:
            self.best_score, self.validations_without_gain = score, 0
        else:
            self.validations_without_gain += 1


@dataclass(frozen=True, eq=False)
class Run:
    """What a run is: its folder, its seed, what it depends on (for the checkpoints), the processes it has.

    The process that writes calls `on_validated` with the step and the model that was judged.
    """

    folder: Path
    seed: int
    config: Mapping[str, Any]
    data: Mapping[str, str]
    processes: Processes
    on_progress: Callable[[int, float], None] = field(default=lambda step, loss: None)
    on_validated: Callable[[int, nn.Module], None] = field(default=lambda step, model: None)


def save_state(
    model: nn.Module,
    average: Any,
    optimiser: torch.optim.Optimizer,
    progress: Progress,
    score: float | None,
    means: Mapping[str, float],
    settings: LoopSettings,
    run: Run,
) -> None:
    """Write a checkpoint in the process that writes; the others wait for it."""
    if run.processes.writes:
        save_checkpoint(
            run.folder,
            step=progress.step,
            model=model.state_dict(),
            average=None if average is None else average.module.state_dict(),
            optimiser=optimiser.state_dict(),
            card={
                "score": score,
                "progress": asdict(progress),
                "metrics": dict(means),
                "config": run.config,
                "data": run.data,
                "versions": versions(),
            },
            keep_last=settings.keep_last,
        )
    run.processes.wait()


def resume_state(
    model: nn.Module, average: Any, optimiser: torch.optim.Optimizer, settings: LoopSettings, run: Run
) -> Progress:
    """Take model, average and optimiser from the last checkpoint; from the beginning where there is none."""
    if run.processes.writes:
        prune(run.folder, settings.keep_last)
    folder = latest_checkpoint(run.folder)
    if folder is None:
        return Progress()
    card = check_files(folder)
    for name, was, now in (("settings", card.config, run.config), ("data", card.data, run.data)):
        changed = _differences(was, now)
        if changed:
            raise InputError(
                f"the {name} are not those the run began with: {'; '.join(changed[:5])}",
                where=folder,
                remedy="Give the same configuration, seed and data, or start a new run in another folder",
            )
    model.load_state_dict(load_weights(folder))
    if average is not None:
        average.module.load_state_dict(load_weights(folder, AVERAGE))
    optimiser.load_state_dict(load_optimiser(folder))
    return Progress(**card.progress)


def _differences(was: Mapping[str, Any], now: Mapping[str, Any], path: str = "") -> list[str]:
    found = []
    for key in sorted({*was, *now}):
        before, after = was.get(key), now.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            found += _differences(before, after, f"{path}{key}.")
        elif before != after:
            found.append(f"{path}{key} was {before}, is {after}")
    return found
