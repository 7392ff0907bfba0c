"""Curves that are fitted: organ and voxel form of every model, of the choice among them, and their average."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from dosimetry.curves.points import OrganPoints, VoxelPoints
from dosimetry.kinetics import (
    AveragedCurve,
    IntervalMethod,
    Intervals,
    ModelChoice,
    OrganFit,
    ScanTimes,
    VoxelFit,
    average_models,
    bootstrap,
    choose_model,
    fit_organ,
    fit_voxels,
)
from dosimetry.kinetics.models import model_named

CANDIDATES = ("mono", "f3", "f3a", "bi")  # what "aicc" chooses from: the models that voxels can have too
FEW = 4  # points up to which AICc has nothing to compare: K + 2 of them for two models, more where noise is estimated
_LEVEL = 0.95
_NONE = (float("nan"), float("nan"))


def organ_by(model: str) -> Callable[[OrganPoints], OrganFit]:
    """The organ form of one model."""

    def fit(points: OrganPoints) -> OrganFit:
        found = fit_organ(
            points.times_h,
            points.activity_mbq,
            points.half_life_h,
            u_activity_mbq=points.u_activity_mbq,
            model=model,
            intervals=points.intervals == "profile",
        )
        return _with_bootstrap(found, points)

    return fit


def organ_by_aicc(points: OrganPoints) -> ModelChoice:
    """The models of `CANDIDATES` that the points can compare, weighed by the corrected Akaike criterion."""
    choice = choose_model(
        points.times_h,
        points.activity_mbq,
        points.half_life_h,
        u_activity_mbq=points.u_activity_mbq,
        models=CANDIDATES,
        intervals=points.intervals == "profile",
    )
    return replace(choice, fits={**choice.fits, choice.best: _with_bootstrap(choice.fit, points)})


def organ_by_number_of_points(points: OrganPoints) -> AveragedCurve | ModelChoice | OrganFit:
    """What so many points ask for: physical decay (one), the average over models (two to four), AICc (five or more).

    AICc compares few models still with five or six points, and punishes two phases by more than they gain; its choice
    stands where the marginal likelihood agrees: its integral within the 95 % interval of the average. Elsewhere, and
    where given uncertainties reject every model, the average stands, and says so.
    """
    count = int(np.isfinite(points.activity_mbq).sum())
    if count < 2:
        return fit_organ(points.times_h, points.activity_mbq, points.half_life_h, u_activity_mbq=points.u_activity_mbq)
    average = organ_by_average(points)
    if count <= FEW or not isinstance(average, AveragedCurve):
        return average
    if average.birge_ratio > 1.0 and points.u_activity_mbq is not None:
        return average  # no model follows the points: the average says so and widens
    choice = organ_by_aicc(points)
    low, high = average.tia_95_mbq_h
    if low <= choice.fit.tia_mbq_h <= high:
        return choice
    ratio = choice.fit.tia_mbq_h / average.tia_mbq_h
    return replace(
        average, remark=f"averaged over models: AICc takes {choice.best}, with {ratio:.2f} times this integral"
    )


def organ_by_average(points: OrganPoints) -> AveragedCurve | OrganFit:
    """All models averaged by marginal likelihood; without activity the fit of one exponential, which says so."""
    measured = points.times_h, points.activity_mbq, points.half_life_h
    plain = fit_organ(*measured, u_activity_mbq=points.u_activity_mbq)
    if not plain.rates_per_h.size:
        return plain
    return average_models(*measured, u_activity_mbq=points.u_activity_mbq, prior=points.prior)


def representative_fit(average: AveragedCurve, points: OrganPoints) -> OrganFit:
    """The averaged curve in the form of a fit: its leading model's curve, with the average's integral and intervals.

    The uncertainty of T_eff is half its 68 % interval; neither is stated where activity still rises. What an average
    lacks (covariance, AICc) is NaN; χ² is that of this curve under the uncertainties before Birge's ratio.
    """
    order = np.argsort(points.times_h)
    times_h, activity = points.times_h[order], points.activity_mbq[order]
    parameters = model_named(average.best).n_parameters
    residual = (average.activity_mbq - average.fitted_mbq) / average.u_activity_mbq * average.birge_ratio
    teff_68_h, teff_95_h = (_NONE, _NONE) if average.rising else (average.teff_68_h, average.teff_95_h)
    return OrganFit(
        model=average.best,
        status=average.status,
        times_h=times_h,
        activity_mbq=activity,
        amplitudes_mbq=average.amplitudes_mbq,
        rates_per_h=average.rates_per_h,
        covariance=np.full((parameters, parameters), np.nan),
        fitted_mbq=np.where(np.isfinite(activity), average.curve(times_h), np.nan),
        tia_mbq_h=average.tia_mbq_h,
        u_tia_mbq_h=average.u_tia_mbq_h,
        u_teff_h=0.5 * (teff_68_h[1] - teff_68_h[0]),
        chi2=float(residual @ residual),
        aicc=float("nan"),
        dof=average.times_h.size - parameters,
        before_first_fraction=average.before_first_fraction,
        extrapolated_fraction=average.extrapolated_fraction,
        rising_share=0.0,
        flags=(*average.flags, *([f"not to rely on: {average.red}"] if average.red else [])),
        intervals=Intervals(_LEVEL, IntervalMethod.POSTERIOR, average.tia_95_mbq_h, teff_95_h, {}),
        u_extrapolated_fraction=average.u_extrapolated_fraction,
    )


def voxels_by(model: str) -> Callable[[VoxelPoints], VoxelFit]:
    """The voxel form of one model, or of "aicc", which chooses one for each voxel."""

    def fit(points: VoxelPoints) -> VoxelFit:
        return fit_voxels(points.activity, ScanTimes.from_scans(points.times_h), points.half_life_h, model=model)

    return fit


def _with_bootstrap(fit: OrganFit, points: OrganPoints) -> OrganFit:
    """The fit with intervals of a parametric bootstrap, where they are asked for and there is activity."""
    if points.intervals != "bootstrap" or points.u_activity_mbq is None or not fit.tia_mbq_h > 0:
        return fit
    order = np.argsort(points.times_h)
    found = bootstrap(fit, points.half_life_h, points.u_activity_mbq[order])
    return replace(fit, intervals=Intervals(_LEVEL, IntervalMethod.BOOTSTRAP, found.tia_mbq_h, found.teff_h, {}))
