"""The recovery curve through the readings of spheres, judged on spheres it has not seen."""

from collections.abc import Sequence
from dataclasses import dataclass

import lmfit
import numpy as np

from nufitdose.errors import InputError
from nufitdose.scanner import RecoveryCurve
from nufitdose.spheres.measurement import SphereReading
from nufitdose.types import F64

_LEAST_SPHERES = 3  # two parameters and one sphere to judge them by


@dataclass(frozen=True)
class HeldOut:
    """A sphere predicted by the curve of the others: R as measured, as predicted, and the standard uncertainty of the
    difference, by the curve and by the scatter about it."""

    name: str
    measured: float
    predicted: float
    u: float


@dataclass(frozen=True)
class RecoveryFit:
    """The curve, the root mean square residual of R about it, and every sphere held out once."""

    curve: RecoveryCurve
    scatter: float
    held_out: tuple[HeldOut, ...]


def fit_recovery(readings: Sequence[SphereReading]) -> RecoveryFit:
    """Fit R(V) = 1 - 1/(1 + (V/β1)^β2) by least squares; `InputError` with fewer than three volumes.

    The covariance is (JᵀJ)⁻¹ χ²/(n - 2), of ln β1 and ln β2 carried over to β1 and β2.
    """
    volumes = np.array([reading.volume_ml for reading in readings])
    if len(set(np.round(volumes, 6))) < _LEAST_SPHERES:
        raise InputError(
            f"{len(set(np.round(volumes, 6)))} volumes were given, a recovery curve needs {_LEAST_SPHERES} or more",
            remedy="Draw every sphere of the phantom with a label of its own",
        )
    values = np.array([reading.recovery for reading in readings])
    curve, scatter = _fit(volumes, values)
    held_out = []
    for number, reading in enumerate(readings):
        rest = np.arange(len(readings)) != number
        if len(set(np.round(volumes[rest], 6))) < _LEAST_SPHERES:
            continue
        other, spread = _fit(volumes[rest], values[rest])
        u = float(np.hypot(other.u(reading.volume_ml), spread))
        held_out.append(HeldOut(reading.name, reading.recovery, other.value(reading.volume_ml), u))
    return RecoveryFit(curve, scatter, tuple(held_out))


def _fit(volumes: F64, values: F64) -> tuple[RecoveryCurve, float]:
    def residual(parameters: lmfit.Parameters) -> F64:
        p = parameters.valuesdict()
        x = np.exp(np.exp(p["ln_beta2"]) * (np.log(volumes) - p["ln_beta1"]))
        return np.asarray(x / (1.0 + x) - values)

    start = lmfit.Parameters()
    start.add("ln_beta1", value=float(np.log(np.median(volumes))), min=-12.0, max=12.0)
    start.add("ln_beta2", value=0.0, min=-3.0, max=3.0)
    found = lmfit.minimize(residual, start, scale_covar=True)
    if not found.success or getattr(found, "covar", None) is None:
        raise InputError(
            "no recovery curve goes through these spheres",
            remedy="Check that recovery grows with the volume: the concentrations, the labels, the calibration",
        )
    beta1, beta2 = np.exp(found.params["ln_beta1"].value), np.exp(found.params["ln_beta2"].value)
    scale = np.diag([beta1, beta2])
    (a, b), (c, d) = (scale @ found.covar @ scale).tolist()
    scatter = float(np.sqrt(found.chisqr / max(found.nfree, 1)))
    return RecoveryCurve(float(beta1), float(beta2), ((a, 0.5 * (b + c)), (0.5 * (b + c), d))), scatter
