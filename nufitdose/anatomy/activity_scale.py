"""What counts as a high activity in an image, so that one hot voxel does not set the scale."""

import numpy as np

from nufitdose.errors import InputError
from nufitdose.types import Mask
from nufitdose.volume import Volume

ACTIVITY_PERCENTILE = 99.9


def activity_scale(activity: Volume, body: Mask | None = None) -> float:
    """The 99.9th percentile of an activity volume in Bq/mL, over `body` or everywhere: what counts as 1.

    Raises `InputError` where that is not positive: no activity, or too little of it to be seen.
    """
    values = activity.data if body is None else activity.data[body]
    top = float(np.percentile(values, ACTIVITY_PERCENTILE)) if values.size else 0.0
    top = top or float(values.max(initial=0.0))
    if top <= 0:
        raise InputError(
            "an activity volume holds no activity, so there is nothing to register",
            remedy="Check the image and its rescale slope or calibration factor",
        )
    return top
