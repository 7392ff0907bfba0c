"""The voxel curves of a run: every voxel with the model of its structure, by itself or with what that knows."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dosimetry.config import REST, KineticsSettings
from dosimetry.curves.rules import ONE_SCAN, voxels_by_trapezoid, voxels_from_one_scan
from dosimetry.curves.structures import StructureCurve
from dosimetry.kinetics import ScanTimes, VoxelFit, fit_by_structure, fit_voxels, preserve_total
from dosimetry.metrics import Region
from nufitdose.errors import InputError
from nufitdose.registration.series import Frame
from nufitdose.types import Curves, PerVoxel

log = logging.getLogger(__name__)

_RULES = (*ONE_SCAN, "trapezoid")


def fit_frames(
    frames: Sequence[Frame],
    half_life_h: float,
    settings: KineticsSettings,
    regions: Mapping[str, Region],
    structures: Mapping[str, StructureCurve],
) -> VoxelFit:
    """Fit every voxel of the frames with the model of its structure, others with that of "rest".

    A voxel that a scan does not see lacks that time. Regions later in order win where two share a voxel. Where
    `settings.guided`, voxels borrow from their structure; where `settings.preserve_total`, those of a structure are
    scaled to its own integral.
    """
    activity = voxel_curves(frames, half_life_h)
    owner = np.zeros(activity.shape[0], dtype=np.int32)
    for number, region in enumerate(regions.values(), start=1):
        owner[region.index] = number
    labels = dict(enumerate([REST, *regions]))
    methods = {label: _method(settings, name, structures[name]) for label, name in labels.items()}
    everywhere = methods[0]
    if settings.guided and set(methods.values()) - set(_RULES):
        models = {label: method for label, method in methods.items() if method not in _RULES}
        fit = fit_by_structure(activity, _times(frames), half_life_h, owner, models=models).fit
        apart = [label for label, method in methods.items() if method in _RULES]
    else:
        fit = _fitted(everywhere, REST, frames, activity, None, half_life_h, settings)
        apart = [
            label for label, method in methods.items() if label and (method != everywhere or method == "population")
        ]
    for label in apart:
        voxels = np.flatnonzero(owner == label)
        fit.put(voxels, _fitted(methods[label], labels[label], frames, activity, voxels, half_life_h, settings))
    if settings.preserve_total:
        _preserve(fit, regions, structures, owner)
    return fit


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


def _method(settings: KineticsSettings, name: str, curve: StructureCurve) -> str:
    """How the voxels of a structure are fitted: as asked for, or with the model that was chosen."""
    method = settings.method(name)
    return curve.model if method == "auto" else method


def _times(frames: Sequence[Frame], voxels: NDArray[np.intp] | None = None) -> ScanTimes:
    """When these voxels were seen, also where slices were acquired one after the other."""
    return ScanTimes.from_scans([_time(frame, voxels) for frame in frames])


def _time(frame: Frame, voxels: NDArray[np.intp] | None) -> float | PerVoxel:
    """When a scan saw these voxels (None: all): one time, or one for each."""
    if frame.offset_h is None:
        return frame.time_h
    offset_h = frame.offset_h.reshape(-1)
    return frame.time_h + (offset_h if voxels is None else offset_h[voxels]).astype(np.float64)


def _fitted(
    method: str,
    name: str,
    frames: Sequence[Frame],
    activity: Curves,
    voxels: NDArray[np.intp] | None,
    half_life_h: float,
    settings: KineticsSettings,
) -> VoxelFit:
    """These voxels (None: all) by one method."""
    some = activity if voxels is None else activity[voxels]
    if method == "trapezoid":
        return voxels_by_trapezoid(some, [_time(frame, voxels) for frame in frames], half_life_h)
    if method in ONE_SCAN:
        population_h = settings.half_lives_h.get(name)
        return voxels_from_one_scan(method, some, _time(frames[0], voxels), half_life_h, population_h=population_h)
    return fit_voxels(some, _times(frames, voxels), half_life_h, model=method)


def _preserve(
    fit: VoxelFit,
    regions: Mapping[str, Region],
    structures: Mapping[str, StructureCurve],
    owner: NDArray[np.int32],
) -> None:
    """Scale the voxels that a structure owns so that all its voxels add to its own integral; the last owner first."""
    for label, (name, region) in reversed(list(enumerate(regions.items(), start=1))):
        own = owner[region.index] == label
        shared_bq_h = float(fit.tia[region.index[~own]].astype(np.float64) @ region.part_ml[~own])
        voxels, part_ml = region.index[own], region.part_ml[own]
        some = VoxelFit(*(array[voxels] for array in fit.arrays()))
        try:
            fit.put(voxels, preserve_total(some, structures[name].tia_mbq_h * 1e6 - shared_bq_h, part_ml))
        except InputError as problem:
            log.warning("structure %r: its voxels keep their own integrals, %s", name, problem.problem)
