"""What a fit says of every voxel."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8
from numpy.typing import NDArray

from dosimetry.kinetics.scan_times import Voxels
from dosimetry.kinetics.status import FitStatus

PerVoxel32 = Float32[np.ndarray, " voxels"]


@dataclass(frozen=True, eq=False)
class VoxelFit:
    """What a fit says of each voxel; arrays [voxels].

    `tia` Bq·h/mL; `u_tia` its standard uncertainty, NaN where the data leave none to be known; `teff_h` effective
    half-life of the last phase; `amplitude` Bq/mL of that phase, extrapolated to administration; `rmse` Bq/mL, root
    mean square residual of the curve, NaN without degrees of freedom; `before` and `extrapolated` shares of `tia`
    before the voxel's first and after its last point; `status` the code of a `FitStatus`.
    """

    tia: PerVoxel32
    u_tia: PerVoxel32
    teff_h: PerVoxel32
    amplitude: PerVoxel32
    rmse: PerVoxel32
    before: PerVoxel32
    extrapolated: PerVoxel32
    status: UInt8[np.ndarray, " voxels"]

    def counts(self) -> dict[FitStatus, int]:
        """Number of voxels of each status that occurs."""
        numbers = np.bincount(self.status, minlength=len(FitStatus))
        return {status: int(numbers[status]) for status in FitStatus if numbers[status]}

    @classmethod
    def empty(cls, n_voxels: int) -> "VoxelFit":
        """Room for the results of `n_voxels`."""
        return cls.of(*room(n_voxels))

    @classmethod
    def of(cls, out: Float32[np.ndarray, "7 voxels"], status: UInt8[np.ndarray, " voxels"]) -> "VoxelFit":
        """The rows of what a kernel wrote, as they are."""
        tia, u_tia, teff_h, amplitude, rmse, before, extrapolated = out
        return cls(tia, u_tia, teff_h, amplitude, rmse, before, extrapolated, status)

    @classmethod
    def nothing(cls, n_voxels: int) -> "VoxelFit":
        """Voxels that no scan saw."""
        fit = cls.empty(n_voxels)
        for values in fit.arrays():
            values[:] = 0
        for values in (fit.u_tia, fit.teff_h, fit.rmse, fit.before, fit.extrapolated):
            values[:] = np.nan
        return fit

    def arrays(self) -> tuple[NDArray[np.generic], ...]:
        """The arrays in the order of the fields."""
        return (
            self.tia,
            self.u_tia,
            self.teff_h,
            self.amplitude,
            self.rmse,
            self.before,
            self.extrapolated,
            self.status,
        )

    def put(self, voxels: Voxels, other: "VoxelFit") -> None:
        """Write the results of `other`, [len(voxels)], at these voxels."""
        for mine, theirs in zip(self.arrays(), other.arrays(), strict=True):
            mine[voxels] = theirs


def room(n_voxels: int) -> tuple[Float32[np.ndarray, "7 voxels"], UInt8[np.ndarray, " voxels"]]:
    """Empty arrays for the results of `n_voxels`: the numbers of a `VoxelFit` row by row, and the status."""
    return np.empty((7, n_voxels), np.float32), np.empty(n_voxels, np.uint8)
