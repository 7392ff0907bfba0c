"""Commands that train the registration network: pretrain, finetune, tune."""

import sys

from nufitdose.cli.options import Device, Overrides, Resume, RunFolder, Seed, TrainingConfig


def pretrain(
    config: TrainingConfig,
    out: RunFolder,
    resume: Resume = False,
    overrides: Overrides = None,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """Train the registration network between patients (stage 1)."""
    from nufitdose.training.request import RunRequest
    from pretrain.stage import run_pretrain

    request = RunRequest(config, out, tuple(overrides or ()), resume, device, seed, sys.stderr)
    print(f"weights: {run_pretrain(request)}")


def finetune(
    config: TrainingConfig,
    out: RunFolder,
    resume: Resume = False,
    overrides: Overrides = None,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """Train it further on few serial scans, within patients (stage 2)."""
    from finetune.stage import run_finetune
    from nufitdose.training.request import RunRequest

    request = RunRequest(config, out, tuple(overrides or ()), resume, device, seed, sys.stderr)
    print(f"weights: {run_finetune(request)}")


def tune(
    config: TrainingConfig,
    out: RunFolder,
    resume: Resume = False,
    overrides: Overrides = None,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """Search for the best settings of a training stage (Bayesian optimisation)."""
    from nufitdose.training.request import RunRequest
    from nufitdose.training.tuning import run_tuning

    request = RunRequest(config, out, tuple(overrides or ()), resume, device, seed, sys.stderr)
    print(f"settings: {run_tuning(request)}")
