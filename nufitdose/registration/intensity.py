"""The images as the registration sees them: numbers from 0 to 1."""

from collections.abc import Callable
from typing import Literal

import numpy as np

from nufitdose.types import Image32
from nufitdose.volume import Volume

CT_WINDOW_HU = (-300.0, 300.0)
#: CT number (HU) -> brightness, linear between the knots: lung, soft tissue and bone each keep some contrast.
KNOTS_HU = (-1000.0, -700.0, -200.0, -100.0, 0.0, 100.0, 300.0, 1200.0)
KNOTS_BRIGHTNESS = (0.0, 0.25, 0.35, 0.45, 0.6, 0.75, 0.85, 1.0)


def tissue_contrast(ct: Volume) -> Image32:
    """CT mapped to 0 ... 1 by the knots, for the optimiser and networks; chosen here."""
    return np.interp(ct.data, KNOTS_HU, KNOTS_BRIGHTNESS).astype(np.float32)


def scaled_ct(ct: Volume) -> Image32:
    """CT clipped to -300 ... 300 HU and scaled to 0 ... 1, as poses see it; chosen here."""
    low, high = CT_WINDOW_HU
    return np.clip((ct.data - np.float32(low)) / np.float32(high - low), 0.0, 1.0)


#: How a network sees a CT.
CtContrast = Literal["window", "tissue"]
CT_CONTRASTS: dict[CtContrast, Callable[[Volume], Image32]] = {"window": scaled_ct, "tissue": tissue_contrast}


def scaled_activity(activity: Volume, scale_bq_ml: float) -> Image32:
    """`sqrt(clip(A / scale, 0, 1))`: the root (chosen here) stops the hottest organ from outweighing all others."""
    return np.sqrt(np.clip(activity.data / np.float32(scale_bq_ml), 0.0, 1.0))
