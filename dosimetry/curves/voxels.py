"""The voxel curves of a run: every voxel with the model of its structure, guided by it and adding up to it."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dosimetry.config import REST, KineticsSettings
from dosimetry.curves.methods import CurveMethod, find_method
from dosimetry.curves.points import VoxelPoints
from dosimetry.curves.structures import BodyCurves, StructureCurve
from dosimetry.kinetics import ScanTimes, VoxelFit, VoxelFitBuilder, factor_to_total, fit_by_structure
from dosimetry.kinetics.models import MODELS, Role, physical_rate
from dosimetry.metrics import Region
from nufitdose.errors import InputError
from nufitdose.registration.series import Frame
from nufitdose.types import F64, Curves, PerVoxel

log = logging.getLogger(__name__)

_GUIDED_FROM = 3  # scans that tell the noise of voxels


@dataclass(frozen=True, eq=False)
class BodyVoxels:
    """The fit of every voxel, and by structure what its voxels added to before they were scaled, over its curve's Ã."""

    fit: VoxelFit
    sum_to_curve: Mapping[str, float]


def fit_frames(
    frames: Sequence[Frame],
    half_life_h: float,
    settings: KineticsSettings,
    regions: Mapping[str, Region],
    curves: BodyCurves,
) -> BodyVoxels:
    """Fit every voxel of the frames with the model of its structure, others with that of "rest".

    A voxel that a scan does not see lacks that time. Where structures share a voxel the smallest of them has it. Where
    `settings.guided`, voxels of a structure borrow its rates; where `settings.preserve_total`, they are scaled to its
    own integral, and those of no structure to that of the remainder.
    """
    activity = voxel_curves(frames, half_life_h)
    names = [REST, *regions]
    owner = _owners(regions, activity.shape[0])
    methods = {label: _voxel_method(settings, name, curves.of(name)) for label, name in enumerate(names)}
    guided = _guided_models(settings, methods, len(frames))

    def fit_part(label: int, voxels: NDArray[np.intp] | None) -> VoxelFit:
        """These voxels (None: all) by the method of a label."""
        some = activity if voxels is None else activity[voxels]
        times_h = [_time(frame, voxels) for frame in frames]
        return _form(methods[label])(VoxelPoints(some, times_h, half_life_h, settings.population_h(names[label])))

    fit = VoxelFitBuilder.from_fit(fit_part(0, None))
    everywhere = methods[0]
    for label, method in methods.items():
        if label and label not in guided and (method != everywhere or method.needs_half_life):
            voxels = np.flatnonzero(owner == label)
            fit.put(voxels, fit_part(label, voxels))
    voxels = np.flatnonzero(np.isin(owner, list(guided)))
    if voxels.size:
        rate_p = physical_rate(half_life_h)
        centres = {label: _rates_of(curves.of(names[label]), model, rate_p) for label, model in guided.items()}
        found = fit_by_structure(
            activity[voxels],
            ScanTimes.from_scans([_time(frame, voxels) for frame in frames]),
            half_life_h,
            owner[voxels],
            models=guided,
            centres={label: rates for label, rates in centres.items() if rates is not None},
        )
        fit.put(voxels, found.fit)
    ratios = _sums_to_curves(fit, regions, curves)
    if settings.preserve_total:
        _preserve(fit, regions, curves, owner)
    return BodyVoxels(fit.result(), ratios)


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


def _owners(regions: Mapping[str, Region], count: int) -> NDArray[np.int32]:
    """The label of the structure of each voxel, 0 for none; where several claim one, the smallest structure."""
    owner = np.zeros(count, dtype=np.int32)
    for number, region in sorted(enumerate(regions.values(), start=1), key=lambda pair: -pair[1].volume_ml):
        owner[region.index] = number
    return owner


def _guided_models(settings: KineticsSettings, methods: Mapping[int, CurveMethod], scans: int) -> dict[int, str]:
    """The models of the structures whose voxels borrow from them.

    What belongs to no structure is not of one kind; voxels with models of their own do not borrow.
    """
    if not settings.guided or scans < _GUIDED_FROM:
        return {}
    models = {label: method.model or "" for label, method in methods.items() if label}
    return {label: model for label, model in models.items() if model in MODELS}


