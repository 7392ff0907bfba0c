"""What the curves that agree with a structure's points say: the integral, its intervals, the tail, how far to trust."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from dosimetry.kinetics.few_points import trapezoid
from dosimetry.kinetics.models import model_named, physical_rate
from dosimetry.kinetics.posterior_curves import PosteriorCurves
from dosimetry.kinetics.priors import CurvePrior
from dosimetry.kinetics.status import FitStatus
from nufitdose import kinetics
from nufitdose.text import significant
from nufitdose.types import F64

Pair = tuple[float, float]
LEVEL_68, LEVEL_95 = 0.6827, 0.95
ASSUMED_U = 0.05  # of each value, where no uncertainty is given
RED_LIMIT = 0.2  # of Ã: where the 95 % interval reaches further, the number is weak
TAIL_LIMIT = 0.2  # share of Ã after the last scan from which it is told
START_LIMIT = 0.2  # share of Ã before the first scan from which it is told
PHYSICAL_TAIL = 0.9  # of the physical half-life: an effective one beyond is hardly told from it
UNDECIDED = 0.05  # of Ã: a standard deviation of the models' means from which their choice is told


@dataclass(frozen=True, eq=False)
class WeighedModel:
    """What one model says: its probability, χ² of its best curve, and mean and standard deviation of its own Ã.

    `amplitudes_mbq` and `rates_per_h`, slowest first, are its most probable curve that integrates to `tia_mbq_h`.
    """

    weight: float
    log_evidence: float
    chi2: float
    tia_mbq_h: float
    u_tia_mbq_h: float
    amplitudes_mbq: F64
    rates_per_h: F64

    def curve(self, times_h: ArrayLike) -> F64:
        """Activity, MBq, of that curve at any times >= 0 h."""
        return kinetics.value(self.amplitudes_mbq, self.rates_per_h, np.asarray(times_h, dtype=np.float64))


@dataclass(frozen=True, eq=False)
class AveragedCurve:
    """The curves of all models that agree with a structure's points, and the one that stands for them.

    `best` is the model of the largest weight, or a simpler one that it hardly surpasses; `amplitudes_mbq` and
    `rates_per_h`, slowest first, are its most probable curve that integrates to `tia_mbq_h`. `u_activity_mbq` [times]
    are the uncertainties that the curves were weighed with: as given, or assumed (`u_assumed`), times `birge_ratio`,
    which is 1 where some model follows the points. `remark` is what else is to be said of it.
    """

    best: str
    models: Mapping[str, WeighedModel]
    prior: CurvePrior
    half_life_h: float
    times_h: F64
    activity_mbq: F64
    u_activity_mbq: F64
    u_assumed: bool
    birge_ratio: float
    amplitudes_mbq: F64
    rates_per_h: F64
    curves: PosteriorCurves
    remark: str = ""

    @property
    def status(self) -> FitStatus:
        """How the structure was fitted: the status of the leading model."""
        return model_named(self.best).status

    @property
    def last_h(self) -> float:
        """Time of the last scan, h."""
        return float(self.times_h[-1])

    @property
    def fitted_mbq(self) -> F64:
        """[times]: the curve at the scans."""
        return self.curve(self.times_h)

    @cached_property
    def tia_mbq_h(self) -> float:
        """Ã: the median over curves of all models."""
        return float(np.median(self.curves.tia_mbq_h))

    @cached_property
    def tia_mean_mbq_h(self) -> float:
        """The mean of Ã."""
        return float(self.curves.tia_mbq_h.mean())

    @cached_property
    def u_tia_mbq_h(self) -> float:
        """The standard deviation of Ã, which holds noise, rates and the choice of a model."""
        return float(self.curves.tia_mbq_h.std())

    @cached_property
    def tia_68_mbq_h(self) -> Pair:
        """The 68 % interval of Ã."""
        return _interval(self.curves.tia_mbq_h, LEVEL_68)

    @cached_property
    def tia_95_mbq_h(self) -> Pair:
        """The 95 % interval of Ã."""
        return _interval(self.curves.tia_mbq_h, LEVEL_95)

    @cached_property
    def tia_at_most_mbq_h(self) -> float:
        """Ã if nothing were cleared after the last scan; no less than trapezoids give if no model fits."""
        curves, rate_p = self.curves, physical_rate(self.half_life_h)
        tail = curves.tail_at_most_mbq_h(self.last_h, rate_p)
        most = float(np.median(curves.tia_mbq_h - curves.tail_mbq_h(self.last_h) + tail))
        if self.birge_ratio > 1.0:
            most = max(most, float(trapezoid(self.activity_mbq.clip(0.0), self.times_h, self.half_life_h)))
        return most

    @property
    def rising(self) -> bool:
        """Whether the last of several scans saw the most activity."""
        return self.times_h.size > 1 and int(self.activity_mbq.argmax()) == self.times_h.size - 1

    @cached_property
    def teff_68_h(self) -> Pair:
        """The 68 % interval of the tail's half-life, ln 2 Ã(t_n, ∞)/f(t_n)."""
        return _interval(self.curves.teff_h(self.last_h), LEVEL_68)

    @cached_property
    def teff_95_h(self) -> Pair:
        """The 95 % interval of the same."""
        return _interval(self.curves.teff_h(self.last_h), LEVEL_95)

    @cached_property
    def teff_h(self) -> float:
        """The tail's half-life, h; NaN where activity is `rising`."""
        return float("nan") if self.rising else float(np.median(self.curves.teff_h(self.last_h)))

    @cached_property
    def extrapolated_fraction(self) -> float:
        """Share of Ã after the last scan."""
        return float(np.median(self._tail_share))

    @cached_property
    def u_extrapolated_fraction(self) -> float:
        """The standard deviation of that share."""
        return float(self._tail_share.std())

    @cached_property
    def before_first_fraction(self) -> float:
        """Share of Ã before the first scan."""
        return float(np.median(self._start_share))

    @cached_property
    def u_before_first_fraction(self) -> float:
        """The standard deviation of that share."""
        return float(self._start_share.std())

    @property
    def tail_held(self) -> bool:
        """Whether the points do not tell the tail from physical decay, whose integral is then an upper bound."""
        return self.rising or self.teff_h > PHYSICAL_TAIL * self.half_life_h

    @property
    def red(self) -> str:
        """Why not to rely on the number, "" where there is no reason."""
        if self.birge_ratio > 1.0:
            return "no curve follows the points within their uncertainties"
        if self.rising:
            return "activity still rises at the last scan: what follows is not measured"
        low, high = self.tia_95_mbq_h
        reach = max(self.tia_mbq_h - low, high - self.tia_mbq_h) / self.tia_mbq_h
        return (
            f"95 % of the curves that agree with the points reach ± {100.0 * reach:.0f} %" if reach > RED_LIMIT else ""
        )

    @property
    def flags(self) -> tuple[str, ...]:
        """What a reader should know of the curve."""
        flags = []
        if self.u_assumed:
            flags.append(f"uncertainty of the points assumed: {100.0 * ASSUMED_U:.0f} %")
        if self.birge_ratio > 1.0:
            flags.append(f"χ² rejects every model: uncertainties of the points multiplied by {self.birge_ratio:.2g}")
        if self._undecided:
            flags.append("the points do not tell the models apart, and their integrals differ")
        for share, u, limit, where in (
            (self.extrapolated_fraction, self.u_extrapolated_fraction, TAIL_LIMIT, "after the last scan"),
            (self.before_first_fraction, self.u_before_first_fraction, START_LIMIT, "before the first scan"),
        ):
            if share > limit:
                percent = f"{100.0 * share:.0f} ± {100.0 * u:.0f} %"
                flags.append(f"{percent} of the time-integrated activity lies {where}")
        if self.tail_held:
            most = f"{significant(self.tia_at_most_mbq_h, 4)} MBq·h"
            flags.append(f"the tail is not told from physical decay: {most}, nothing cleared, is an upper bound")
        if self.remark:
            flags.append(self.remark)
        return tuple(flags)

    def curve(self, times_h: ArrayLike) -> F64:
        """Activity, MBq, of the curve that stands for all, at any times >= 0 h."""
        return kinetics.value(self.amplitudes_mbq, self.rates_per_h, np.asarray(times_h, dtype=np.float64))

    def band_mbq(self, times_h: ArrayLike, level: float = LEVEL_68) -> tuple[F64, F64]:
        """The interval of activity, MBq, at any times."""
        low, high = np.quantile(self.curves.activity(times_h), [0.5 - level / 2, 0.5 + level / 2], axis=0)
        return low, high

    @property
    def _tail_share(self) -> F64:
        return self.curves.tail_mbq_h(self.last_h) / self.curves.tia_mbq_h

    @property
    def _start_share(self) -> F64:
        return self.curves.before_mbq_h(float(self.times_h[0])) / self.curves.tia_mbq_h

    @property
    def _undecided(self) -> bool:
        means, weights = (np.array([getattr(m, k) for m in self.models.values()]) for k in ("tia_mbq_h", "weight"))
        mean = float(weights @ means)
        return bool(np.sqrt(weights @ (means - mean) ** 2) > UNDECIDED * mean)


def _interval(values: F64, level: float) -> Pair:
    """The central interval of equally probable values."""
    low, high = np.quantile(values, [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)
