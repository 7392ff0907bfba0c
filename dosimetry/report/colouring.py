"""Shares of a scale as colours: CT in grey, activity and dose laid over it, two scans in two colours."""

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from dosimetry.report.palette import FIXED_RGB, MOVING_RGB

F32 = NDArray[np.float32]
Rgb = NDArray[np.float32]

COLOURS = "plasma"  # of activity and dose
CT_WINDOW_HU = (-160.0, 240.0)  # soft tissue


def window(hu: F32) -> F32:
    """CT numbers as shares of the soft-tissue window."""
    low, high = CT_WINDOW_HU
    return np.clip((hu - low) / (high - low), 0.0, 1.0)


def grey(hu: F32) -> Rgb:
    """CT numbers in grey, for colour to lie on."""
    return np.repeat(0.85 * window(hu)[..., None], 3, axis=-1)


def dim(share: F32) -> Rgb:
    """An activity in dim grey, in place of a CT."""
    return np.repeat(0.55 * np.clip(share, 0.0, 1.0)[..., None] ** 0.6, 3, axis=-1)


def lay_over(back: Rgb, share: F32) -> Rgb:
    """Colour over grey, the more opaque the higher the value; nothing below 3 % of the scale."""
    share = np.clip(share, 0.0, 1.0)
    colour = mpl.colormaps[COLOURS](share)[..., :3].astype(np.float32)
    alpha = np.clip((share - 0.03) / 0.25, 0.0, 0.85)[..., None]
    return (1 - alpha) * back + alpha * colour


def two_colours(fixed: F32, moving: F32, gamma: float = 0.6) -> Rgb:
    """Two scans added, the fixed one orange and the moving one blue; `gamma` below 1 lifts what is faint."""
    first, second = (np.clip(share, 0.0, 1.0)[..., None] ** gamma for share in (fixed, moving))
    return np.clip(first * np.array(FIXED_RGB, np.float32) + second * np.array(MOVING_RGB, np.float32), 0.0, 1.0)
