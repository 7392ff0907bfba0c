"""Frames corrected for the resolution of their scanner, or told what an assumed one would have made of them."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dosimetry.config import RecoverySettings
from dosimetry.recovery.by_volume import recovery_between, recovery_by_curve, recovery_by_sphere, volume_slope
from dosimetry.recovery.partition import partition
from dosimetry.recovery.point_spread import PointSpread
from dosimetry.recovery.resolution import find_resolutions, share_of_body, widen_by_interpolation
from dosimetry.recovery.transfer import Reading, TransferMatrix, transfer_matrix
from dosimetry.recovery.values import Method, Recovery, StructureRecovery
from nufitdose.anatomy.prepared import PreparedAnatomy
from nufitdose.anatomy.regions import Region
from nufitdose.errors import InputError
from nufitdose.registration.series import Frame
from nufitdose.scanner import Scanner
from nufitdose.study import Study
from nufitdose.types import Image32, Mask

log = logging.getLogger(__name__)

# Relative standard uncertainty that the correction itself adds, where resolution and contour are right: of the matrix,
# and of a curve that knows neither shape nor surroundings. Chosen here on digital patients (docs as above).
_U_MATRIX, _U_VOLUME = 0.008, 0.10
_AROUND_FWHM = 1.0  # thickness of the tissue around a structure that is taken as uniform
_MOST_NOISE = 25.0  # by which the correction may multiply the error of a structure's mean
_LEAST_OWN = 0.02  # of a part's activity that must stay in it
_LEAST_R = 0.2  # recovery by volume alone beneath which nothing is corrected
_LEAST_SEEN = 0.5  # of a structure that every scan must see for it to be a part of its own


@dataclass(frozen=True, eq=False)
class RecoveryPlan:
    """How the frames of a study are corrected, or judged.

    `fwhm_mm` are the smallest and the largest of its widths, `own_fwhm_mm` [structure] that at a structure's depth.
    `matrices` are those of the resolution and of one beside it, between which R is uncertain; `interpolated` the same
    for scans that were brought onto the reference, which interpolation blurs further. `single` [structure] is R, with
    its relative uncertainty, of the structures that have no part in them: corrected by their volume alone, or not at
    all where R is too low for that.
    """

    method: Method
    assumed: bool
    fwhm_mm: tuple[float, float]
    regions: Mapping[str, Region]
    own_fwhm_mm: Mapping[str, float]
    matrices: tuple[TransferMatrix, ...]
    single: Mapping[str, tuple[float, float]]
    interpolated: tuple[TransferMatrix, ...] = ()

    def matrices_of(self, frame: Frame) -> tuple[TransferMatrix, ...]:
        """Those of a frame as it came to the reference grid."""
        return self.interpolated if self.interpolated and _is_interpolated(frame) else self.matrices

    def reading(self, frame: Frame, name: str) -> Reading | None:
        """How a structure's corrected activity is read from a frame; None where it is not by the matrix."""
        matrices = self.matrices_of(frame)
        if self.method != "gtm" or not matrices or name not in matrices[0].partition.names:
            return None
        return matrices[0].reading(name, self.regions[name], frame.activity.data)

    def method_of(self, name: str) -> Method:
        """What a structure is corrected by."""
        if self.method == "none" or name not in self.single:
            return self.method
        return "volume" if self.single[name][0] >= _LEAST_R else "none"


