"""The images as the registration sees them: numbers from 0 to 1."""

import numpy as np

from nufitdose.types import Image32
from nufitdose.volume import Volume

CT_WINDOW_HU = (-300.0, 300.0)


def scaled_ct(ct: Volume) -> Image32:
    """CT clipped to -300 ... 300 HU and scaled to 0 ... 1; chosen here."""
    low, high = CT_WINDOW_HU
    return np.clip((ct.data - np.float32(low)) / np.float32(high - low), 0.0, 1.0)


def scaled_activity(activity: Volume, scale_bq_ml: float) -> Image32:
    """`sqrt(clip(A / scale, 0, 1))`: the root (chosen here) stops the hottest organ from outweighing all others."""
    return np.sqrt(np.clip(activity.data / np.float32(scale_bq_ml), 0.0, 1.0))
