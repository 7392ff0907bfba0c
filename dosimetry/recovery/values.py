"""What is known of the recovery of each structure at each scan."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

Method = Literal["none", "volume", "gtm"]


@dataclass(frozen=True)
class StructureRecovery:
    """How a structure reads at one scan: `value` = activity measured / activity without blur, spill-in included.

    `method` is what its activity was corrected by. With `assumed`, nothing was corrected and `value` is what an assumed
    resolution would make of it. `relative_u` is the relative standard uncertainty of `value` by that of the resolution
    or of the recovery curve; contours are not in it: R depends on the volume as `volume_slope` = d ln R / d ln V, so
    that the relative covariance of R and V is `volume_slope` [u(V)/V]². `noise` is by how much the correction
    multiplies the standard error of the mean, 1 where nothing was corrected.
    """

    name: str
    timepoint: str
    value: float
    relative_u: float
    method: Method
    assumed: bool
    volume_slope: float
    noise: float = 1.0


@dataclass(frozen=True)
class Recovery:
    """The recovery of all structures of a study, by structure and scan.

    `method` is what was applied, `fwhm_mm` the resolutions it or the assumption rests on, lowest and highest: near the
    surface and deep where the scanner is described at two depths;
    `total_change_percent` by how much the correction changed the activity of each scan within the field of view.
    """

    method: Method
    assumed: bool
    fwhm_mm: tuple[float, float]
    structures: Mapping[str, tuple[StructureRecovery, ...]] = field(default_factory=dict)
    total_change_percent: Mapping[str, float] = field(default_factory=dict)

    def value(self, name: str) -> float:
        """R of a structure over all scans, their geometric mean; NaN where it is not known."""
        known = [row.value for row in self.structures.get(name, ()) if np.isfinite(row.value) and row.value > 0]
        return float(np.exp(np.mean(np.log(known)))) if known else float("nan")

    def relative_u(self, name: str) -> float:
        """Its relative standard uncertainty, common to all scans; NaN where it is not known."""
        known = [row.relative_u for row in self.structures.get(name, ()) if np.isfinite(row.relative_u)]
        return float(np.mean(known)) if known else float("nan")

    def method_of(self, name: str) -> Method:
        """What a structure was corrected by: the small ones otherwise than the others, where the matrix fails them."""
        rows = self.structures.get(name, ())
        return rows[0].method if rows else "none"


#: Nothing was corrected and nothing is known.
UNKNOWN = Recovery("none", True, (float("nan"), float("nan")))
