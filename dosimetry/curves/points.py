"""What a curve method is given: the points of a structure, or those of voxels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dosimetry.kinetics.priors import WIDE, CurvePrior
from nufitdose.types import F64, Curves, PerVoxel

IntervalKind = Literal["none", "profile", "bootstrap"]


@dataclass(frozen=True, eq=False)
class OrganPoints:
    """A structure's activity, MBq at `times_h`, and what is known beside it.

    `u_activity_mbq` is its standard uncertainty (None: not known), `population_h` the effective half-life of a
    population, `intervals` how 95 % intervals of a fitted curve are to be found, `prior` what is known of its rates
    beforehand.
    """

    times_h: F64
    activity_mbq: F64
    half_life_h: float
    u_activity_mbq: F64 | None = None
    population_h: float | None = None
    intervals: IntervalKind = "none"
    prior: CurvePrior = WIDE


@dataclass(frozen=True, eq=False)
class VoxelPoints:
    """Activity of voxels, [voxels, times] Bq/mL; of each scan its time, or [voxels] when it saw each voxel, in h."""

    activity: Curves
    times_h: Sequence[float | PerVoxel]
    half_life_h: float
    population_h: float | None = None
