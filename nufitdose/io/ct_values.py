"""Whether the values of a CT can be Hounsfield units."""

import logging
from pathlib import Path

import numpy as np

from nufitdose.errors import InputError
from nufitdose.volume import Volume

_LOG = logging.getLogger(__name__)
_AIR_HU = -200.0  # nothing in or around a body is so low but air and lung
_LOWEST_HU, _HIGHEST_HU = -32768.0, 32767.0  # CT numbers are stored in 16 bit
_OFFSET_HU = 900.0


def question_ct(ct: Volume, where: str | Path) -> None:
    """Refuse a CT of one value, or of values no CT has; warn of one without air, which looks shifted by 1024 HU.

    Tissue is at -100 to 100 HU and most of it close to water, so that a median of soft tissue near 1024 HU above that
    is an offset that was not applied (RescaleIntercept).
    """
    low, high = float(ct.data.min()), float(ct.data.max())
    if low == high:
        raise InputError(
            f"all voxels of the CT are {low:g} HU: it holds no anatomy",
            where=where,
            remedy="Export the CT again, or leave it out of the study",
        )
    if low < _LOWEST_HU or high > _HIGHEST_HU:
        raise InputError(
            f"the CT holds values from {low:g} to {high:g}: these are no Hounsfield units",
            where=where,
            remedy="Give the CT, not the activity, under 'ct'; or leave it out of the study",
        )
    if low > _AIR_HU:
        shift = (
            "as if RescaleIntercept (-1024) had not been applied"
            if np.median(ct.data) > _OFFSET_HU or low >= 0.0
            else ""
        )
        _LOG.warning(
            "%s: the CT holds no air, its lowest value is %g HU%s: check it", where, low, f", {shift}" * bool(shift)
        )


def question_same(ct: Volume, activity: Volume, where: str | Path) -> None:
    """Refuse a CT that is the activity itself."""
    if ct.grid.shape == activity.grid.shape and np.array_equal(ct.data, activity.data):
        raise InputError(
            "the CT holds the same values as the activity",
            where=where,
            remedy="Give the CT under 'ct', or leave it out of the study",
        )
