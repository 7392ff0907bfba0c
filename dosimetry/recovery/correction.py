"""Frames corrected for the resolution of their scanner, or told what an assumed one would have made of them."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dosimetry.config import RecoverySettings
from dosimetry.recovery.partition import Widths, partition
from dosimetry.recovery.transfer import Reading, TransferMatrix, transfer_matrix
from dosimetry.recovery.values import Method, Recovery, StructureRecovery
from nufitdose.anatomy.prepared import PreparedAnatomy
from nufitdose.anatomy.regions import Region
from nufitdose.emissions import chain_spectra
from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.psf import sphere_recovery
from nufitdose.registration.series import Frame
from nufitdose.scanner import Scanner
from nufitdose.study import Study
from nufitdose.types import Image32, Mask

log = logging.getLogger(__name__)

# Chosen here, of the order of clinical systems as reconstructed and filtered: FWHM, mm.
_SPECT_MM, _PET_MM, _EITHER_MM = (12.0, 15.0), (5.0, 7.0), (6.0, 15.0)
_EITHER = ("Y-90",)  # imaged both ways
_ANNIHILATION_MEV, _IS_PET = 0.511, 0.1  # quanta per decay from which a nuclide is taken as imaged by PET
# Relative standard uncertainty of a described resolution: it follows depth and object, and structures are not uniform.
# Chosen here: intervals then hold the truth of digital patients as often as they say (docs/explanation/uncertainty.md).
_U_FWHM = 0.07
# Relative standard uncertainty that the correction itself adds, where resolution and contour are right: of the matrix,
# and of a curve that knows neither shape nor surroundings. Chosen here on the same patients.
_U_MATRIX, _U_VOLUME = 0.012, 0.10
_AROUND_FWHM = 1.0  # thickness of the tissue around a structure that is taken as uniform
_MOST_NOISE = 25.0  # by which the correction may multiply the error of a structure's mean
_LEAST_OWN = 0.02  # of a part's activity that must stay in it
_LEAST_R = 0.2  # recovery by volume alone beneath which nothing is corrected
_LEAST_SEEN = 0.5  # of a structure that every scan must see for it to be a part of its own
_STEP = 1.02  # of the volume, for its derivative
# Variance that linear interpolation adds to the resolution, in squares of a voxel's side: f (1 - f) a fraction f of the
# way between two voxels, and all fractions alike.
_INTERPOLATION = 1.0 / 6.0


@dataclass(frozen=True, eq=False)
class RecoveryPlan:
    """How the frames of a study are corrected, or judged.

    `matrices` are those of the resolution and of one beside it, between which R is uncertain; `interpolated` the same
    for scans that were brought onto the reference, which interpolation blurs further. `single` [structure] is R, with
    its relative uncertainty, of the structures that have no part in them: corrected by their volume alone, or not at
    all where R is too low for that.
    """

    method: Method
    assumed: bool
    fwhm_mm: tuple[float, float]
    regions: Mapping[str, Region]
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
        return RecoveryPlan("none", study.scanner is None, (np.nan, np.nan), regions, (), {})
    if method == "volume":
        assert study.scanner is not None
        return RecoveryPlan(
            method, False, _mean_fwhm(study.scanner), regions, (), _by_curve(study.scanner, regions, list(regions))
        )
    described = study.scanner is not None
    fwhm = _widths(study, settings)
    grid = frames[0].activity.grid
    inside = _common(frames)
    seen = {name: region for name, region in regions.items() if _seen(region, inside) >= _LEAST_SEEN}
    body = np.ones(grid.shape, dtype=np.float32) if anatomy is None else _body(anatomy)
    around_mm = _AROUND_FWHM * float(np.mean(fwhm[-1]))
    weak: list[str] = []
    while True:
        parts = partition({name: region for name, region in seen.items() if name not in weak}, body, grid, around_mm)
        matrices = tuple(transfer_matrix(parts, width, inside) for width in fwhm)
        found = [name for n, name in enumerate(parts.names) if _is_weak(matrices[0], n)]
        if not found:
            break
        weak += found
    single = _by_curve(study.scanner, regions, weak) if described else _by_sphere(fwhm, regions, weak)
    widths = (float(np.mean(fwhm[0])), float(np.mean(fwhm[-1])) if not described else float(np.mean(fwhm[0])))
    interpolated: tuple[TransferMatrix, ...] = ()
    if method == "gtm" and any(_is_interpolated(frame) for frame in frames):
        interpolated = tuple(transfer_matrix(parts, _after_interpolation(width, grid), inside) for width in fwhm)
    plan = RecoveryPlan(method, not described, widths, regions, matrices, single, interpolated)
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
    slope = _volume_slope(region.volume_ml, float(np.mean(plan.fwhm_mm)))
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


def _widths(study: Study, settings: RecoverySettings) -> tuple[Widths, Widths]:
    """The resolution and one beside it: 1 standard uncertainty away, or the ends of what is assumed."""
    if study.scanner is not None:
        i, j, k = (width * (1.0 + _U_FWHM) for width in study.scanner.fwhm_mm)
        return study.scanner.fwhm_mm, (i, j, k)
    low, high = settings.assumed_fwhm_mm or _usual_fwhm_mm(study.nuclide)
    return (low, low, low), (high, high, high)


def _is_interpolated(frame: Frame) -> bool:
    """Whether the scan was read between its voxels; the reference, and scans that nothing moves, are not."""
    return frame.registration is not None and frame.registration.engine != "none"


def _after_interpolation(fwhm_mm: Widths, grid: Grid) -> Widths:
    """A resolution after one linear interpolation between voxels of `grid`; scans of one patient have voxels alike."""
    added = 8.0 * np.log(2.0) * _INTERPOLATION * np.square(grid.spacing_mm)
    i, j, k = np.sqrt(np.square(fwhm_mm) + added).tolist()
    return i, j, k


def _usual_fwhm_mm(nuclide: str) -> tuple[float, float]:
    if nuclide in _EITHER:
        return _EITHER_MM
    photons = chain_spectra(nuclide).photon
    quanta = photons.per_decay[np.abs(photons.energy_mev - _ANNIHILATION_MEV) < 1e-3].sum()
    return _PET_MM if quanta > _IS_PET else _SPECT_MM


def _mean_fwhm(scanner: Scanner) -> tuple[float, float]:
    fwhm = float(np.mean(scanner.fwhm_mm))
    return fwhm, fwhm


def _by_curve(
    scanner: Scanner | None, regions: Mapping[str, Region], names: Sequence[str]
) -> dict[str, tuple[float, float]]:
    """R and its relative uncertainty by the scanner's curve, or by a sphere of the volume where it has none."""
    assert scanner is not None
    found = {}
    for name in names:
        volume_ml = regions[name].volume_ml
        if scanner.recovery is not None:
            value = scanner.recovery.value(volume_ml)
            found[name] = (value, scanner.recovery.u(volume_ml) / value)
        else:
            fwhm = float(np.mean(scanner.fwhm_mm))
            value, wider = (sphere_recovery(volume_ml, width) for width in (fwhm, fwhm * (1.0 + _U_FWHM)))
            found[name] = (value, abs(float(np.log(wider / value))))
    return found


