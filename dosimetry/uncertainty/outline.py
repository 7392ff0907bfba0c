"""What an outline drawn a little wider or narrower does to a structure's volume, activity and mass."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nufitdose.anatomy.regions import Region
from nufitdose.grid import Grid
from nufitdose.types import F64
from nufitdose.volume import Volume


@dataclass(frozen=True, eq=False)
class Outline:
    """The surface of a structure as voxels see it: flat indices and mL gained in each for every mm outward.

    The rate is |∇ share| times the volume of the voxel: ∫ c |∇ share| dV is the integral of c over the surface, for
    shares of voxels as for masks of whole voxels (up to a tenth high where the surface runs across the axes).
    """

    index: NDArray[np.int64]
    ml_per_mm: F64
    volume_ml: float

    @classmethod
    def of(cls, region: Region, grid: Grid) -> "Outline":
        """The outline of a region on its grid."""
        where = np.array(np.unravel_index(region.index, grid.shape))
        low = where.min(axis=1) - 1
        shape = where.max(axis=1) - low + 2
        share = np.zeros(shape)
        share[tuple(where - low[:, None])] = region.part_ml / grid.voxel_volume_ml
        slopes = [np.gradient(share, step, axis=axis) for axis, step in enumerate(grid.spacing_mm)]
        rate = np.sqrt(sum(slope**2 for slope in slopes)) * grid.voxel_volume_ml
        at = np.argwhere(rate > 0) + low
        inside = ((at >= 0) & (at < np.array(grid.shape))).all(axis=1)
        index = np.ravel_multi_index(tuple(at[inside].T), grid.shape)
        return cls(np.asarray(index, dtype=np.int64), rate[rate > 0][inside], region.volume_ml)

    @cached_property
    def volume_per_mm(self) -> float:
        """d ln V / d mm."""
        return float(self.ml_per_mm.sum()) / self.volume_ml

    @property
    def area_mm2(self) -> float:
        """The surface, mm²."""
        return 1000.0 * float(self.ml_per_mm.sum())

    def edge(self, image: Volume, inside: Region) -> float:
        """Mean of an image over the surface, over its mean within; 1 where there is nothing within."""
        mean = inside.mean(image)
        values = np.nan_to_num(image.data.reshape(-1)[self.index].astype(np.float64))
        return float(values @ self.ml_per_mm / self.ml_per_mm.sum()) / mean if mean > 0 else 1.0


def relative_u_of_rounding(outline: Outline, voxel_ml: float) -> float:
    """u(V)/V of a label map of whole voxels: each voxel that the surface cuts errs by v/√12, independently.

    A calliper errs alike at both ends (a²/6); a mask of N surface voxels errs by v √(N/12).
    """
    cut = outline.area_mm2 / (1000.0 * voxel_ml) ** (2.0 / 3.0)
    return voxel_ml * float(np.sqrt(cut / 12.0)) / outline.volume_ml
