"""The activity of each structure over time and the curve through it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from dosimetry.config import REST, KineticsSettings
from dosimetry.curves.rules import ONE_SCAN, organ_by_trapezoid, organ_from_one_scan
from dosimetry.kinetics import FitStatus, ModelChoice, OrganFit, choose_model, fit_organ
from dosimetry.kinetics.models import MODELS
from dosimetry.metrics import Region
from nufitdose.registration.series import Frame

log = logging.getLogger(__name__)

F64 = NDArray[np.float64]

CANDIDATES = ("mono", "f3", "f3a", "bi")  # what "auto" chooses from: the models that voxels can have too
_COVERED = 0.99  # share of a structure a field of view must hold for its activity to count
_MOST_U = 10.0  # times the integral: beyond, errors propagated linearly mean nothing
_LEAST_U = 0.01  # of the largest activity: the uncertainty of a value that is nearly nothing refers to this


@dataclass(frozen=True, eq=False)
class StructureCurve:
    """Activity of one structure, MBq at `times_h`, and the curve through it.

    `times_h` are when the structure itself was seen, `activity_mbq` NaN where a field of view cuts it,
    `u_activity_mbq` NaN where not known. `choice` holds the models compared, where the method is "auto"; `averaged`
    says that the integral is the mean over them.
    """

    times_h: F64
    activity_mbq: F64
    u_activity_mbq: F64
    fit: OrganFit
    choice: ModelChoice | None = None
    averaged: bool = False

    @property
    def model(self) -> str:
        """The model of the curve and of the structure's voxels."""
        return self.fit.model if self.choice is None else self.choice.best

    @property
    def teff_h(self) -> float:
        """Effective half-life of the last phase, h; NaN where there is none, or where Hänscheid's rule needs none."""
        return float("nan") if self.fit.status is FitStatus.HAENSCHEID else self.fit.teff_h

    @property
    def akaike_weight(self) -> float:
        """Weight of the model among those compared; NaN where there was no choice."""
        compared = self.choice is not None and len(self.choice.fits) > 1
        return self.choice.weights[self.choice.best] if self.choice and compared else float("nan")

    @property
    def tia_mbq_h(self) -> float:
        """Integral of the curve, or the mean over the models compared."""
        return self.choice.tia_mbq_h if self.averaged and self.choice else self.fit.tia_mbq_h

    @property
    def u_tia_mbq_h(self) -> float:
        """Its standard uncertainty by the fit, that of the choice included where averaged; NaN where not determined."""
        if not (self.averaged and self.choice):
            return self.fit.u_tia_mbq_h if _determined(self.fit) else float("nan")
        told = [(self.choice.weights[name], fit) for name, fit in self.choice.fits.items() if _determined(fit)]
        whole = sum(weight for weight, _ in told)
        if whole <= 0.0:
            return float("nan")
        spread = sum(w * np.hypot(fit.u_tia_mbq_h, fit.tia_mbq_h - self.tia_mbq_h) for w, fit in told)
        return float(spread / whole)


def _determined(fit: OrganFit) -> bool:
    """Whether u(Ã) is known and means something: a parameter left open (an uptake that no scan saw) makes it huge."""
    return bool(fit.u_tia_mbq_h <= _MOST_U * fit.tia_mbq_h)


def u_of_curve_mbq(fit: OrganFit, times_h: F64) -> F64 | None:
    """Standard uncertainty of the fitted activity, √(J V Jᵀ) MBq at `times_h`; None where it is not known.

    The fit lists its terms by rate, V the parameters as the model does: the order that gives u(Ã) is the model's.
    """
    known = _determined(fit) and np.isfinite(fit.covariance).all()
    if fit.model not in MODELS or not fit.rates_per_h.size or fit.rising_share or not known:
        return None
    model = MODELS[fit.model]
    for order in permutations(range(fit.rates_per_h.size)):
        rates, terms = fit.rates_per_h[list(order)], fit.amplitudes_mbq[list(order)]
        amplitudes = np.asarray(np.linalg.lstsq(model.matrix.T, terms)[0], dtype=np.float64)
        gradient = model.tia_gradient(amplitudes, rates)
        u_tia = np.sqrt(gradient @ fit.covariance @ gradient)
        if np.allclose(amplitudes @ model.matrix, terms) and np.isclose(u_tia, fit.u_tia_mbq_h):
            jacobian = model.jacobian(times_h, amplitudes, rates)
            return np.sqrt(np.einsum("tk,kl,tl->t", jacobian, fit.covariance, jacobian).clip(0.0))
    return None


