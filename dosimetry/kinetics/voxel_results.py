"""What a fit says of every voxel, and where such results are gathered batch by batch."""

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float32, UInt8

from dosimetry.kinetics.scan_times import Voxels
from dosimetry.kinetics.status import FitStatus

PerVoxel32 = Float32[np.ndarray, " voxels"]
Rows = Float32[np.ndarray, "rows voxels"]
Status = UInt8[np.ndarray, " voxels"]

#: The rows in which compiled fits write the numbers of a `VoxelFit`.
ROWS = ("tia", "u_tia", "teff_h", "amplitude", "rmse", "before", "extrapolated")


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
    status: Status

    def counts(self) -> dict[FitStatus, int]:
        """Number of voxels of each status that occurs."""
        numbers = np.bincount(self.status, minlength=len(FitStatus))
        return {status: int(numbers[status]) for status in FitStatus if numbers[status]}

    def part(self, voxels: Voxels) -> "VoxelFit":
        """The results of these voxels."""
        return VoxelFit(*(getattr(self, field.name)[voxels] for field in fields(self)))

    @classmethod
    def of(cls, out: Rows, status: Status) -> "VoxelFit":
        """The rows of what a kernel wrote, as they are."""
        tia, u_tia, teff_h, amplitude, rmse, before, extrapolated = out
        return cls(tia, u_tia, teff_h, amplitude, rmse, before, extrapolated, status)

    @classmethod
    def nothing(cls, n_voxels: int) -> "VoxelFit":
        """Voxels that no scan saw."""
        out, status = room(n_voxels)
        out[:], status[:] = np.nan, FitStatus.NOTHING
        out[ROWS.index("tia")], out[ROWS.index("amplitude")] = 0.0, 0.0
        return cls.of(out, status)


class VoxelFitBuilder:
    """Gathers the results of voxels part by part, also from several threads; `result` ends that."""

    def __init__(self, n_voxels: int) -> None:
        self._out, self._status = room(n_voxels)

    @classmethod
    def from_fit(cls, fit: VoxelFit) -> "VoxelFitBuilder":
        """Begin with a copy of a fit, parts of which are to be replaced."""
        builder = cls(fit.status.size)
        builder.put(slice(None), fit)
        return builder

    def put(self, voxels: Voxels, fit: VoxelFit) -> None:
        """Write the results of `fit`, [len(voxels)], at these voxels; ValueError after `result`."""
        for row, name in zip(self._out, ROWS, strict=True):
            row[voxels] = getattr(fit, name)
        self._status[voxels] = fit.status

    def part(self, voxels: Voxels) -> VoxelFit:
        """What stands at these voxels now."""
        return VoxelFit.of(self._out, self._status).part(voxels)

    def tia(self, voxels: Voxels) -> PerVoxel32:
        """Their integrals as they stand now, Bq·h/mL."""
        return self._out[ROWS.index("tia")][voxels]

    def scale(self, voxels: Voxels, factor: float) -> None:
        """Multiply the integrals of these voxels, their uncertainty and the amplitude; ValueError after `result`."""
        for name in ("tia", "u_tia", "amplitude"):
            self._out[ROWS.index(name)][voxels] *= np.float32(factor)

    def result(self) -> VoxelFit:
        """The fit of all voxels; from here on its arrays cannot be written."""
        self._out.setflags(write=False)
        self._status.setflags(write=False)
        return VoxelFit.of(self._out, self._status)


def room(n_voxels: int) -> tuple[Rows, Status]:
    """Empty arrays for the results of `n_voxels`: the numbers of a `VoxelFit` row by row, and the status."""
    return np.empty((len(ROWS), n_voxels), np.float32), np.empty(n_voxels, np.uint8)
