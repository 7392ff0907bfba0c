"""Sums of exponentials: value, exact integral, derivatives. Pure functions; fits live in `dosimetry.kinetics`."""

import numpy as np
from numpy.typing import ArrayLike

from nufitdose.types import F64


def value(amplitudes: ArrayLike, rates_per_h: ArrayLike, times_h: ArrayLike) -> F64:
    """f(t) = Σ_j a_j e^(-λ_j t); the terms j run along the last axis of `amplitudes` and `rates_per_h`."""
    a, lam, t = (np.asarray(x, dtype=np.float64) for x in (amplitudes, rates_per_h, times_h))
    result: F64 = (a[..., None, :] * np.exp(-lam[..., None, :] * t[..., :, None])).sum(axis=-1)
    return result


def integral(amplitudes: ArrayLike, rates_per_h: ArrayLike, start_h: float = 0.0, end_h: float = np.inf) -> F64:
    """Ã(t₁,t₂) = Σ_j a_j (e^(-λ_j t₁) - e^(-λ_j t₂)) / λ_j; over all time Ã = Σ_j a_j / λ_j.

    Every λ_j must be positive; written with expm1 so that short intervals keep their digits.
    """
    a, lam = (np.asarray(x, dtype=np.float64) for x in (amplitudes, rates_per_h))
    if not (lam > 0).all():
        raise ValueError("an integral of exponentials needs positive decay constants")
    weight = np.exp(-lam * start_h) * -np.expm1(-lam * (end_h - start_h)) / lam
    result: F64 = np.asarray((a * weight).sum(axis=-1))
    return result


def integral_gradient(amplitudes: ArrayLike, rates_per_h: ArrayLike) -> tuple[F64, F64]:
    """Derivatives of Ã = Σ a_j / λ_j: ∂Ã/∂a_j = 1/λ_j and ∂Ã/∂λ_j = -a_j/λ_j²."""
    a, lam = (np.asarray(x, dtype=np.float64) for x in (amplitudes, rates_per_h))
    return 1.0 / lam, -a / lam**2


def extrapolated_fraction(amplitudes: ArrayLike, rates_per_h: ArrayLike, last_h: float) -> F64:
    """Share of Ã that lies after the last measurement: Ã(t_n,∞)/Ã."""
    return np.asarray(integral(amplitudes, rates_per_h, last_h) / integral(amplitudes, rates_per_h))
