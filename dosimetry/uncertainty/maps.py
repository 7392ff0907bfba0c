"""The uncertainty of every voxel's dose: that of its own curve, and what it has in common with its structure."""

from collections.abc import Mapping

import numpy as np

from dosimetry.config import REST
from dosimetry.uncertainty.budget import Budget
from nufitdose.anatomy.regions import Region
from nufitdose.volume import Volume


def total_u_dose(
    dose: Volume, u_fit: Volume | None, regions: Mapping[str, Region], budgets: Mapping[str, Budget]
) -> Volume:
    """u(D)² = u_fit(D)² + (D u_common)², u_common of the smallest structure that holds the voxel, or of the remainder.

    `u_fit` is the error by the voxels' curves, NaN where not known; without it (None) only what is common is stated.
    """
    common = np.full(dose.data.size, budgets[REST].relative_u_voxels, dtype=np.float32)
    for name, region in sorted(regions.items(), key=lambda item: -item[1].volume_ml):
        common[region.index] = budgets[name].relative_u_voxels
    shared = common.reshape(dose.data.shape) * dose.data
    return dose.with_data(shared if u_fit is None else np.hypot(u_fit.data, shared))
