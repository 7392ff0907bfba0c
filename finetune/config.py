"""Settings of the fine-tuning; defaults here, YAML and `--set` only override."""

from typing import Literal

from pydantic import Field, model_validator

from nufitdose.registration.intensity import CtContrast
from nufitdose.training.settings import StageSettings

SCRATCH = "scratch"


class FinetuneSettings(StageSettings):
    """Everything a fine-tuning can be told.

    `start` is a weights file, a checkpoint or a run's folder, whose network is taken, or 'scratch' for the network of
    `network` untrained. `working_spacing_mm`, `ct_contrast` and `passes` are others to go on with (null: those of the
    start): a network learns on coarse grids, and looking seldom, what serves on fine ones and looking again. `freeze`
    keeps the encoders, or all but the heads, as they are. `adapt: low_rank` keeps the encoders and learns a change of
    rank `rank` of each of their linear layers (see `nufitdose.training.low_rank`); what `freeze` leaves is trained
    whole. `patient` fine-tunes on the scans of that one patient alone, wherever the splits put it, without validation.
    """

    start: str
    working_spacing_mm: float | None = Field(default=None, gt=0)
    ct_contrast: CtContrast | None = None
    passes: int | None = Field(default=None, ge=1, le=8)
    freeze: Literal["none", "encoders", "all_but_heads"] = "none"
    adapt: Literal["full", "low_rank"] = "full"
    rank: int = Field(default=4, ge=1, le=64)
    patient: str | None = None

    @model_validator(mode="after")
    def _something_adapts(self) -> "FinetuneSettings":
        if self.adapt == "low_rank" and self.freeze == "encoders":
            raise ValueError("'adapt: low_rank' trains the encoders, 'freeze: encoders' keeps them; choose one")
        return self
