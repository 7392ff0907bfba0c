"""Weights on disk: half precision in a safetensors file, and beside it a JSON card with what they are.

The card holds the network's settings, the SHA-256 of the weights file and whatever the training run tells of
itself. A file that is not what its card says is refused.
"""

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save

from nufitdose.errors import InputError
from nufitdose.files import write_whole
from nufitdose.json_file import read_json
from nufitdose.registration.network.model import NufitReg
from nufitdose.registration.network.settings import NetworkSettings

SHIPPED = Path(__file__).parents[2] / "data" / "weights" / "nufit.safetensors"
FORMAT = "nufitdose registration weights, 1"
_LARGEST_BYTES = 4 << 30
_YOUNGER = {"correction"}  # than the format: a card that does not say so has none


def save_weights(model: NufitReg, path: str | Path, card: Mapping[str, Any]) -> Path:
    """Write `path` (.safetensors, half precision) and its card (.json), each under a temporary name first."""
    path = Path(path)
    content = save({name: p.detach().half().cpu().contiguous() for name, p in model.named_parameters()})
    written = {
        "format": FORMAT,
        "sha256": hashlib.sha256(content).hexdigest(),
        "network": model.settings.model_dump(),
        "parameters": sum(p.numel() for p in model.parameters()),
        **{key: value for key, value in card.items() if key not in ("format", "sha256", "network", "parameters")},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content)
    write_whole(path.with_suffix(".json"), json.dumps(written, indent=2, default=str) + "\n")
    return path


def read_card(path: str | Path) -> dict[str, Any]:
    """The card of a weights file; `InputError` where it is missing or not of this program."""
    place = Path(path).with_suffix(".json")
    if not place.exists():
        raise InputError(
            "the card of a weights file is missing", where=place, remedy="Copy both files, .safetensors and .json"
        )
    card = read_json(place, "this card of a weights file cannot be read")
    if card.get("format") != FORMAT:
        raise InputError(f"a card of the format {card.get('format')!r} was given, {FORMAT!r} is wanted", where=place)
    return card


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A network ready to run on the CPU, and the SHA-256 of the file that its weights came from."""

    model: NufitReg
    sha256: str


def load_network(weights: str | Path | None = None) -> TrainedNetwork:
    """The network of a weights file (.safetensors), None for the shipped one; read once as long as it does not change.

    Raises `InputError` where there is none or it is not what its card says.
    """
    path = _weights_path(weights)
    return _read_once(path, path.stat().st_mtime_ns)


def check_weights(weights: str | Path | None = None) -> None:
    """Raise `InputError` where `load_network` would for a file that is missing, damaged or without its card."""
    _verified(_weights_path(weights))


def load_weights(path: str | Path) -> NufitReg:
    """The network of a weights file, ready to run on the CPU.

    Raises `InputError` on a missing or damaged file, a wrong checksum, and weights that do not fit the settings of
    the card.
    """
    return _read(Path(path)).model


def _weights_path(weights: str | Path | None) -> Path:
    if weights is None and not SHIPPED.is_file():
        raise InputError(
            "this installation holds no weights of the registration network",
            remedy="Choose the engine 'refine', which needs none, or name weights that you trained (--weights)",
        )
    path = SHIPPED if weights is None else Path(weights)
    if not path.is_file():
        raise InputError(
            "there is no such weights file", where=path, remedy="Name the .safetensors file of a training run"
        )
    return path


@functools.lru_cache(maxsize=1)
def _read_once(path: Path, changed_ns: int) -> TrainedNetwork:
    """The network of a file, read once for all pairs of a run, and again where the file has changed."""
    return _read(path)


def _verified(path: Path) -> tuple[dict[str, Any], bytes, str]:
    """The card of a weights file, the content of the file and its digest, which is that of the card."""
    card = read_card(path)
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise InputError(f"the file is larger than {_LARGEST_BYTES >> 30} GB, weights are smaller", where=path)
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"the weights cannot be read ({error.strerror})", where=path) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != card.get("sha256"):
        raise InputError(
            "the weights are not those of their card: the checksum differs",
            where=path,
            remedy="The file is damaged or mixed up; copy both files again",
        )
    return card, content, digest


def _read(path: Path) -> TrainedNetwork:
    card, content, digest = _verified(path)
    stated = card.get("network")
    unsaid = NetworkSettings.model_fields.keys() - (stated if isinstance(stated, dict) else {}) - _YOUNGER
    if unsaid:
        raise InputError(
            f"the card does not say of its network: {', '.join(sorted(unsaid))}; so it is unknown what was trained",
            where=path.with_suffix(".json"),
            remedy="Copy both files of the training run again",
        )
    try:
        model = NufitReg(NetworkSettings.model_validate(stated))
        tensors = {name: tensor.float() for name, tensor in load(content).items()}
    except (KeyError, ValidationError, SafetensorError) as error:
        raise InputError(f"these are no weights of this program ({error})", where=path) from error
    if broken := next((name for name, tensor in tensors.items() if not tensor.isfinite().all()), None):
        raise InputError(
            f"the weights of {broken!r} are not all finite numbers: the training that wrote them went wrong",
            where=path,
            remedy="Take an earlier checkpoint",
        )
    own = dict(model.named_parameters())
    wrong = sorted(own.keys() ^ tensors.keys()) or [n for n, p in own.items() if p.shape != tensors[n].shape]
    if wrong:
        raise InputError(f"the weights do not fit the network of their card, {wrong[0]!r} for one", where=path)
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(tensors[name])
    return TrainedNetwork(model.eval(), digest)
