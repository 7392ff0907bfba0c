"""Checkpoints: whole or not there, checked when read, the last few and the best kept.

`checkpoints/step_00001000/` holds `model.safetensors`, `average.safetensors` (the moving average of the weights,
where there is one), `optimiser.pt` and `checkpoint.json`, which names the sha256 of the others.
"""

import json
import pickle
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from nufitdose.errors import InputError
from nufitdose.files import whole_folder
from nufitdose.run import sha256

FOLDER = "checkpoints"
CARD = "checkpoint.json"
MODEL, AVERAGE, OPTIMISER = "model.safetensors", "average.safetensors", "optimiser.pt"


@dataclass(frozen=True)
class Card:
    """checkpoint.json: the step, where the run stands, how good it is, and everything it depends on.

    `score` is the validation loss (smaller is better), None where this step was not validated. `config` and `data`
    (digest per study) must be the same for a run to be resumed.
    """

    step: int
    score: float | None
    progress: Mapping[str, Any]
    metrics: Mapping[str, float]
    config: Mapping[str, Any]
    data: Mapping[str, str]
    versions: Mapping[str, str]
    files: Mapping[str, str]


def save_checkpoint(
    run: Path,
    *,
    step: int,
    model: Mapping[str, Tensor],
    average: Mapping[str, Tensor] | None,
    optimiser: Mapping[str, Any],
    card: Mapping[str, Any],
    keep_last: int,
) -> Path:
    """Write a checkpoint under a temporary name, then rename it; older ones beyond `keep_last` go, the best stays.

    `card` holds what `Card` holds apart from `step` and `files`.
    """
    folder = run / FOLDER / f"step_{step:08d}"
    with whole_folder(folder, durable=True) as place:
        save_file(_portable(model), place / MODEL)
        if average is not None:
            save_file(_portable(average), place / AVERAGE)
        torch.save(dict(optimiser), place / OPTIMISER)
        files = {path.name: sha256(path) for path in sorted(place.iterdir())}
        text = json.dumps({"step": step, **card, "files": files}, indent=2)
        (place / CARD).write_text(text + "\n", encoding="utf-8")
    prune(run, keep_last)
    return folder


def checkpoints(run: Path) -> list[Path]:
    """The checkpoint folders of a run, oldest first; unfinished ones have other names."""
    return sorted(path for path in (run / FOLDER).glob("step_*") if (path / CARD).is_file())


def latest_checkpoint(run: Path) -> Path | None:
    """The last checkpoint of a run, if any."""
    return next(reversed(checkpoints(run)), None)


def best_checkpoint(run: Path) -> Path | None:
    """The checkpoint of least validation loss; the last one where none was validated."""
    scored = [
        (card.score, -card.step, path) for path in checkpoints(run) if (card := read_card(path)).score is not None
    ]
    return min(scored)[2] if scored else latest_checkpoint(run)


def read_card(folder: Path) -> Card:
    """checkpoint.json. Raises `InputError` where it is missing or broken."""
    try:
        content = json.loads((folder / CARD).read_text(encoding="utf-8"))
        return Card(**content)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise InputError(f"this is no checkpoint ({error})", where=folder / CARD) from error


def check_files(folder: Path) -> Card:
    """The card, once every file named in it is there with its sha256. Raises `InputError` otherwise."""
    card = read_card(folder)
    for name, digest in card.files.items():
        path = folder / name
        if not path.is_file() or sha256(path) != digest:
            raise InputError(
                "the checkpoint is damaged: the file is missing or not what was written",
                where=path,
                remedy=f"Remove {folder.name} to go on from the checkpoint before",
            )
    return card


def load_weights(folder: Path, name: str = MODEL) -> dict[str, Tensor]:
    """The tensors of `model.safetensors` or `average.safetensors`, checked."""
    card = check_files(folder)
    if name not in card.files:
        raise InputError(f"the checkpoint holds no {name}", where=folder)
    return load_file(folder / name)


def load_optimiser(folder: Path) -> dict[str, Any]:
    """The state of the optimiser; nothing but tensors and plain values is unpickled."""
    try:
        return dict(torch.load(folder / OPTIMISER, weights_only=True, map_location="cpu"))
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise InputError(f"the optimiser state cannot be read ({error})", where=folder / OPTIMISER) from error


def _portable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies on the CPU, none sharing memory with another."""
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}


def prune(run: Path, keep_last: int) -> None:
    """Keep the last `keep_last` checkpoints and the best; remove the others and what a killed run left half done."""
    whole = checkpoints(run)
    kept = {best_checkpoint(run), *whole[-keep_last:]}
    for path in (*(run / FOLDER).glob("step_*"), *(run / FOLDER).glob(".step_*")):
        if path not in kept:
            shutil.rmtree(path, ignore_errors=True)
