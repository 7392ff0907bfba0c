"""The same chain by drawing: what the law of propagation leaves out where errors are large or a step is bent."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nufitdose.psf import sphere_recovery
from nufitdose.types import F64

_LEAST_VOLUME = 0.05  # of the volume: an outline cannot be drawn smaller than this


@dataclass(frozen=True)
class ChainErrors:
    """One structure: its size, the resolution it is seen with, and the relative u of what errs by itself.

    `edge` is the concentration at the outline over the mean, `exponent` c of S ∝ V^(-c). `curve` holds everything that
    is independent between scans, as it arrives in Ã.
    """

    volume_ml: float
    fwhm_mm: float
    edge: float
    exponent: float
    volume: float
    recovery: float
    calibration: float
    curve: float
    s_value: float


@dataclass(frozen=True, eq=False)
class Draws:
    """Ã and mean dose of every draw, as factors of what was found."""

    tia: F64
    dose: F64

    @property
    def relative_u_tia(self) -> float:
        """Standard deviation of Ã over what was found."""
        return float(self.tia.std())

    @property
    def relative_u_dose(self) -> float:
        """Standard deviation of the dose over what was found."""
        return float(self.dose.std())


def draw_chain(errors: ChainErrors, *, draws: int = 20_000, seed: int = 0) -> Draws:
    """Draw every cause, and carry each draw through counts, recovery, calibration, curve and S.

    V' = V (1 + u z), C' = C (1 + edge (V'/V - 1)), R' = R(V') (1 + u z), Ã' = Ã (C'/C) (R/R') (Q'/Q) (1 + u z),
    S' = S (V'/V)^(-c) (1 + u z); all z standard normal.
    """
    normal = np.random.default_rng(seed).standard_normal
    ratio = np.maximum(1.0 + errors.volume * normal(draws), _LEAST_VOLUME)
    counts = 1.0 + errors.edge * (ratio - 1.0)
    recovery = _recovery_ratio(errors.volume_ml, errors.fwhm_mm)(ratio) * (1.0 + errors.recovery * normal(draws))
    scale = (1.0 + errors.calibration * normal(draws)) * (1.0 + errors.curve * normal(draws))
    tia = counts / recovery * scale
    return Draws(tia, tia * ratio**-errors.exponent * (1.0 + errors.s_value * normal(draws)))


def _recovery_ratio(volume_ml: float, fwhm_mm: float) -> Callable[[F64], F64]:
    """R(V')/R(V) as a function of V'/V, off a table."""
    ratios = np.geomspace(_LEAST_VOLUME, 20.0, 200)
    table = np.array([sphere_recovery(volume_ml * ratio, fwhm_mm) for ratio in ratios])
    own = sphere_recovery(volume_ml, fwhm_mm)
    return lambda ratio: np.interp(ratio, ratios, table / own)
