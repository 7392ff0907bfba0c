"""What a training run can be told, whichever stage it belongs to."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from nufitdose.config import Settings
from nufitdose.registration.network import NetworkSettings
from nufitdose.registration.objective import ObjectiveSettings

Share = Annotated[float, Field(ge=0, le=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Spread = Annotated[float, Field(ge=0)]


class SplitSettings(Settings):
    """Names of the patients of each split, for a folder of studies without cohort.yaml."""

    train: tuple[str, ...]
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()


class DataSettings(Settings):
    """Whose scans: `cohort` is a cohort.yaml, its folder, a folder of studies however nested, or a BIDS-like tree.

    Splits come from cohort.yaml, else from `splits`, else by `shares` (validation, test) of the patients in random
    order. `train_patients` and `validation_patients` take only so many of theirs. `broken`: a study that cannot be used
    is reported and skipped, or refused. Prepared scans are kept in the folder `prepared`, which runs may share (null:
    `prepared/` in the run's folder); `memory_gb` bounds what of them is held in memory (half precision). `workers`
    threads make pairs ahead of the loop. At most `validation_pairs` pairs are validated on.
    """

    cohort: str = Field(min_length=1)
    splits: SplitSettings | None = None
    shares: tuple[Share, Share] = (0.15, 0.15)
    train_patients: int | None = Field(default=None, ge=1)
    validation_patients: int | None = Field(default=None, ge=1)
    broken: Literal["refuse", "skip"] = "refuse"
    memory_gb: float = Field(default=4.0, gt=0)
    prepared: str | None = None
    workers: int = Field(default=1, ge=0, le=64)
    validation_pairs: int = Field(default=24, ge=0)


class AugmentationSettings(Settings):
    """How pairs are varied in training; intensities run from 0 to 1. All chosen here, 0 switches a variation off.

    `affine_mm` and `affine_degrees` and `affine_log_scale` are standard deviations of a small affine motion added to
    the start of a pair. `gain` and `noise` act on both images, `gamma` (standard deviation of its logarithm) and
    `washout` (of the logarithm of a smooth factor) on the activity. `blur`, `inversion` and `crop` are
    probabilities per scan: a Gaussian of 0.4-1 voxel, activity turned into `body - activity`, a field of view cut
    at the ends of the third axis by up to a quarter.
    """

    affine_mm: Spread = 4.0
    affine_degrees: Spread = 2.0
    affine_log_scale: Spread = 0.02
    gain: Spread = 0.05
    noise: Spread = 0.02
    gamma: Spread = 0.2
    washout: Spread = 0.2
    blur: Probability = 0.3
    inversion: Probability = 0.05
    crop: Probability = 0.1


class DropoutSettings(Settings):
    """Modality dropout: the network does not see the CT (or the activity) of a pair; the losses do. Never both."""

    ct: Probability = 0.2
    activity: Probability = 0.1

    @model_validator(mode="after")
    def _one_remains(self) -> "DropoutSettings":
        if self.ct + self.activity > 1:
            raise ValueError("the probabilities of dropping CT and activity sum to more than 1")
        return self


class LoopSettings(Settings):
    """The loop: `steps` of `pairs_per_step` pairs each (shared among processes, accumulated within one).

    AdamW; `schedule` over all steps after a linear warm-up; gradients clipped to `clip_norm`; `ema_decay` null for
    none. `stitch_rate` multiplies the learning rate of the cross-stitch units, which have no weight decay. Validated
    every `validate_every` steps, saved then and every `save_every`; the last `keep_last` checkpoints are kept, and the
    best. Stops early after `patience` validations without improvement (null: never). `precision` and `compile`
    (torch.compile of the network; needs a C++ compiler) change results by rounding alone. `tensorboard` writes the
    curves for TensorBoard too.
    """

    steps: int = Field(default=20000, ge=1)
    pairs_per_step: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=1e-4, gt=0)
    stitch_rate: float = Field(default=100.0, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    amsgrad: bool = True
    schedule: Literal["poly", "cosine", "constant"] = "poly"
    poly_power: float = Field(default=0.9, gt=0)
    warmup_steps: int = Field(default=0, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    ema_decay: float | None = Field(default=0.999, gt=0, lt=1)
    validate_every: int = Field(default=500, ge=1)
    save_every: int = Field(default=500, ge=1)
    keep_last: int = Field(default=2, ge=1)
    patience: int | None = Field(default=None, ge=1)
    tensorboard: bool = False


class StageSettings(Settings):
    """What every stage can be told. `blur_voxels` smooths what the objective compares (see `pair_loss_of`)."""

    data: DataSettings
    network: NetworkSettings = NetworkSettings()
    objective: ObjectiveSettings = ObjectiveSettings()
    blur_voxels: float = Field(default=1.0, ge=0, le=5)
    augmentation: AugmentationSettings = AugmentationSettings()
    dropout: DropoutSettings = DropoutSettings()
    loop: LoopSettings = LoopSettings()
