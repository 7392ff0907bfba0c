"""Instance optimisation: the displacement of one pair, from the rigid pose or from what a network gave."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from pydantic import Field
from scipy import ndimage

from nufitdose.config import Settings
from nufitdose.grid import Grid
from nufitdose.registration.engines.correct import corrected
from nufitdose.registration.field import DisplacementField
from nufitdose.registration.intensity import tissue_contrast
from nufitdose.registration.network.correction import FieldCorrection
from nufitdose.registration.objective import ObjectiveSettings
from nufitdose.registration.optimiser.bones import stiffen_bones
from nufitdose.registration.optimiser.correlation import HalfField
from nufitdose.registration.optimiser.images import Level, can_be_halved, levels_of
from nufitdose.registration.optimiser.kernels import Kernels
from nufitdose.registration.optimiser.newton import Found, Objective, Smoothness, optimise
from nufitdose.registration.optimiser.on_device import OnDevice
from nufitdose.registration.optimiser.on_processor import OnProcessor, correlation
from nufitdose.registration.pair import Pair, pair_of
from nufitdose.study import TimePoint
from nufitdose.types import Affine
from nufitdose.types import Field as VectorImage

_LEAST_CT_CORRELATION = 0.3  # ρ² of the CTs after all: less is no patient, however little it was bent
_DOUBTFUL_CT_CORRELATION = 0.7  # 0.8 and more for one patient, 0.2 to 0.6 for two
_MOST_VOLUME_CHANGE = 0.2  # standard deviation of log J: 0.09 to 0.21 for one patient, 0.26 and more for two
_CORRECTION_SHARES = (1.0, 0.5, 0.25)  # the first that serves
_LEAST_ANATOMY = 0.02  # standard deviation of a CT's brightness about the body: 0.2 of patients, 0 of an empty CT
_BONE_NOISE_MM = 0.5  # of a displacement in bone; what departs more from rigid motion is real

KernelsOf = Callable[[Level], Kernels[Any]]  # who computes on a level


class RefineSettings(Settings):
    """`steps` at most on each level, the coarsest first, the last at `spacing_mm`; each level doubles the spacing.

    Activities alone are compared at `without_ct_mm`; beside CTs, which weigh 1, they weigh `activity_weight`: they say
    where tumours are and little of all else. A level ends early when a step changes the objective by less than
    `tolerance` of itself. `smoothness` weighs the roughness of the field, its curvature over `bending_mm`, and beside
    CTs, where there is activity, `volume` times its squared divergence; windows whose 1 - ρ² exceeds `misfit` count
    ever less. A start is smoothed by `start_blur_mm`. Bones that move nearly rigidly over `bones_mm` do so altogether
    (0: they are left).
    """

    steps: tuple[int, ...] = (8, 8, 12)
    spacing_mm: float = 2.7
    without_ct_mm: float = 4.0
    activity_weight: float = 0.1
    tolerance: float = 5e-4
    smoothness: float = 0.07
    bending_mm: float = 30.0
    volume: float = Field(default=4.0, ge=0)
    misfit: float = Field(default=0.2, gt=0)
    start_blur_mm: float = 8.0
    bones_mm: float = Field(default=32.0, ge=0)


def kernels_on(device: torch.device) -> KernelsOf:
    """Compiled loops on the CPU, tensors on any other device."""
    return OnProcessor if device.type == "cpu" else partial(OnDevice, device=device)


def refine(
    fixed: TimePoint,
    moving: TimePoint,
    pose: Affine,
    start: DisplacementField | None = None,
    settings: RefineSettings | None = None,
    terms: ObjectiveSettings | None = None,
    on_progress: Callable[[float], None] = lambda share: None,
    kernels_of: KernelsOf = OnProcessor,
    correction: FieldCorrection | None = None,
) -> tuple[Pair, Found]:
    """The working grid of a pair, and the displacement found on it that follows after the rigid `pose`.

    `start` is a displacement (mm) to improve, `terms` the weights and kinds of the objective's terms. A `correction`
    corrects what was found between CTs.
    """
    settings, terms = settings or RefineSettings(), terms or ObjectiveSettings()
    pair = prepare_pair(fixed, moving, pose, settings, with_tumours=terms.rigidity > 0)
    return pair, bend(pair, start, settings, terms, on_progress, kernels_of, correction)


def prepare_pair(
    fixed: TimePoint, moving: TimePoint, pose: Affine, settings: RefineSettings, *, with_tumours: bool = False
) -> Pair:
    """A pair as the optimiser sees it: all tissues of the CT have some contrast, read by cubic splines."""
    both = fixed.ct is not None and moving.ct is not None
    spacing_mm = settings.spacing_mm if both else settings.without_ct_mm
    cpu = torch.device("cpu")
    return pair_of(fixed, moving, spacing_mm, cpu, pose, with_tumours=with_tumours, see_ct=tissue_contrast, cubic=True)


def bend(
    pair: Pair,
    start: DisplacementField | None,
    settings: RefineSettings,
    terms: ObjectiveSettings,
    on_progress: Callable[[float], None] = lambda share: None,
    kernels_of: KernelsOf = OnProcessor,
    correction: FieldCorrection | None = None,
) -> Found:
    """The displacement of a prepared pair."""
    levels = _levels(pair, len(settings.steps), settings, terms)
    steps = settings.steps[len(settings.steps) - len(levels) :]
    grids = [pair.half_grid]
    while len(grids) < len(levels):
        grids.insert(0, _halved(grids[0]))
    starts = None if start is None else [_displacement(start, grid, settings.start_blur_mm) for grid in grids]
    smoothness = Smoothness(settings.smoothness, settings.bending_mm)
    kernels = [kernels_of(level) for level in levels]
    found = optimise(kernels, steps, starts, smoothness, settings.misfit, settings.tolerance, on_progress)
    objective = Objective(kernels[-1], smoothness, settings.misfit)
    found = _with_rigid_bones(found, objective, settings.bones_mm)
    if correction is None:
        return found
    return _corrected(pair, found, objective, settings, correction)


def _corrected(
    pair: Pair,
    found: Found,
    objective: Objective[Any],
    settings: RefineSettings,
    correction: FieldCorrection,
) -> Found:
    """What was found corrected, bones rigid; less of it where all is worse than the start or folds, or none.

    None too without CTs, or where they show no anatomy: of such scans nothing was learned.
    """
    inside = pair.tensors.body[0, 1].numpy() > 0.5
    ct = objective.kernels.level.ct
    if ct is None or ct[inside].std() < _LEAST_ANATOMY:
        return found
    u = found.displacement
    change = corrected(objective, u, correction) - u
    for share in _CORRECTION_SHARES:
        tried = np.ascontiguousarray(u + np.float32(share) * change)
        after = objective.at(objective.kernels.brought(tried)).value
        moved = Found(tried, found.before, after, found.steps)
        if after <= found.before and field_mm(moved, pair).jacobian_statistics().minimum > 0.0:
            return _with_rigid_bones(moved, objective, settings.bones_mm)
    return found


def finest_level(pair: Pair, settings: RefineSettings, terms: ObjectiveSettings) -> Level:
    """What is compared at last."""
    return _levels(pair, 1, settings, terms)[0]


def _levels(pair: Pair, count: int, settings: RefineSettings, terms: ObjectiveSettings) -> list[Level]:
    if bool(pair.tensors.present[0, 0]):
        terms = terms.model_copy(update={"weight_activity": settings.activity_weight})
    return levels_of(pair.tensors, count, terms, settings.volume)


def _with_rigid_bones(found: Found, objective: Objective[Any], reach_mm: float) -> Found:
    """What was found with its bones rigid; as it was without CT, or where that is worse than the start."""
    level = objective.kernels.level
    if reach_mm == 0 or level.ct is None:
        return found
    noise = 2.0 * _BONE_NOISE_MM / level.node_mm
    displacement = stiffen_bones(found.displacement, level.bone, reach_mm / level.node_mm, noise)
    after = objective.at(objective.kernels.brought(displacement)).value
    return Found(displacement, found.before, after, found.steps) if after <= found.before else found


def looks_like_one_patient(pair: Pair, found: Found, terms: ObjectiveSettings) -> bool:
    """Whether what was found is believed: CTs of two patients stay unlike, though volumes are changed beyond measure.

    Without CTs always. Compared at twice the finest spacing, where noise of the CTs says little; the bounds were
    measured on digital patients and bent real CTs.
    """
    if not bool(pair.tensors.present[0, 0]):
        return True
    inside = pair.tensors.body[0, 1, ::2, ::2, ::2].numpy() > 0.5
    spread = field_mm(found, pair).jacobian_statistics(inside).sd_log
    alike = _ct_correlation(pair, found, terms)
    return alike >= _DOUBTFUL_CT_CORRELATION or (alike >= _LEAST_CT_CORRELATION and not spread > _MOST_VOLUME_CHANGE)


def _ct_correlation(pair: Pair, found: Found, terms: ObjectiveSettings) -> float:
    """Mean ρ² of the CTs at twice the finest spacing."""
    images, u = pair.tensors, found.displacement
    if can_be_halved(images):
        images, u = images.halved(), _pooled(u)
    (level,) = levels_of(images, 1, terms.model_copy(update={"weight_activity": 0.0, "weight_ct": 1.0}))
    return correlation(level, u)


def field_mm(found: Found, pair: Pair) -> DisplacementField:
    """What was found as a field, mm on the half lattice of the working grid."""
    u = np.einsum("cd,dijk->cijk", pair.grid.affine[:3, :3].astype(np.float32), found.displacement)
    return DisplacementField(u, pair.half_grid)


def _displacement(start: DisplacementField, half: Grid, blur_mm: float) -> VectorImage:
    """A start on a half lattice, in voxels of the images; what is finer than its nodes is smoothed away."""
    sigma = max(blur_mm, 0.5 * min(half.spacing_mm)) / np.array(start.grid.spacing_mm)
    smooth = np.stack([ndimage.gaussian_filter(u, sigma, mode="nearest", truncate=3.0) for u in start.data])
    u_mm = DisplacementField(smooth, start.grid).on(half).data
    to_voxels = 2.0 * half.inverse_affine[:3, :3]
    return np.ascontiguousarray(np.einsum("cd,dijk->cijk", to_voxels.astype(np.float32), u_mm))


def _pooled(u: VectorImage) -> HalfField:
    """A displacement on the half lattice of images half as fine, in their voxels."""
    a, b, c = (n // 2 for n in u.shape[1:])
    return 0.5 * u.reshape(3, a, 2, b, 2, c, 2).mean(axis=(2, 4, 6))


def _halved(grid: Grid) -> Grid:
    affine = grid.affine @ np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = grid.world(np.full(3, 0.5))
    a, b, c = (n // 2 for n in grid.shape)
    return Grid((a, b, c), affine)