def plan_recovery(
    study: Study,
    frames: Sequence[Frame],
    regions: Mapping[str, Region],
    anatomy: PreparedAnatomy | None,
    settings: RecoverySettings,
) -> RecoveryPlan:
    """Choose the correction and prepare it for the structures `regions` on the reference grid.

    "auto" is the geometric transfer matrix where the study describes its scanner, else none. Raises `InputError`
    where a correction is asked for that the description does not allow.
    """
    method = _choose(study.scanner, settings)
    if not regions:
        return RecoveryPlan("none", study.scanner is None, (np.nan, np.nan), regions, {}, (), {})
    grid = frames[0].activity.grid
    resolutions = find_resolutions(study, anatomy, grid, settings)
    assumed = study.scanner is None
    own_mm = {name: _own_fwhm_mm(resolutions, region, assumed) for name, region in regions.items()}
    ends_mm = (resolutions[0].usual_mm, resolutions[1].usual_mm) if assumed else resolutions[0].ends_mm
    if method == "volume":
        single = _by_volume(study.scanner, resolutions, regions, list(regions))
        return RecoveryPlan(method, False, ends_mm, regions, own_mm, (), single)
    inside = _common(frames)
    seen = {name: region for name, region in regions.items() if _seen(region, inside) >= _LEAST_SEEN}
    body, around_mm = share_of_body(anatomy, grid), _AROUND_FWHM * resolutions[-1].usual_mm
    weak: list[str] = []
    while True:
        parts = partition({name: region for name, region in seen.items() if name not in weak}, body, grid, around_mm)
        matrices = tuple(transfer_matrix(parts, resolution, inside) for resolution in resolutions)
        found = [name for n, name in enumerate(parts.names) if _is_weak(matrices[0], n)]
        if not found:
            break
        weak += found
    interpolated: tuple[TransferMatrix, ...] = ()
    if method == "gtm" and any(_is_interpolated(frame) for frame in frames):
        wider = [widen_by_interpolation(resolution, grid) for resolution in resolutions]
        interpolated = tuple(transfer_matrix(parts, resolution, inside) for resolution in wider)
    single = _by_volume(study.scanner, resolutions, regions, weak)
    plan = RecoveryPlan(method, assumed, ends_mm, regions, own_mm, matrices, single, interpolated)
    _warn_of_small(plan)
    return plan


def correct_frames(plan: RecoveryPlan, frames: Sequence[Frame]) -> tuple[tuple[Frame, ...], Recovery]:
    """The frames corrected as planned, and the recovery of every structure at each of them."""
    done: list[Frame] = []
    rows: dict[str, list[StructureRecovery]] = {name: [] for name in plan.regions}
    change: dict[str, float] = {}
    for frame in frames:
        matrices = plan.matrices_of(frame)
        versions = [_corrected(plan, frame.activity.data, matrix) for matrix in matrices or (None,)]
        uniform = matrices[0].uniform(frame.activity.data) if matrices else versions[0]
        kept = frame if plan.method == "none" else replace(frame, activity=frame.activity.with_data(versions[0]))
        done.append(kept)
        change[frame.id] = _percent(kept.activity.total_mbq(), frame.activity.total_mbq())
        for name, region in plan.regions.items():
            rows[name].append(_row(plan, name, region, frame, versions, uniform))
    structures = {name: tuple(found) for name, found in rows.items()}
    return tuple(done), Recovery(plan.method, plan.assumed, plan.fwhm_mm, structures, change)


def _warn_of_small(plan: RecoveryPlan) -> None:
    if plan.method == "none":
        return
    small = {method: [name for name in plan.single if plan.method_of(name) == method] for method in ("volume", "none")}
    if small["volume"] and plan.method == "gtm":
        log.warning(
            "too small for the geometric transfer matrix, corrected by their volume alone, without what is spilled "
            "into them: %s",
            ", ".join(small["volume"]),
        )
    if small["none"]:
        log.warning(
            "too small for any correction of recovery, their activity stays as it was measured: %s",
            ", ".join(small["none"]),
        )


def _row(
    plan: RecoveryPlan, name: str, region: Region, frame: Frame, versions: Sequence[Image32], uniform: Image32
) -> StructureRecovery:
    measured = region.integral(frame.activity)
    values = np.array([_ratio(measured, region.integral(frame.activity.with_data(image))) for image in versions])
    alone = name in plan.single
    value = float(values[0]) if not plan.assumed else float(np.sqrt(values[0] * values[-1]))
    if alone:
        value, by_width = plan.single[name]
    else:  # all resolutions of an assumed range alike
        by_width = float(abs(np.log(values[-1] / values[0]))) / (np.sqrt(12.0) if plan.assumed else 1.0)
    by_model = _U_VOLUME if alone else float(np.hypot(_U_MATRIX, _u_of_uniformity(region, frame, versions[0], uniform)))
    relative_u = float(np.hypot(by_width, by_model))
    noise = 1.0
    matrices = plan.matrices_of(frame)
    if matrices and not alone:
        names = matrices[0].partition.names
        noise = float(matrices[0].noise[names.index(name)]) if name in names else 1.0
    slope = volume_slope(region.volume_ml, plan.own_fwhm_mm[name])
    return StructureRecovery(name, frame.id, value, relative_u, plan.method_of(name), plan.assumed, slope, noise)


