"""`register`: bring one scan onto another with an engine chosen by name."""

import dataclasses
import difflib
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.registration.device import resolve_device
from nufitdose.registration.diffeomorphism import upsampled
from nufitdose.registration.field import DisplacementField
from nufitdose.registration.linear import Basis, Progress, affine_pose, basis_of, rigid_pose
from nufitdose.registration.network import NufitReg, shipped_network
from nufitdose.registration.objective import NetworkOutput, ObjectiveSettings, displacements
from nufitdose.registration.pair import WORKING_SPACING_MM, pair_of
from nufitdose.registration.quality import RegistrationQuality, registration_quality
from nufitdose.registration.refine import RefineSettings, refine
from nufitdose.study import TimePoint
from nufitdose.types import Mask
from nufitdose.volume import Volume

_STEPS_FROM_NETWORK = (20, 20, 8)  # of the instance optimisation, the coarsest level first: less is left to do


@dataclass(frozen=True, eq=False)
class Task:
    """What an engine is asked: the field that brings `moving` onto `fixed`, on `grid`; `tell` hears the share done."""

    fixed: TimePoint
    moving: TimePoint
    grid: Grid
    device: torch.device
    objective: ObjectiveSettings = dataclasses.field(default_factory=ObjectiveSettings)
    tell: Progress = lambda share: None

    @property
    def basis(self) -> Basis:
        """The images that a linear registration compares."""
        return basis_of(self.fixed, self.moving)


Engine = Callable[[Task], DisplacementField]


@dataclass(frozen=True, eq=False)
class Registration:
    """A moving scan brought onto a fixed one: `field` (mm, RAS+, pull) and how well that went.

    `basis` names the images that were compared. `field` lies on the fixed CT grid, or on the fixed activity grid
    where there is no CT; where the activity reaches beyond the CT, voxels are added to the CT grid to cover it.
    `unregistered` is the quality as the scans stand in their worlds. `seconds` is what the engine took.
    """

    engine: str
    basis: Basis
    field: DisplacementField
    seconds: float
    quality: RegistrationQuality
    unregistered: RegistrationQuality

    def warp(self, volume: Volume, onto: Grid | None = None) -> Volume:
        """A volume of the moving scan on the fixed scan, interpolated once (see `DisplacementField.warp`)."""
        return self.field.warp(volume, onto)

    def inside(self, moving_grid: Grid, onto: Grid | None = None) -> Mask:
        """Which voxels are brought from within the moving field of view (see `DisplacementField.inside`)."""
        return self.field.inside(moving_grid, onto)


def register(
    fixed: TimePoint,
    moving: TimePoint,
    *,
    engine: str = "nufit",
    objective: ObjectiveSettings | None = None,
    device: str = "auto",
    on_progress: Callable[[float], None] | None = None,
) -> Registration:
    """Bring `moving` onto `fixed` with one of `ENGINES`; `on_progress` is told the share done, 0 ... 1.

    Compares CTs where both scans have one, else activities; deformable engines compare both, as `objective` says
    (LNCC of activities only fits scans of one tracer). Raises `InputError` on an unknown engine, a device that
    is not there, or a scan without activity.
    """
    run = engine_named(engine)
    torch_device = resolve_device(device)
    tell = on_progress or (lambda share: None)
    grid = fixed.activity.grid if fixed.ct is None else fixed.ct.grid.extended_over(fixed.activity.grid)
    task = Task(fixed, moving, grid, torch_device, objective or ObjectiveSettings(), lambda share: tell(0.6 * share))
    start = time.perf_counter()
    field = run(task)
    seconds = time.perf_counter() - start
    unmoved = DisplacementField.identity(fixed.activity.grid)
    before = registration_quality(fixed, moving, unmoved, device=torch_device)
    tell(0.8)
    after = before if engine == "none" else registration_quality(fixed, moving, field, device=torch_device)
    tell(1.0)
    return Registration(engine, task.basis, field, seconds, after, before)


def engine_named(name: str) -> Engine:
    """One of `ENGINES`; raises `InputError` on an unknown name."""
    if name not in ENGINES:
        near = difflib.get_close_matches(name, ENGINES, 1)
        hint = f"Did you mean {near[0]!r}? Known: " if near else "Known: "
        raise InputError(f"registration engine {name!r} is unknown", remedy=hint + ", ".join(ENGINES))
    return ENGINES[name]


def _none(task: Task) -> DisplacementField:
    """The scans as they stand in their worlds."""
    return DisplacementField.identity(task.grid)


def _rigid(task: Task) -> DisplacementField:
    pose = rigid_pose(task.fixed, task.moving, task.basis, task.tell)
    return DisplacementField.from_affine(pose.matrix, task.grid)


def _affine(task: Task) -> DisplacementField:
    """The rigid pose and then twelve parameters: for scans of two patients."""
    pose = affine_pose(task.fixed, task.moving, task.basis, task.tell)
    return DisplacementField.from_affine(pose.matrix, task.grid)


def deformable(network: Callable[[], NufitReg] | None, *, refined: bool) -> Engine:
    """An engine of the rigid pose, then a network (called for when a pair comes), instance optimisation, or both."""

    def engine(task: Task) -> DisplacementField:
        fixed, moving, device, tell = task.fixed, task.moving, task.device, task.tell
        model = None if network is None else network()
        start = rigid_pose(fixed, moving, task.basis, lambda share: tell(0.4 * share)).matrix
        spacing_mm = model.settings.working_spacing_mm if model else WORKING_SPACING_MM
        pair = pair_of(fixed, moving, spacing_mm, device, start, with_tumours=task.objective.rigidity > 0)
        tell(0.5)
        output = None
        if model is not None:
            with torch.no_grad():
                output = model.to(device)(pair.tensors.ct, pair.tensors.activity, pair.tensors.present)
        if refined:
            velocity = output.velocity if output is not None and not output.displacement else None
            settings = RefineSettings(objective=task.objective)
            if velocity is not None:
                settings = settings.model_copy(update={"steps": _STEPS_FROM_NETWORK})
            output = NetworkOutput(
                refine(pair.tensors, velocity, settings, lambda share: tell(0.5 + 0.5 * share)).velocity
            )
        assert output is not None
        with torch.no_grad():
            displacement = upsampled(displacements(output)[0])
        return pair.field(displacement, task.grid)

    return engine


#: The engines by name; each returns the field on the grid it is given.
ENGINES: dict[str, Engine] = {
    "none": _none,
    "rigid": _rigid,
    "affine": _affine,
    "refine": deformable(None, refined=True),
    "network": deformable(shipped_network, refined=False),
    "nufit": deformable(shipped_network, refined=True),
}
