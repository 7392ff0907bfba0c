"""What is known of the rates of a structure's voxels."""

from dataclasses import dataclass

import numpy as np

TOLD = 3.0  # a/u(a) from which a voxel tells something of the rates of its structure


@dataclass(frozen=True)
class RatePrior:
    """What is known of a structure's biological rate, 1/h: ln λ_bio is normal with this mean and deviation."""

    mean_ln_rate: float
    sd_ln_rate: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.mean_ln_rate) and np.isfinite(self.sd_ln_rate) and self.sd_ln_rate > 0):
            raise ValueError(f"a prior needs a finite mean and a positive deviation, got {self}")
