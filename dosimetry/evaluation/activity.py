"""Registrations judged by the activity that structures get from a moving scan, against the exact field."""

from collections.abc import Mapping

import numpy as np

from nufitdose.registration.field import DisplacementField
from nufitdose.types import Mask
from nufitdose.volume import Volume


def activity_excess_percent(
    field: DisplacementField, exact: DisplacementField, moving: Volume, labels: Volume, names: Mapping[int, str]
) -> dict[str, float]:
    """How far the activity of each structure is off, percent of what the exact field gives it from the same scan.

    `100 |Σ A(x+u) / Σ A(x+u_exact) - 1|` over the voxels of the structure: noise and blur of the scanner are in both,
    so that this is an engine's excess over perfect registration. `labels` lie on the reference scan; structures
    without activity are left out.
    """
    found, wanted = (one.warp(moving, labels.grid).data for one in (field, exact))
    masks: dict[str, Mask] = {name: labels.data == label for label, name in names.items()}
    totals = {name: float(wanted[where].sum(dtype=np.float64)) for name, where in masks.items()}
    return {
        name: 100.0 * abs(float(found[masks[name]].sum(dtype=np.float64)) / total - 1.0)
        for name, total in totals.items()
        if total > 0
    }
