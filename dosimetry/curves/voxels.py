"""The voxel curves of a run: every voxel with the model of its structure, by itself or with what that knows."""

import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dosimetry.config import REST, KineticsSettings
from dosimetry.curves.methods import CurveMethod, find_method
from dosimetry.curves.points import VoxelPoints
from dosimetry.curves.structures import BodyCurves, StructureCurve
from dosimetry.kinetics import ScanTimes, VoxelFit, VoxelFitBuilder, fit_by_structure, preserve_total
from dosimetry.metrics import Region
from nufitdose.errors import InputError
from nufitdose.registration.series import Frame
from nufitdose.types import Curves, PerVoxel

log = logging.getLogger(__name__)


def fit_frames(
    frames: Sequence[Frame],
    half_life_h: float,
    settings: KineticsSettings,
    regions: Mapping[str, Region],
    curves: BodyCurves,
) -> VoxelFit:
    """Fit every voxel of the frames with the model of its structure, others with that of "rest".

    A voxel that a scan does not see lacks that time. Regions later in order win where two share a voxel. Where
    `settings.guided`, voxels borrow from their structure; where `settings.preserve_total`, or where a structure's
    curve is averaged over models, those of a structure are scaled to its own integral.
    """
    activity = voxel_curves(frames, half_life_h)
    owner = np.zeros(activity.shape[0], dtype=np.int32)
    for number, region in enumerate(regions.values(), start=1):
        owner[region.index] = number
    labels = dict(enumerate([REST, *regions]))
    methods = {label: _voxel_method(settings, name, curves.of(name)) for label, name in labels.items()}
    everywhere = methods[0]

    def fit_part(label: int, voxels: NDArray[np.intp] | None) -> VoxelFit:
        """These voxels (None: all) by the method of a label."""
        some, population_h = activity if voxels is None else activity[voxels], settings.half_lives_h.get(labels[label])
        times_h = [_time(frame, voxels) for frame in frames]
        return _form(methods[label])(VoxelPoints(some, times_h, half_life_h, population_h))

    models = {label: method.model for label, method in methods.items() if method.model}
    if settings.guided and models:
        times = ScanTimes.from_scans([_time(frame, None) for frame in frames])
        fit = VoxelFitBuilder.from_fit(fit_by_structure(activity, times, half_life_h, owner, models=models).fit)
        apart = [label for label in methods if label not in models]
    else:
        fit = VoxelFitBuilder.from_fit(fit_part(0, None))
        apart = [
            label for label, method in methods.items() if label and (method != everywhere or method.needs_half_life)
        ]
    for label in apart:
        voxels = np.flatnonzero(owner == label)
        fit.put(voxels, fit_part(label, voxels))
    _preserve(fit, regions, curves, owner, everywhere=settings.preserve_total)
    return fit.result()


def voxel_curves(frames: Sequence[Frame], half_life_h: float) -> Curves:
    """Activity of every voxel when it was seen, `[voxels, times]` Bq/mL, NaN where a scan does not see the voxel."""
    curves = np.empty((len(frames), frames[0].activity.grid.size), dtype=np.float32)
    for number, frame in enumerate(frames):
        curves[number] = frame.activity.data.reshape(-1)
        if frame.offset_h is not None:
            curves[number] *= 2.0 ** (-frame.offset_h.reshape(-1) / np.float32(half_life_h))
        if frame.inside is not None:
            curves[number, ~frame.inside.reshape(-1)] = np.nan
    return curves.T


def _voxel_method(settings: KineticsSettings, name: str, curve: StructureCurve) -> CurveMethod:
    """How the voxels of a structure are fitted: as asked for, or with the model that was chosen."""
    asked = find_method(settings.method(name))
    return asked if asked.voxels else find_method(curve.voxel_model)


def _form(method: CurveMethod) -> Callable[[VoxelPoints], VoxelFit]:
    assert method.voxels is not None  # what a structure's choice ends in has a voxel form
    return method.voxels


def _time(frame: Frame, voxels: NDArray[np.intp] | None) -> float | PerVoxel:
    """When a scan saw these voxels (None: all): one time, or one for each."""
    if frame.offset_h is None:
        return frame.time_h
    offset_h = frame.offset_h.reshape(-1)
    return frame.time_h + (offset_h if voxels is None else offset_h[voxels]).astype(np.float64)


def _preserve(
    fit: VoxelFitBuilder,
    regions: Mapping[str, Region],
    curves: BodyCurves,
    owner: NDArray[np.int32],
    *,
    everywhere: bool,
) -> None:
    """Scale the voxels that a structure owns so that all its voxels add to its own integral; the last owner first.

    Not `everywhere`: those of structures alone whose curve is averaged over models, which voxels do not have.
    """
    for label, (name, region) in reversed(list(enumerate(regions.items(), start=1))):
        if not everywhere and curves.structures[name].average is None:
            continue
        own = owner[region.index] == label
        others = fit.part(region.index[~own]).tia.astype(np.float64)
        shared_bq_h = float(others @ region.part_ml[~own])
        voxels, part_ml = region.index[own], region.part_ml[own]
        total_bq_h = curves.structures[name].tia_mbq_h * 1e6 - shared_bq_h
        try:
            fit.put(voxels, preserve_total(fit.part(voxels), total_bq_h, part_ml))
        except InputError as problem:
            log.warning("structure %r: its voxels keep their own integrals, %s", name, problem.problem)
