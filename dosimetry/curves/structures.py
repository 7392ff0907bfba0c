"""The activity of each structure over time and the curve through it."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from dosimetry.config import REST, KineticsSettings
from dosimetry.curves.fits import representative_fit
from dosimetry.curves.methods import find_method
from dosimetry.curves.points import OrganPoints
from dosimetry.kinetics import AveragedCurve, FitStatus, ModelChoice, OrganFit, fit_shared
from dosimetry.kinetics.models import MODELS
from dosimetry.kinetics.priors import CurvePrior, find_prior
from dosimetry.metrics import Region
from nufitdose.registration.series import Frame
from nufitdose.types import F64

log = logging.getLogger(__name__)


_COVERED = 0.99  # share of a structure a field of view must hold for its activity to count
_MOST_U = 10.0  # times the integral: beyond, errors propagated linearly mean nothing
_LEAST_U = 0.01  # of the largest activity: the uncertainty of a value that is nearly nothing refers to this


@dataclass(frozen=True, eq=False)
class StructureCurve:
    """Activity of one structure, MBq at `times_h`, and the curve through it.

    `times_h` are when the structure itself was seen, `activity_mbq` NaN where a field of view cuts it,
    `u_activity_mbq` NaN where not known. `choice` holds the models compared, where the method chooses; `averaged`
    says that the integral is the mean over them. `average` holds the models that "bayes" averages, `fit` is then the
    curve that stands for them. `shared_with` names the structures whose rates it shares.
    """

    times_h: F64
    activity_mbq: F64
    u_activity_mbq: F64
    fit: OrganFit
    choice: ModelChoice | None = None
    averaged: bool = False
    average: AveragedCurve | None = None
    shared_with: tuple[str, ...] = ()

    @property
    def model(self) -> str:
        """The model of the curve; the leading one of an average."""
        return self.fit.model if self.choice is None else self.choice.best

    @property
    def voxel_model(self) -> str:
        """The model of the structure's voxels: that of the curve, as far as voxels (no tri) and points allow."""
        if self.average is None:
            return self.model
        model = "f3" if self.model == "tri" else self.model
        return model if MODELS[model].n_parameters <= self.average.times_h.size else "mono"

    @property
    def teff_h(self) -> float:
        """Effective half-life of the last phase, h; NaN where there is none, or where Hänscheid's rule needs none.

        Of an average that of its tail; NaN where activity still rises.
        """
        if self.average is not None:
            return self.average.teff_h
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
            return self.fit.u_tia_mbq_h if _is_determined(self.fit) else float("nan")
        told = [(self.choice.weights[name], fit) for name, fit in self.choice.fits.items() if _is_determined(fit)]
        whole = sum(weight for weight, _ in told)
        if whole <= 0.0:
            return float("nan")
        spread = sum(w * np.hypot(fit.u_tia_mbq_h, fit.tia_mbq_h - self.tia_mbq_h) for w, fit in told)
        return float(spread / whole)


@dataclass(frozen=True, eq=False)
class BodyCurves:
    """The curves of the structures by name, and that of the whole body, whose model the voxels of no structure take."""

    structures: Mapping[str, StructureCurve]
    whole_body: StructureCurve

    def of(self, name: str) -> StructureCurve:
        """The curve of a structure; for "rest" that of the whole body."""
        return self.whole_body if name == REST else self.structures[name]


def _is_determined(fit: OrganFit) -> bool:
    """Whether u(Ã) is known and means something: a parameter left open (an uptake that no scan saw) makes it huge."""
    return bool(fit.u_tia_mbq_h <= _MOST_U * fit.tia_mbq_h)


