"""Dose-volume histograms and the numbers read off them (ICRU reports 83 and 91)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nufitdose.types import F64, Numbers

SMALL_ML = 2.0  # below this ICRU 91 wants the dose to 35 mm³ in place of D2%
NEAR_EXTREME_ML = 0.035


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
        return self.dose_at_volume(percent / 100.0 * self.total_ml)

    def volume_at_dose_ml(self, dose_gy: float) -> float:
        """The volume that receives at least `dose_gy`."""
        count = int(np.searchsorted(-self.dose_gy, -dose_gy, side="right"))
        return float(self.volume_ml[count - 1]) if count else 0.0

    def v_percent(self, dose_gy: float) -> float:
        """V_x: percent of the volume that receives at least `dose_gy`."""
        return 100.0 * self.volume_at_dose_ml(dose_gy) / self.total_ml

    @property
    def total_ml(self) -> float:
        """Volume of the structure."""
        return float(self.volume_ml[-1])

    @property
    def near_maximum_gy(self) -> float:
        """D2%; below 2 mL the dose to 35 mm³, which most SPECT voxels exceed: it is then the maximum (ICRU 83, 91)."""
        return self.d_percent(2.0) if self.total_ml >= SMALL_ML else self.dose_at_volume(NEAR_EXTREME_ML)

    @property
    def near_minimum_gy(self) -> float:
        """D98%; below 2 mL the dose to all but 35 mm³ (ICRU 83; 91 as recalled, unverified)."""
        if self.total_ml >= SMALL_ML:
            return self.d_percent(98.0)
        return self.dose_at_volume(max(self.total_ml - NEAR_EXTREME_ML, NEAR_EXTREME_ML))

    @property
    def homogeneity_index(self) -> float:
        """HI = (D2% - D98%)/D50% (ICRU 83, as recalled), 0 where the dose is uniform; NaN without dose."""
        median = self.d_percent(50.0)
        return (self.d_percent(2.0) - self.d_percent(98.0)) / median if median > 0 else float("nan")

    def d_cc(self, volume_ml: float) -> float:
        """D_x cc: the largest dose that at least `volume_ml` receives; NaN where the structure is smaller."""
        return self.dose_at_volume(volume_ml) if volume_ml <= self.total_ml * (1.0 + 1e-12) else float("nan")

    def geud(self, a: float) -> float:
        """gEUD = (Σ v_i D_i^a)^(1/a), v_i shares of the volume; a = 1 is the mean (Niemierko 1999, as recalled).

        `ValueError` for a = 0. With a < 0 a voxel without dose makes it 0.
        """
        if a == 0:
            raise ValueError("gEUD needs an exponent other than 0")
        share = np.diff(self.volume_ml, prepend=0.0) / self.total_ml
        if not self.dose_gy[0] > 0 or (a < 0 and self.dose_gy[-1] <= 0):
            return 0.0
        largest = self.dose_gy[0] if a > 0 else self.dose_gy[-1]  # of D^a: what is left of it is at most 1
        return float(largest * (share @ (self.dose_gy / largest) ** a) ** (1.0 / a))

    @property
    def mean_gy(self) -> float:
        """Mass-weighted mean, Σ m d / Σ m."""
        return float(self.mass_g @ self.dose_gy / self.mass_g.sum())

    def metrics(
        self, volume_at_gy: Sequence[float] = (), dose_at_ml: Sequence[float] = (), geud_a: float | None = None
    ) -> dict[str, float]:
        """Mean, D2%, D50%, D98%, extremes and near-extremes, HI, and V_x, D_x cc and gEUD as asked for.

        Keys are the columns of metrics.csv. D35mm³ is NaN for structures of 2 mL and more (ICRU 91).
        """
        found = {
            "dose_mean_gy": self.mean_gy,
            "dose_d2_gy": self.d_percent(2.0),
            "dose_d50_gy": self.d_percent(50.0),
            "dose_d98_gy": self.d_percent(98.0),
            "dose_min_gy": float(self.dose_gy[-1]),
            "dose_max_gy": float(self.dose_gy[0]),
            "dose_d35mm3_gy": self.near_maximum_gy if self.total_ml < SMALL_ML else float("nan"),
            "dose_near_min_gy": self.near_minimum_gy,
            "dose_near_max_gy": self.near_maximum_gy,
            "homogeneity_index": self.homogeneity_index,
            "geud_gy": self.geud(geud_a) if geud_a is not None else float("nan"),
        }
        found |= {f"v_{gy:g}gy_percent": self.v_percent(gy) for gy in volume_at_gy}
        return found | {f"d_{ml:g}cc_gy": self.d_cc(ml) for ml in dose_at_ml}

    def curve(self, points: int = 200) -> tuple[F64, F64]:
        """Doses from 0 to the maximum and the percent of the volume that receives at least each."""
        dose = np.linspace(0.0, float(self.dose_gy[0]), points)
        return dose, np.array([self.v_percent(d) for d in dose])

    def differential_ml_per_gy(self, points: int = 200) -> F64:
        """-dV/dD between neighbouring doses of `curve`, the last interval with its end; NaN where no dose is."""
        dose_gy = np.linspace(0.0, float(self.dose_gy[0]), points)
        if not dose_gy[-1] > 0:
            return np.full(points - 1, np.nan)
        held_ml, _ = np.histogram(self.dose_gy, bins=dose_gy, weights=np.diff(self.volume_ml, prepend=0.0))
        return np.asarray(held_ml / np.diff(dose_gy))


def dose_volume_metrics(
    dose_gy: Numbers,
    part_ml: Numbers,
    density_g_ml: Numbers = 1.0,
    *,
    volume_at_gy: Sequence[float] = (),
    dose_at_ml: Sequence[float] = (),
    geud_a: float | None = None,
) -> dict[str, float]:
    """`DoseVolume.metrics` of voxels with these doses, volumes within the structure and densities."""
    return DoseVolume.of(dose_gy, part_ml, density_g_ml).metrics(volume_at_gy, dose_at_ml, geud_a)
