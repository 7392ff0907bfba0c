"""Activity balance: what the structures hold, what the scan holds, what physics allows."""

from dataclasses import dataclass

import numpy as np

from dosimetry.results import PatientResults
from nufitdose import kinetics
from nufitdose.nuclides import decay_constant_per_h
from nufitdose.types import F64


@dataclass(frozen=True, eq=False)
class Balance:
    """MBq at each scan: administered × decay, in the whole field of view, in the structures.

    `parts_mbq` [structures, times] share the activity of voxels that several structures claim, so that
    they add to `structures_mbq`. NaN where a structure is cut by the field of view of a scan.
    """

    administered_mbq: F64
    whole_mbq: F64
    parts_mbq: F64

    @property
    def structures_mbq(self) -> F64:
        """All structures together, what is not cut by the field of view."""
        total: F64 = np.nansum(self.parts_mbq, axis=0)
        return total


def balance_of(results: PatientResults) -> Balance:
    """A(t) = A_administered e^(-λt) against the total of each scan as read and the structures' activity."""
    administered = results.study.administration.activity_mbq
    rate = decay_constant_per_h(results.study.nuclide)
    return Balance(
        administered_mbq=kinetics.value([administered], [rate], results.times_h),
        whole_mbq=np.array([frame.total_mbq for frame in results.frames]),
        parts_mbq=_parts_mbq(results),
    )


def _parts_mbq(results: PatientResults) -> F64:
    grid = results.maps.dose.grid
    claimed = np.zeros(grid.size, dtype=np.float32)
    for result in results.structures:
        claimed[result.region.index] += result.region.part_ml.astype(np.float32)
    parts = np.empty((len(results.structures), len(results.frames)))
    for column, frame in enumerate(results.frames):
        concentration = frame.activity.data.reshape(-1)
        for row, result in enumerate(results.structures):
            index, part_ml = result.region.index, result.region.part_ml
            own_ml = part_ml * np.minimum(1.0, grid.voxel_volume_ml / claimed[index])
            parts[row, column] = float(concentration[index] @ own_ml) * 1e-6
    for row, result in enumerate(results.structures):
        parts[row, np.isnan(result.curve.activity_mbq)] = np.nan
    return parts
