"""The activity of each structure over time and the curve through it."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np

from dosimetry.config import REST, WHOLE_BODY, KineticsSettings
from dosimetry.curves.fits import representative_fit
from dosimetry.curves.methods import find_method
from dosimetry.curves.observed import common_ml, leftover_ml, observe_region, observe_voxels
from dosimetry.curves.points import OrganPoints
from dosimetry.kinetics import AveragedCurve, FitStatus, ModelChoice, OrganFit, fit_shared
from dosimetry.kinetics.averaged_curve import WeighedModel
from dosimetry.kinetics.models import MODELS
from dosimetry.kinetics.priors import WIDE_BODY, CurvePrior, find_prior
from dosimetry.metrics import Region
from nufitdose.registration.series import Frame
from nufitdose.types import F64, Image32

log = logging.getLogger(__name__)


_MOST_U = 10.0  # times the integral: beyond, errors propagated linearly mean nothing
_LEAST_U = 0.01  # of the largest activity: the uncertainty of a value that is nearly nothing refers to this
# What stands in place of a model's name where its rate was not fitted.
_NOT_FITTED: Mapping[FitStatus, str] = {
    FitStatus.NOTHING: "none",
    FitStatus.NOT_POSITIVE: "none",
    FitStatus.ONE_POINT: "physical",
    FitStatus.MONO_AT_PHYSICAL: "physical tail",
    FitStatus.MONO_AT_FASTEST: "fastest decay",
    FitStatus.RISING: "rising, physical tail",
    FitStatus.SLOW: "slow, physical tail",
}
_NO_HALF_LIFE = (FitStatus.HAENSCHEID, FitStatus.RISING, FitStatus.TRAPEZOID)
_HELD_TAIL = (
    FitStatus.ONE_POINT,
    FitStatus.MONO_AT_PHYSICAL,
    FitStatus.RISING,
    FitStatus.SLOW,
    FitStatus.TRAPEZOID,
    FitStatus.CLEARANCE_RETENTION,
)
_TAIL_HELD = "tail held at physical decay: the integral after the last scan is an upper bound"


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
        """The model of the curve, the leading one of an average; where nothing was fitted, what was done instead."""
        return _NOT_FITTED.get(self.fit.status, self.fit.model)

    @property
    def voxel_model(self) -> str:
        """The model of the structure's voxels: that of the curve, as far as voxels (no tri) and points allow."""
        model = "f3" if self.fit.model == "tri" else self.fit.model
        points = int(np.isfinite(self.activity_mbq).sum())
        return model if MODELS[model].n_parameters <= points else "mono"

    @property
    def teff_h(self) -> float:
        """Effective half-life of the last phase, h; NaN where activity rises, or where Hänscheid's rule needs none.

        Of an average that of its tail. Where the tail is held at physical decay it is the physical one, a bound.
        """
        if self.average is not None:
            return self.average.teff_h
        return float("nan") if self.fit.status in _NO_HALF_LIFE else self.fit.teff_h

    @property
    def u_teff_h(self) -> float:
        """Its standard uncertainty; NaN where the half-life was not fitted."""
        known = np.isfinite(self.teff_h) and self.fit.u_teff_h > 0.0
        return self.fit.u_teff_h if known else float("nan")

    @property
    def flags(self) -> tuple[str, ...]:
        """What a reader should know of the curve."""
        held = self.average is None and self.fit.status in _HELD_TAIL
        return (*self.fit.flags, *([_TAIL_HELD] if held else []))

    @property
    def compared(self) -> Mapping[str, OrganFit | WeighedModel]:
        """The models that were weighed against each other, by name, each with its own curve; empty without a choice."""
        found = self.average.models if self.average else self.choice.fits if self.choice else {}
        return found if len(found) > 1 else {}

    @property
    def weights(self) -> Mapping[str, float]:
        """Of the models compared: their Akaike weights, or their probabilities where they are averaged."""
        if self.average is not None:
            return {name: model.weight for name, model in self.average.models.items()}
        return self.choice.weights if self.choice else {}

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
        """Its standard uncertainty by the fit, that of a choice among models included; NaN where not determined."""
        if self.choice is None:
            return self.fit.u_tia_mbq_h if _is_determined(self.fit) else float("nan")
        told = [(self.choice.weights[name], fit) for name, fit in self.choice.fits.items() if _is_determined(fit)]
        whole = sum(weight for weight, _ in told)
        if whole <= 0.0:
            return float("nan")
        spread = sum(w * np.hypot(fit.u_tia_mbq_h, fit.tia_mbq_h - self.tia_mbq_h) for w, fit in told)
        return float(spread / whole)


