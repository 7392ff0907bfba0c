"""The network that a fine-tuning starts from."""

from pathlib import Path

from nufitdose.errors import InputError
from nufitdose.registration.network import NetworkSettings, NufitReg, load_weights
from nufitdose.training.checkpoint import AVERAGE, CARD, MODEL, best_checkpoint, read_card
from nufitdose.training.checkpoint import load_weights as load_checkpoint
from nufitdose.training.low_rank import merge_low_rank
from nufitdose.training.stage import WEIGHTS


def load_start(place: Path) -> tuple[NufitReg, Path]:
    """The network to start from and the file it came from: a weights file, a checkpoint, or a run's best."""
    if place.is_file():
        return load_weights(place), place
    if (place / WEIGHTS).is_file():
        return load_weights(place / WEIGHTS), place / WEIGHTS
    folder = place if (place / CARD).is_file() else best_checkpoint(place)
    if folder is None:
        raise InputError(
            "there are no weights to start from",
            where=place,
            remedy="Name a weights file, a checkpoint or a run of 'nufitdose pretrain', or 'start: scratch'",
        )
    card = read_card(folder)
    name = AVERAGE if AVERAGE in card.files else MODEL
    model = NufitReg(NetworkSettings.model_validate(card.config["network"]))
    model.load_state_dict(merge_low_rank(load_checkpoint(folder, name)))
    return model, folder / name
