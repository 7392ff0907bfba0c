"""The training loop, readable from top to bottom."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from nufitdose.errors import InputError, RunStopped
from nufitdose.training.distributed import Processes, keep_threads
from nufitdose.training.optimiser import make_optimiser, make_schedule
from nufitdose.training.pairs import generator_of
from nufitdose.training.records import RunTables
from nufitdose.training.run_state import Progress, Run, resume_state, save_state
from nufitdose.training.settings import LoopSettings

MOST_BAD_STEPS = 3  # in a row
_CHANCE = 4  # what a number is drawn for; see nufitdose.training.pairs

Losses = Mapping[str, Tensor]
PairLoss = Callable[[nn.Module, Any, torch.Generator], Losses]  # 'loss' is what is minimised
Validate = Callable[[nn.Module], Mapping[str, float]]  # 'loss' is what the best checkpoint is chosen by


@runtime_checkable
class OnDevice(Protocol):
    """What is learned from: a pair of scans, or crops of some."""

    def to(self, device: torch.device) -> Any:
        """The same on another device."""


@runtime_checkable
class Pairs(Protocol):
    """Where pairs come from."""

    def along(self, places: Iterator[int]) -> Iterator[OnDevice]:
        """The pairs at `places`, one after the other."""


def train(
    model: nn.Module,
    pair_loss: PairLoss,
    pairs: Pairs,
    validate: Validate | None,
    settings: LoopSettings,
    run: Run,
    *,
    resume: bool = False,
) -> Progress:
    """Train until `settings.steps`, or until validation stops improving; returns where the run ended.

    Step n uses the pairs at the places (n - 1) P ... n P - 1 with P = `pairs_per_step`, shared among the processes,
    and chance drawn from the seed and the place: interrupted or not, on one process or several, the run is the
    same. A step whose loss or gradient is not finite is skipped and counted; `RunStopped` after three in a row.
    """
    from timm.utils import ModelEmaV3

    own = _own_places(settings.pairs_per_step, run.processes)
    device = run.processes.device
    model.to(device).train()
    optimiser = make_optimiser(model, settings)
    schedule = make_schedule(optimiser, settings)
    average = None if settings.ema_decay is None else ModelEmaV3(model, settings.ema_decay, use_warmup=True)
    progress = resume_state(model, average, optimiser, settings, run) if resume else Progress()
    if settings.compile:
        model.compile(options={"fallback_random": True})  # chance is drawn as without
    forward = model if run.processes.count == 1 else _share_gradients(model, device)
    writes, tensorboard = run.processes.writes, settings.tensorboard
    tables = RunTables.open(run.folder, progress.step, writes=writes, tensorboard=tensorboard)
    size = settings.pairs_per_step
    stream = pairs.along(p for p in range(progress.step * size, settings.steps * size) if p % size in own)

    while progress.step < settings.steps and not _is_stale(progress, settings):
        begun = time.monotonic()
        progress.step += 1
        if schedule is not None:
            schedule.step_update(progress.step - 1)
        optimiser.zero_grad(set_to_none=True)
        places = range((progress.step - 1) * size + own.start, (progress.step - 1) * size + own.stop)
        means = _add_gradients(forward, pair_loss, places, stream, run)
        norm = float(clip_grad_norm_([p for p in model.parameters() if p.requires_grad], settings.clip_norm))
        if progress.count(math.isfinite(means["loss"]) and math.isfinite(norm)):
            optimiser.step()
            if average is not None:
                average.update(model, step=progress.step)
        state = {"gradient_norm": norm, "learning_rate": optimiser.param_groups[0]["lr"], "skipped": progress.skipped}
        tables.add_step(progress.step, means, state, time.monotonic() - begun)
        run.on_progress(progress.step, means["loss"])
        if progress.skipped_in_a_row == MOST_BAD_STEPS:
            raise RunStopped(_not_finite(progress, run.folder))

        last = progress.step == settings.steps
        score = None
        if validate is not None and (last or progress.step % settings.validate_every == 0):
            score = _judge(validate, model if average is None else average.module, progress, tables, run)
        if score is not None or last or progress.step % settings.save_every == 0:
            save_state(model, average, optimiser, progress, score, means, settings, run)
    return progress


def _add_gradients(
    forward: nn.Module, pair_loss: PairLoss, places: range, pairs: Iterator[OnDevice], run: Run
) -> dict[str, float]:
    """Gradients of the mean loss over this process's pairs of a step; the mean losses over all processes."""
    found: list[Losses] = []
    for place in places:
        with _synchronise(forward, last=place == places[-1]):
            losses = _losses(forward, pair_loss, next(pairs).to(run.processes.device), run.seed, place)
            (losses["loss"] / len(places)).backward()  # type: ignore[no-untyped-call]
        found.append(losses)
    return _means(found, run.processes)


def _own_places(pairs_per_step: int, processes: Processes) -> range:
    """The places within a step that fall to this process."""
    if pairs_per_step % processes.count:
        raise InputError(
            f"{pairs_per_step} pairs a step cannot be shared evenly among {processes.count} processes",
            remedy="Set loop.pairs_per_step to a multiple of the number of processes",
        )
    each = pairs_per_step // processes.count
    return range(processes.rank * each, (processes.rank + 1) * each)


def _share_gradients(model: nn.Module, device: torch.device) -> DistributedDataParallel:
    """Gradients averaged over the processes; a modality that was dropped leaves parameters without any."""
    ids = [device.index] if device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=ids, find_unused_parameters=True)


def _synchronise(forward: nn.Module, *, last: bool) -> AbstractContextManager[None]:
    """Exchange gradients once a step, with the last pair."""
    if isinstance(forward, DistributedDataParallel) and not last:
        return forward.no_sync()
    return nullcontext()


def _losses(forward: nn.Module, pair_loss: PairLoss, pair: OnDevice, seed: int, place: int) -> Losses:
    chance = generator_of(seed, _CHANCE, place)
    torch.manual_seed(chance.initial_seed())  # drop path within the network
    return pair_loss(forward, pair, chance)


def _means(found: Sequence[Losses], processes: Processes) -> dict[str, float]:
    """Every term, averaged over the pairs of all processes."""
    names = list(found[0])
    table = torch.stack([torch.stack([losses[name].detach().double() for name in names]) for losses in found])
    return dict(zip(names, processes.mean(table.mean(dim=0)).tolist(), strict=True))


def _judge(validate: Validate, model: nn.Module, progress: Progress, tables: RunTables, run: Run) -> float:
    """Judge the model; every process takes the same view, lest one stops and another waits for it."""
    model.eval()
    with torch.no_grad(), keep_threads():
        own = validate(model)
        if run.processes.writes:
            run.on_validated(progress.step, model)
    model.train()
    values = torch.tensor(list(own.values()), dtype=torch.float64, device=run.processes.device)
    found = dict(zip(own, run.processes.mean(values).tolist(), strict=True))
    progress.judge(found["loss"])
    tables.add_validation(progress.step, found)
    return found["loss"]


def _is_stale(progress: Progress, settings: LoopSettings) -> bool:
    return settings.patience is not None and progress.validations_without_gain >= settings.patience


def _not_finite(progress: Progress, folder: Path) -> str:
    return (
        f"the loss or its gradient was not finite in {MOST_BAD_STEPS} steps in a row, the last one step "
        f"{progress.step} ({progress.skipped} skipped in all). Lower loop.learning_rate or use precision float32, and "
        f"start again or resume from the last checkpoint in {folder}"
    )