def _by_sphere(
    fwhm: tuple[Widths, Widths], regions: Mapping[str, Region], names: Sequence[str]
) -> dict[str, tuple[float, float]]:
    found = {}
    for name in names:
        fine, wide = (sphere_recovery(regions[name].volume_ml, float(np.mean(width))) for width in fwhm)
        found[name] = (float(np.sqrt(fine * wide)), abs(float(np.log(wide / fine))) / float(np.sqrt(12.0)))
    return found


def _volume_slope(volume_ml: float, fwhm_mm: float) -> float:
    """d ln R / d ln V of a sphere of this volume."""
    ratio = sphere_recovery(volume_ml * _STEP, fwhm_mm) / sphere_recovery(volume_ml / _STEP, fwhm_mm)
    return float(np.log(ratio) / (2.0 * np.log(_STEP)))


def _is_weak(matrix: TransferMatrix, number: int) -> bool:
    return bool(matrix.noise[number] > _MOST_NOISE or matrix.w[number, number] < _LEAST_OWN)


def _body(anatomy: PreparedAnatomy) -> Image32:
    """Share of each voxel that may hold activity: the body, and what the CT does not show."""
    unseen = anatomy.takes_dose & (anatomy.body_share == 0)
    return np.where(unseen, np.float32(1.0), anatomy.body_share)


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
