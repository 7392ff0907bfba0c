"""Curves that are fitted: the organ form and the voxel form of every model, and of the choice among them."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from dosimetry.curves.points import OrganPoints, VoxelPoints
from dosimetry.kinetics import (
    IntervalMethod,
    Intervals,
    ModelChoice,
    OrganFit,
    ScanTimes,
    VoxelFit,
    bootstrap,
    choose_model,
    fit_organ,
    fit_voxels,
)

CANDIDATES = ("mono", "f3", "f3a", "bi")  # what "auto" chooses from: the models that voxels can have too
_LEVEL = 0.95


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
