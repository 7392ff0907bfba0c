"""When each voxel was seen: one row of times for all, or few rows that voxels share (bed positions)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Integer
from numpy.typing import ArrayLike, NDArray

from dosimetry.kinetics.models import check_times
from nufitdose.types import F64

Voxels = slice | NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class ScanTimes:
    """Scan times in h after administration: voxel v was seen at `rows_h[row[v]]`; `row` None: all at `rows_h[0]`.

    A time that is NaN drops that point for the voxels of its row, as a missing value does for one voxel.
    """

    rows_h: Float64[np.ndarray, "rows times"]
    row: Integer[np.ndarray, " voxels"] | None = None

    @classmethod
    def of(cls, times_h: "ArrayLike | ScanTimes", n_voxels: int, n_times: int) -> "ScanTimes":
        """From [times], [voxels, times] or these; ValueError where they do not fit voxels and times."""
        if not isinstance(times_h, ScanTimes):
            given = np.asarray(times_h, dtype=np.float64)
            if given.shape == (n_times,):
                return cls(given[None])
            if given.shape != (n_voxels, n_times):
                raise ValueError(
                    f"activity has shape {(n_voxels, n_times)}, so times need {n_times} entries or that shape, "
                    f"got {given.shape}"
                )
            return cls.from_scans(list(given.T))
        found = (n_voxels if times_h.row is None else times_h.row.size, times_h.rows_h.shape[1])
        if found != (n_voxels, n_times):
            raise ValueError(f"activity has shape {(n_voxels, n_times)}, its scan times are for {found}")
        return times_h

    @classmethod
    def from_scans(cls, scans: Sequence[ArrayLike | float]) -> "ScanTimes":
        """From one entry for each scan: its time, or [voxels] the time at which it saw each voxel (NaN: it did not)."""
        columns = [np.asarray(scan, dtype=np.float64) for scan in scans]
        sizes = {column.size for column in columns if column.ndim}
        if not sizes:
            return cls(np.array([columns], dtype=np.float64))
        if len(sizes) > 1:
            raise ValueError(f"scan times of {sorted(sizes)} voxels were given, all scans need the same number")
        changed = np.zeros(max(sizes.pop() - 1, 0), dtype=bool)  # neighbours mostly share their times
        for column in columns:
            if column.ndim:
                changed |= (column[1:] != column[:-1]) & ~(np.isnan(column[1:]) & np.isnan(column[:-1]))
        starts = np.concatenate([[0], np.flatnonzero(changed) + 1])
        row, at_starts = np.zeros(starts.size, dtype=np.intp), np.empty((starts.size, len(columns)))
        for scan, column in enumerate(columns):
            at_starts[:, scan] = column[starts] if column.ndim else column
            if column.ndim:
                values, which = np.unique(at_starts[:, scan], return_inverse=True)
                row = np.unique(row * values.size + which, return_inverse=True)[1]
        first = np.unique(row, return_index=True)[1]
        return cls(at_starts[first], np.repeat(row, np.diff(starts, append=changed.size + 1)))

    def part(self, voxels: Voxels) -> "ScanTimes":
        """The times of these voxels."""
        return self if self.row is None else ScanTimes(self.rows_h, self.row[voxels])

    def expanded(self) -> F64:
        """[voxels, times] h, or [1, times] where all voxels share them."""
        return self.rows_h if self.row is None else self.rows_h[self.row]

    def groups(self, rate_p: float) -> Iterator["Group"]:
        """Voxels that share their times; `InputError` where a row of times makes no sense (`check_times`)."""
        if self.row is None:
            yield Group.of(None, self.rows_h[0], rate_p)
            return
        order = np.argsort(self.row, kind="stable")
        ends = np.cumsum(np.bincount(self.row, minlength=len(self.rows_h)))
        for row_h, voxels in zip(self.rows_h, np.split(order, ends[:-1]), strict=True):
            if voxels.size:
                yield Group.of(voxels, row_h, rate_p)


@dataclass(frozen=True, eq=False)
class Group:
    """Voxels (None: all) with the same increasing `times_h`, which are those `columns` of their activity."""

    voxels: NDArray[np.intp] | None
    times_h: F64
    columns: NDArray[np.intp]

    @classmethod
    def of(cls, voxels: NDArray[np.intp] | None, row_h: F64, rate_p: float) -> "Group":
        """Times put in order and checked; where voxels have rows of their own, NaN is a scan that did not see them."""
        order = np.argsort(row_h)
        if voxels is not None:
            order = order[~np.isnan(row_h[order])]
        if order.size or voxels is None:
            check_times(row_h[order], rate_p)
        return cls(voxels, row_h[order], order)

    @property
    def everyone(self) -> Voxels:
        """All voxels of the group as an index."""
        return slice(None) if self.voxels is None else self.voxels

    def size(self, n_voxels: int) -> int:
        """Number of voxels, out of `n_voxels`."""
        return n_voxels if self.voxels is None else self.voxels.size

    def batches(self, n_voxels: int, size: int) -> Iterator[Voxels]:
        """The voxels, out of `n_voxels`, in pieces of `size`."""
        for start in range(0, self.size(n_voxels), size):
            end = start + size
            yield slice(start, min(end, n_voxels)) if self.voxels is None else self.voxels[start:end]