@dataclass(frozen=True, eq=False)
class BodyCurves:
    """The curves of the structures by name, of the whole body, and of its remainder, the whole body less them all.

    The whole body are the voxels that every scan sees, `whole_ml` [i, j, k] their volumes; `rest_ml` is what of each
    belongs to no structure. Voxels that several structures claim are subtracted once.
    """

    structures: Mapping[str, StructureCurve]
    whole_body: StructureCurve
    rest: StructureCurve
    whole_ml: Image32
    rest_ml: Image32

    def of(self, name: str) -> StructureCurve:
        """The curve of a structure, of "rest" or of "whole_body"."""
        return {REST: self.rest, WHOLE_BODY: self.whole_body}.get(name) or self.structures[name]


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
    relative_u: Mapping[str, F64] | None = None,
) -> BodyCurves:
    """A curve for every region, for the whole body and for what is left of it.

    `tumours` names the regions whose rates are expected to be those of tumours; in the whole body and its remainder
    nothing is expected to be taken up. `relative_u` [scans] of a region is what its activities err by, for the methods
    that average and where `settings.u_activity_percent` does not say.
    """
    found = {}
    together = {name for group in settings.shared_rates for name in group}
    for name, region in regions.items():
        points = np.array([observe_region(region, frame, half_life_h) for frame in frames])
        prior = find_prior(settings.tracer or "", name, tumour=name in tumours)
        u = None if relative_u is None else relative_u.get(name)
        found[name] = _curve(name, points, settings, half_life_h, prior, relative_u=u, alone=name not in together)
    for group in settings.shared_rates:
        found |= share_rates({name: found[name] for name in group}, settings.method(group[0]), half_life_h)
    whole_ml = common_ml(frames)
    rest_ml = leftover_ml(whole_ml, regions.values())
    body = {
        name: _curve(
            name,
            np.array([observe_voxels(part_ml, frame, half_life_h) for frame in frames]),
            settings,
            half_life_h,
            WIDE_BODY,
        )
        for name, part_ml in ((WHOLE_BODY, whole_ml), (REST, rest_ml))
    }
    return BodyCurves(found, body[WHOLE_BODY], body[REST], whole_ml, rest_ml)


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
    name: str,
    seen: F64,
    settings: KineticsSettings,
    half_life_h: float,
    prior: CurvePrior,
    *,
    relative_u: F64 | None = None,
    alone: bool = True,
) -> StructureCurve:
    """The curve through `seen` [scans, (h, MBq)]; without intervals where it is not to stay `alone`."""
    times_h, activity = seen[:, 0], seen[:, 1]
    u = np.full_like(activity, np.nan)
    if settings.u_activity_percent is not None:
        relative_u = np.full_like(activity, settings.u_activity_percent / 100.0)
    elif not find_method(settings.method(name)).averages or np.isfinite(activity).sum() < 2:
        relative_u = None  # one point: its error would be taken for that of a curve that nothing tells
    if relative_u is not None and np.isfinite(activity).any():
        largest = float(np.nanmax(np.abs(activity)))
        u = relative_u * np.maximum(np.abs(activity), _LEAST_U * largest)
    points = OrganPoints(
        times_h,
        activity,
        half_life_h,
        u_activity_mbq=u if (u > 0).any() else None,
        population_h=settings.population_h(name),
        intervals=settings.intervals if alone else "none",
        prior=prior,
    )
    found = find_method(settings.method(name)).organ(points)
    if isinstance(found, ModelChoice):
        return StructureCurve(times_h, activity, u, found.fit, found, settings.averaged)
    if isinstance(found, AveragedCurve):
        return StructureCurve(times_h, activity, u, representative_fit(found, points), average=found)
    return StructureCurve(times_h, activity, u, found)
