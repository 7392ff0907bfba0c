"""What changes the weights, and by how much at each step."""

from typing import Any

import torch
from torch import nn

from nufitdose.errors import InputError
from nufitdose.training.settings import LoopSettings


def make_optimiser(model: nn.Module, settings: LoopSettings) -> torch.optim.Optimizer:
    """AdamW on the parameters that are not frozen. Raises `InputError` where all are."""
    groups = _parameter_groups(model, settings)
    return torch.optim.AdamW(groups, lr=settings.learning_rate, amsgrad=settings.amsgrad)


def _parameter_groups(model: nn.Module, settings: LoopSettings) -> list[dict[str, Any]]:
    """Weights; the cross-stitch units with a rate of their own and no decay. Frozen parameters are left out."""
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if not trained:
        raise InputError("every parameter is frozen: there is nothing to train")
    stitches = [p for name, p in trained if "stitch" in name]
    others = [p for name, p in trained if "stitch" not in name]
    groups = [
        {"params": others, "weight_decay": settings.weight_decay},
        {"params": stitches, "lr": settings.learning_rate * settings.stitch_rate, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def make_schedule(optimiser: torch.optim.Optimizer, settings: LoopSettings) -> Any:
    """A schedule of timm in steps, or None; its rates depend on the step alone."""
    from timm.scheduler import CosineLRScheduler, PolyLRScheduler

    if settings.schedule == "constant" and settings.warmup_steps == 0:
        return None
    start = settings.learning_rate / max(settings.warmup_steps, 1)
    shared: dict[str, Any] = {"t_in_epochs": False, "warmup_t": settings.warmup_steps, "warmup_lr_init": start}
    if settings.schedule == "cosine":
        return CosineLRScheduler(optimiser, t_initial=settings.steps, **shared)
    power = settings.poly_power if settings.schedule == "poly" else 0.0
    return PolyLRScheduler(optimiser, t_initial=settings.steps, power=power, **shared)
