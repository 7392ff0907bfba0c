"""Whether the values of a CT can be Hounsfield units."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np

from nufitdose.errors import InputError
from nufitdose.volume import Volume

_LOG = logging.getLogger(__name__)
_AIR_HU = -200.0  # nothing in or around a body is so low but air and lung
_LOWEST_HU, _HIGHEST_HU = -32768.0, 32767.0  # CT numbers are stored in 16 bit


def question_ct(ct: Volume, where: str | Path, activity: Callable[[], Volume] | None = None) -> None:
    """Refuse a CT of values no CT has, or of those of the activity; warn of one of a single value or without air.

    A CT whose lowest value is that of air without the intercept of -1024 HU looks like tissue throughout.
    """
    low, high = float(ct.data.min()), float(ct.data.max())
    if low == high:
        _LOG.warning("%s: all voxels of the CT are %g HU: it holds no anatomy; check it, or leave it out", where, low)
        return
    if low < _LOWEST_HU or high > _HIGHEST_HU:
        raise InputError(
            f"the CT holds values from {low:g} to {high:g}: these are no Hounsfield units",
            where=where,
            remedy="Give the CT, not the activity, under 'ct'; or leave it out of the study",
        )
    if low >= 0.0 and activity is not None and np.array_equal(ct.data, activity().data):
        raise InputError(
            "the CT holds the same values as the activity",
            where=where,
            remedy="Give the CT under 'ct', or leave it out of the study",
        )
    if low > _AIR_HU:
        shifted = ", as if RescaleIntercept (-1024) had not been applied" if low >= 0.0 else ""
        _LOG.warning("%s: the CT holds no air, its lowest value is %g HU%s: check it", where, low, shifted)
