"""Settings of the fine-tuning; defaults here, YAML and `--set` only override."""

from typing import Literal

from pydantic import Field, model_validator

from nufitdose.config import Settings
from nufitdose.registration.engines.refine import RefineSettings
from nufitdose.registration.intensity import CtContrast
from nufitdose.training.settings import DataSettings, LoopSettings, StageSettings

SCRATCH = "scratch"


class FinetuneSettings(StageSettings):
    """Everything a fine-tuning can be told.

    `learns` the network; the correction has settings of its own (`CorrectionSettings`). `start` is a weights file, a
    checkpoint or a run's folder, whose network is taken, or 'scratch' for the network of `network` untrained.
    `working_spacing_mm`, `ct_contrast` and `passes` are others to go on with (null: those of the
    start): a network learns on coarse grids, and looking seldom, what serves on fine ones and looking again. `freeze`
    keeps the encoders, or all but the heads, as they are. `adapt: low_rank` keeps the encoders and learns a change of
    rank `rank` of each of their linear layers (see `nufitdose.training.low_rank`); what `freeze` leaves is trained
    whole. `patient` fine-tunes on the scans of that one patient alone, wherever the splits put it, without validation.
    """

    learns: Literal["network"] = "network"
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


class CorrectionSettings(Settings):
    """Everything that learning the correction can be told, on digital patients with CTs whose motion is known.

    `start` names the network that the correction is added to, as in a fine-tuning; it stays as it is. Where it has a
    correction already that learns on, else a new one of `width` channels at full resolution. Each step takes `crops`
    crops of pairs; the loss is the error of the displacement and `smoothness_mm` times that of its differences.
    `optimiser` are the settings of what is corrected; its result serves under these alone. Crops are read from disk:
    `data.memory_gb` bounds nothing.
    """

    learns: Literal["correction"] = "correction"
    start: str
    data: DataSettings
    width: int = Field(default=24, ge=4, multiple_of=4)
    crops: int = Field(default=4, ge=1)
    smoothness_mm: float = Field(default=4.0, ge=0)
    optimiser: RefineSettings = RefineSettings()
    loop: LoopSettings = LoopSettings()
