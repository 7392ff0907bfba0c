"""Dose-volume histograms and the numbers read off them (ICRU reports 83 and 91)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nufitdose.types import F64, Numbers

SMALL_ML = 2.0  # below this ICRU 91 wants the dose to 35 mm³ in place of D2%
NEAR_MAXIMUM_ML = 0.035


@dataclass(frozen=True, eq=False)
class DoseVolume:
    """The cumulative histogram of one structure: doses in falling order and the volume that reaches each.

    `dose_gy[n]` is received by at least `volume_ml[n]`; `mass_g` is that of each dose's own voxel.
    """

    dose_gy: F64
    volume_ml: F64
    mass_g: F64

    @classmethod
    def of(cls, dose_gy: Numbers, part_ml: Numbers, density_g_ml: Numbers = 1.0) -> "DoseVolume":
        """The histogram of voxels with these doses, volumes within the structure and densities."""
        dose, part = np.asarray(dose_gy, dtype=np.float64).ravel(), np.asarray(part_ml, dtype=np.float64).ravel()
        if dose.size == 0 or dose.shape != part.shape or not (part > 0).all() or not np.isfinite(dose).all():
            raise ValueError("a dose-volume histogram needs finite doses, one positive volume each")
        order = np.argsort(-dose, kind="stable")
        mass = part * np.broadcast_to(np.asarray(density_g_ml, dtype=np.float64), dose.shape)
        return cls(dose[order], np.cumsum(part[order]), mass[order])

    def dose_at_volume(self, volume_ml: float) -> float:
        """The largest dose that at least `volume_ml` receives; the minimum where the structure is smaller."""
        reached = np.searchsorted(self.volume_ml, volume_ml * (1.0 - 1e-12))
        return float(self.dose_gy[min(int(reached), self.dose_gy.size - 1)])

    def d_percent(self, percent: float) -> float:
        """D_x% = max{d : V(d) >= x % of the volume}: D98% near-minimum, D2% near-maximum (ICRU 83)."""
        return self.dose_at_volume(percent / 100.0 * float(self.volume_ml[-1]))

    def v_percent(self, dose_gy: float) -> float:
        """V_x: percent of the volume that receives at least `dose_gy`."""
        count = int(np.searchsorted(-self.dose_gy, -dose_gy, side="right"))
        return 100.0 * float(self.volume_ml[count - 1] / self.volume_ml[-1]) if count else 0.0

    @property
    def mean_gy(self) -> float:
        """Mass-weighted mean, Σ m d / Σ m."""
        return float(self.mass_g @ self.dose_gy / self.mass_g.sum())

    def curve(self, points: int = 200) -> tuple[F64, F64]:
        """Doses from 0 to the maximum and the percent of the volume that receives at least each."""
        dose = np.linspace(0.0, float(self.dose_gy[0]), points)
        return dose, np.array([self.v_percent(d) for d in dose])


def dose_volume_metrics(
    dose_gy: Numbers, part_ml: Numbers, density_g_ml: Numbers = 1.0, *, volume_at_gy: Sequence[float] = ()
) -> dict[str, float]:
    """Mean (mass-weighted), D2%, D50%, D98%, extremes, D to 35 mm³ where the structure is under 2 mL, and V_x.

    Keys are the columns of metrics.csv. D35mm³ is NaN for structures of 2 mL and more (ICRU 91).
    """
    histogram = DoseVolume.of(dose_gy, part_ml, density_g_ml)
    small = float(histogram.volume_ml[-1]) < SMALL_ML
    metrics = {
        "dose_mean_gy": histogram.mean_gy,
        "dose_d2_gy": histogram.d_percent(2.0),
        "dose_d50_gy": histogram.d_percent(50.0),
        "dose_d98_gy": histogram.d_percent(98.0),
        "dose_min_gy": float(histogram.dose_gy[-1]),
        "dose_max_gy": float(histogram.dose_gy[0]),
        "dose_d35mm3_gy": histogram.dose_at_volume(NEAR_MAXIMUM_ML) if small else float("nan"),
    }
    return metrics | {f"v_{gy:g}gy_percent": histogram.v_percent(gy) for gy in volume_at_gy}