def _rates_of(curve: StructureCurve, model: str, rate_p: float) -> tuple[float, ...] | None:
    """ln λ_bio of the free rates of a structure's curve, slow first; None unless it is a fit of the voxels' model."""
    fit = curve.fit
    if fit.model != model or fit.status is not MODELS[model].status:
        return None
    free = fit.rates_per_h[-1:] if Role.PHYSICAL in MODELS[model].roles else fit.rates_per_h
    biological = free - rate_p
    return tuple(np.log(biological).tolist()) if (biological > 0.0).all() else None


def _voxel_method(settings: KineticsSettings, name: str, curve: StructureCurve) -> CurveMethod:
    """How the voxels of a structure are fitted: as asked for, or with the model that was chosen.

    Where the remainder's curve is an average, voxels of no structure get one exponential each: they are not of one
    kind, few scans leave two rates of a voxel open, and the scaling gives them the average's integral.
    """
    asked = find_method(settings.method(name))
    if asked.voxels:
        return asked
    return find_method("mono" if name == REST and curve.average is not None else curve.voxel_model)


def _form(method: CurveMethod) -> Callable[[VoxelPoints], VoxelFit]:
    assert method.voxels is not None  # what a structure's choice ends in has a voxel form
    return method.voxels


def _time(frame: Frame, voxels: NDArray[np.intp] | None) -> float | PerVoxel:
    """When a scan saw these voxels (None: all): one time, or one for each."""
    if frame.offset_h is None:
        return frame.time_h
    offset_h = frame.offset_h.reshape(-1)
    return frame.time_h + (offset_h if voxels is None else offset_h[voxels]).astype(np.float64)


def _sum_bq_h(fit: VoxelFitBuilder, index: NDArray[np.int64], part_ml: F64) -> float:
    return float(fit.tia(index).astype(np.float64) @ part_ml)


def _sums_to_curves(fit: VoxelFitBuilder, regions: Mapping[str, Region], curves: BodyCurves) -> dict[str, float]:
    """Σ of the voxels' integrals over that of the curve, by structure and for the rest; NaN where there is no curve."""
    sums = {name: _sum_bq_h(fit, region.index, region.part_ml) for name, region in regions.items()}
    sums[REST] = _sum_bq_h(fit, *_rest_of(curves))
    totals = {name: 1e6 * curves.of(name).tia_mbq_h for name in sums}
    return {name: sums[name] / total if total > 0.0 else float("nan") for name, total in totals.items()}


def _rest_of(curves: BodyCurves) -> tuple[NDArray[np.int64], F64]:
    """The voxels of which something belongs to no structure, and how much, mL."""
    index = np.flatnonzero(curves.rest_ml)
    return index, curves.rest_ml.reshape(-1)[index].astype(np.float64)


def _preserve(
    fit: VoxelFitBuilder, regions: Mapping[str, Region], curves: BodyCurves, owner: NDArray[np.int32]
) -> None:
    """Scale the voxels that each structure owns so that all its voxels add to its own integral, the smallest first.

    Voxels shared with a smaller structure stay as they are by then. Those of no structure come last.
    """
    order = sorted(enumerate(regions.items(), start=1), key=lambda item: item[1][1].volume_ml)
    parts = [(label, name, region.index, region.part_ml) for label, (name, region) in order]
    for label, name, index, part_ml in [*parts, (0, REST, *_rest_of(curves))]:
        own = owner[index] == label
        wanted_bq_h = 1e6 * curves.of(name).tia_mbq_h - _sum_bq_h(fit, index[~own], part_ml[~own])
        voxels, share_ml = index[own], part_ml[own]
        if label == 0:  # those that some scan does not see are scaled alike
            voxels = np.flatnonzero(owner == 0)
            share_ml = curves.rest_ml.reshape(-1)[voxels].astype(np.float64)
        tia = fit.tia(voxels)
        if wanted_bq_h == 0.0 and not tia.any():
            continue
        try:
            fit.scale(voxels, factor_to_total(tia, wanted_bq_h, share_ml))
        except InputError as problem:
            whose = "voxels of no structure" if name == REST else f"structure {name!r}"
            log.warning("%s: voxels keep their own integrals, %s", whose, problem.problem)