def structure_curves(
    frames: Sequence[Frame], regions: Mapping[str, Region], settings: KineticsSettings, half_life_h: float
) -> dict[str, StructureCurve]:
    """A curve for every region, and under "rest" that of the whole body, whose model the other voxels take."""
    found = {}
    for name, region in regions.items():
        seen = [_seen(region, frame, half_life_h) for frame in frames]
        found[name] = _curve(name, np.array(seen), settings, half_life_h)
    whole = np.array([_whole_body(frames, number, half_life_h) for number in range(len(frames))])
    found[REST] = _curve(REST, whole, settings, half_life_h)
    return found


def warn_of_cuts(curves: Mapping[str, StructureCurve], frames: Sequence[Frame]) -> None:
    """Say which structures are not wholly seen by which scans."""
    for name, curve in curves.items():
        for frame, activity in zip(frames, curve.activity_mbq, strict=True):
            if np.isnan(activity):
                log.warning(
                    "part of structure %r lies outside scan %s: that time is left out of its curve", name, frame.id
                )


def _curve(name: str, seen: F64, settings: KineticsSettings, half_life_h: float) -> StructureCurve:
    """The curve through `seen` [scans, (h, MBq)]."""
    times_h, activity = seen[:, 0], seen[:, 1]
    u = np.full_like(activity, np.nan)
    if settings.u_activity_percent is not None and np.isfinite(activity).any():
        largest = float(np.nanmax(np.abs(activity)))
        u = settings.u_activity_percent / 100.0 * np.maximum(np.abs(activity), _LEAST_U * largest)
    known = u if (u > 0).any() else None
    method = settings.method(name)
    if method == "auto":
        choice = choose_model(times_h, activity, half_life_h, u_activity_mbq=known, models=CANDIDATES)
        return StructureCurve(times_h, activity, u, choice.fit, choice, settings.averaged)
    if method in ONE_SCAN:
        population_h = settings.half_lives_h.get(name)
        fit = organ_from_one_scan(
            method, times_h, activity, half_life_h, population_h=population_h, u_activity_mbq=known
        )
    elif method == "trapezoid":
        fit = organ_by_trapezoid(times_h, activity, half_life_h, u_activity_mbq=known)
    else:
        fit = fit_organ(times_h, activity, half_life_h, u_activity_mbq=known, model=method)
    return StructureCurve(times_h, activity, u, fit)


def _seen(region: Region, frame: Frame, half_life_h: float) -> tuple[float, float]:
    """When a scan saw the structure, h, and its activity then, MBq; NaN where the field of view cuts it."""
    if frame.inside is not None:
        held = float(frame.inside.reshape(-1)[region.index] @ region.part_ml) / region.volume_ml
        if held < _COVERED:
            return frame.time_h, float("nan")
    return _mean_time_and_sum(region.values(frame.activity) * region.part_ml, frame, region.index, half_life_h)


def _whole_body(frames: Sequence[Frame], number: int, half_life_h: float) -> tuple[float, float]:
    """The same for all voxels that every scan sees."""
    frame = frames[number]
    volume_ml = frame.activity.grid.voxel_volume_ml
    common = [other.inside for other in frames if other.inside is not None]
    if not common:
        return _mean_time_and_sum(frame.activity.data.reshape(-1) * volume_ml, frame, slice(None), half_life_h)
    index = np.flatnonzero(np.logical_and.reduce(common))
    return _mean_time_and_sum(frame.activity.data.reshape(-1)[index] * volume_ml, frame, index, half_life_h)


def _mean_time_and_sum(
    activity_bq: NDArray[np.floating], frame: Frame, index: NDArray[np.int64] | slice, half_life_h: float
) -> tuple[float, float]:
    """Σ A at the mean time of its voxels, weighted by their activity, so that it is exact to first order."""
    if frame.offset_h is None or not activity_bq.size:
        return frame.time_h, 1e-6 * float(activity_bq.sum(dtype=np.float64))
    offset_h = frame.offset_h.reshape(-1)[index]
    own = activity_bq * 2.0 ** (-offset_h / half_life_h)
    total = float(own.sum(dtype=np.float64))
    mean_h = float(np.dot(own, offset_h)) / total if total > 0.0 else 0.0
    return frame.time_h + float(np.clip(mean_h, offset_h.min(), offset_h.max())), 1e-6 * total