def u_of_curve_mbq(fit: OrganFit, times_h: F64) -> F64 | None:
    """Standard uncertainty of the fitted activity, √(J V Jᵀ) MBq at `times_h`; None where it is not known.

    The fit lists its terms by rate, V the parameters as the model does: the order that gives u(Ã) is the model's.
    """
    known = _is_determined(fit) and np.isfinite(fit.covariance).all()
    if fit.model not in MODELS or not fit.rates_per_h.size or fit.rising_share or not known:
        return None
    model = MODELS[fit.model]
    if len(fit.covariance) != model.n_parameters:  # rates that are shared are not in it
        return None
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
    frames: Sequence[Frame],
    regions: Mapping[str, Region],
    settings: KineticsSettings,
    half_life_h: float,
    *,
    tumours: Collection[str] = (),
) -> BodyCurves:
    """A curve for every region and for the whole body, whose model the voxels of no structure take.

    `tumours` names the regions whose rates are expected to be those of tumours.
    """
    found = {}
    priors = {name: find_prior(settings.tracer or "", name, tumour=name in tumours) for name in (*regions, REST)}
    together = {name for group in settings.shared_rates for name in group}
    for name, region in regions.items():
        points = np.array([_observe(region, frame, half_life_h) for frame in frames])
        found[name] = _curve(name, points, settings, half_life_h, priors[name], alone=name not in together)
    for group in settings.shared_rates:
        found |= share_rates({name: found[name] for name in group}, settings.method(group[0]), half_life_h)
    whole = np.array([_observe_whole_body(frames, number, half_life_h) for number in range(len(frames))])
    return BodyCurves(found, _curve(REST, whole, settings, half_life_h, priors[REST]))


def share_rates(curves: Mapping[str, StructureCurve], model: str, half_life_h: float) -> dict[str, StructureCurve]:
    """The curves of a group of structures with one set of rates; one without activity keeps its own."""
    lit = {name: curve for name, curve in curves.items() if curve.fit.rates_per_h.size}
    known = all((curve.u_activity_mbq > 0).any() for curve in lit.values())
    fits = fit_shared(
        {name: curve.times_h for name, curve in lit.items()},
        {name: curve.activity_mbq for name, curve in lit.items()},
        half_life_h,
        u_activity_mbq={name: curve.u_activity_mbq for name, curve in lit.items()} if known else None,
        model=model,
    )
    others = {name: tuple(other for other in lit if other != name) for name in lit}
    return {name: replace(curve, fit=fits[name], shared_with=others[name]) for name, curve in lit.items()}


def warn_of_cuts(curves: BodyCurves, frames: Sequence[Frame]) -> None:
    """Say which structures are not wholly seen by which scans."""
    for name, curve in curves.structures.items():
        for frame, activity in zip(frames, curve.activity_mbq, strict=True):
            if np.isnan(activity):
                log.warning(
                    "part of structure %r lies outside scan %s: that time is left out of its curve", name, frame.id
                )


def _curve(
    name: str, seen: F64, settings: KineticsSettings, half_life_h: float, prior: CurvePrior, *, alone: bool = True
) -> StructureCurve:
    """The curve through `seen` [scans, (h, MBq)]; without intervals where it is not to stay `alone`."""
    times_h, activity = seen[:, 0], seen[:, 1]
    u = np.full_like(activity, np.nan)
    if settings.u_activity_percent is not None and np.isfinite(activity).any():
        largest = float(np.nanmax(np.abs(activity)))
        u = settings.u_activity_percent / 100.0 * np.maximum(np.abs(activity), _LEAST_U * largest)
    points = OrganPoints(
        times_h,
        activity,
        half_life_h,
        u_activity_mbq=u if (u > 0).any() else None,
        population_h=settings.half_lives_h.get(name),
        intervals=settings.intervals if alone else "none",
        prior=prior,
    )
    found = find_method(settings.method(name)).organ(points)
    if isinstance(found, ModelChoice):
        return StructureCurve(times_h, activity, u, found.fit, found, settings.averaged)
    if isinstance(found, AveragedCurve):
        return StructureCurve(times_h, activity, u, representative_fit(found, points), average=found)
    return StructureCurve(times_h, activity, u, found)


def _observe(region: Region, frame: Frame, half_life_h: float) -> tuple[float, float]:
    """When a scan saw the structure, h, and its activity then, MBq; NaN where the field of view cuts it."""
    if frame.inside is not None:
        held = float(frame.inside.reshape(-1)[region.index] @ region.part_ml) / region.volume_ml
        if held < _COVERED:
            return frame.time_h, float("nan")
    return _mean_time_and_sum(region.values(frame.activity) * region.part_ml, frame, region.index, half_life_h)


def _observe_whole_body(frames: Sequence[Frame], number: int, half_life_h: float) -> tuple[float, float]:
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