def _u_of_uniformity(region: Region, frame: Frame, corrected: Image32, uniform: Image32) -> float:
    """What the assumption leaves that parts are uniform: no more than what the voxels changed in it, to either side.

    The matrix alone knows uniform parts; the voxel-wise correction replaces them by the image. Where both agree on a
    structure, as for one that is even in even surroundings, nothing is added; else u = |ln(A/A_uniform)|/√3.
    """
    by_voxels, by_parts = (region.integral(frame.activity.with_data(image)) for image in (corrected, uniform))
    if not (by_voxels > 0 and by_parts > 0):
        return 0.0
    return abs(float(np.log(by_voxels / by_parts))) / float(np.sqrt(3.0))


def _corrected(plan: RecoveryPlan, activity: Image32, matrix: TransferMatrix | None) -> Image32:
    image = activity if matrix is None else matrix.deblur(activity)
    if not plan.single or plan.method == "none":
        return image
    flat, original, factor = image.reshape(-1).copy(), activity.reshape(-1), np.zeros(activity.size, dtype=np.float32)
    for name, (recovery, _) in plan.single.items():
        region, raised = plan.regions[name], plan.method_of(name) == "volume"
        share = region.part_ml / region.part_ml.max()
        own = 1.0 + share * (1.0 / recovery - 1.0) if raised else np.ones_like(share)
        factor[region.index] = np.maximum(factor[region.index], own)
    held = np.flatnonzero(factor)
    flat[held] = original[held] * factor[held]
    return flat.reshape(activity.shape)


def _choose(scanner: Scanner | None, settings: RecoverySettings) -> Method:
    if settings.method == "auto":
        return "none" if scanner is None else "gtm"
    if settings.method != "none" and scanner is None:
        raise InputError(
            f"recovery.method={settings.method} was asked for and the study does not describe its scanner",
            remedy="Add 'scanner:' to study.yaml, as 'nufitdose recovery' writes it, or leave recovery.method at auto",
        )
    if settings.method == "volume" and scanner is not None and scanner.recovery is None:
        raise InputError(
            f"recovery.method=volume was asked for and the scanner {scanner.name!r} has no recovery curve",
            remedy="Measure one with 'nufitdose recovery', or use recovery.method=gtm: it needs the resolution alone",
        )
    return settings.method


def _own_fwhm_mm(resolutions: tuple[PointSpread, PointSpread], region: Region, assumed: bool) -> float:
    return float(np.mean([resolution.mean_fwhm_mm(region) for resolution in resolutions[: 2 if assumed else 1]]))


def _by_volume(
    scanner: Scanner | None,
    resolutions: tuple[PointSpread, PointSpread],
    regions: Mapping[str, Region],
    names: Sequence[str],
) -> dict[str, tuple[float, float]]:
    """R and its relative uncertainty by what is known: a curve, a resolution, or the ends of an assumed one."""
    if scanner is None:
        return recovery_between(*resolutions, regions, names)
    if scanner.recovery is None:
        return recovery_by_sphere(*resolutions, regions, names)
    return recovery_by_curve(scanner.recovery, resolutions[0], regions, names)


def _is_interpolated(frame: Frame) -> bool:
    """Whether the scan was read between its voxels; the reference, and scans that nothing moves, are not."""
    return frame.registration is not None and frame.registration.engine != "none"


def _is_weak(matrix: TransferMatrix, number: int) -> bool:
    return bool(matrix.noise[number] > _MOST_NOISE or matrix.w[number, number] < _LEAST_OWN)


def _common(frames: Sequence[Frame]) -> Mask | None:
    masks = [frame.inside for frame in frames if frame.inside is not None]
    return np.logical_and.reduce(masks) if masks else None


def _seen(region: Region, inside: Mask | None) -> float:
    if inside is None:
        return 1.0
    return float(inside.reshape(-1)[region.index] @ region.part_ml) / region.volume_ml


def _ratio(measured: float, corrected: float) -> float:
    return measured / corrected if corrected > 0 and measured > 0 else float("nan")


def _percent(new: float, old: float) -> float:
    return 100.0 * (new / old - 1.0) if old > 0 else 0.0
