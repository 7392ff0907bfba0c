"""`register`: bring one scan onto another with an engine chosen by name."""

import difflib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.registration.body import body_mask
from nufitdose.registration.device import resolve_device
from nufitdose.registration.diffeomorphism import upsampled
from nufitdose.registration.field import DisplacementField
from nufitdose.registration.linear import affine_pose, rigid_pose
from nufitdose.registration.network import NufitReg, shipped_network
from nufitdose.registration.objective import NetworkOutput, ObjectiveSettings, displacements
from nufitdose.registration.pair import WORKING_SPACING_MM, pair_of
from nufitdose.registration.quality import RegistrationQuality, registration_quality
from nufitdose.registration.refine import RefineSettings, refine
from nufitdose.study import TimePoint
from nufitdose.types import Mask
from nufitdose.volume import Volume

Basis = Literal["CT", "activity"]
Progress = Callable[[float], None]
Engine = Callable[[TimePoint, TimePoint, Grid, Basis, torch.device, Progress, ObjectiveSettings], DisplacementField]


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
    engine: str = "rigid",
    objective: ObjectiveSettings | None = None,
    device: str = "auto",
    on_progress: Callable[[float], None] | None = None,
) -> Registration:
    """Bring `moving` onto `fixed` with one of `ENGINES`; `on_progress` is told the share done, 0 ... 1.

    Compares CTs where both scans have one, else activities; deformable engines compare both, as `objective` says
    (LNCC of activities only fits scans of one tracer). Raises `InputError` on an unknown engine, a device that
    is not there, or a scan without activity.
    """
    if engine not in ENGINES:
        near = difflib.get_close_matches(engine, ENGINES, 1)
        hint = f"Did you mean {near[0]!r}? Known: " if near else "Known: "
        raise InputError(f"registration engine {engine!r} is unknown", remedy=hint + ", ".join(ENGINES))
    torch_device = resolve_device(device)
    tell = on_progress or (lambda share: None)
    basis: Basis = "CT" if fixed.ct is not None and moving.ct is not None else "activity"
    grid = fixed.activity.grid if fixed.ct is None else fixed.ct.grid.extended_over(fixed.activity.grid)
    start = time.perf_counter()
    field = ENGINES[engine](
        fixed, moving, grid, basis, torch_device, lambda share: tell(0.6 * share), objective or ObjectiveSettings()
    )
    seconds = time.perf_counter() - start
    body = body_mask(fixed)
    unmoved = DisplacementField.identity(fixed.activity.grid)
    before = registration_quality(fixed, moving, unmoved, body=body, device=torch_device)
    tell(0.8)
    after = before if engine == "none" else registration_quality(fixed, moving, field, body=body, device=torch_device)
    tell(1.0)
    return Registration(engine, basis, field, seconds, after, before)


def _none(
    fixed: TimePoint,
    moving: TimePoint,
    grid: Grid,
    basis: Basis,
    device: torch.device,
    tell: Progress,
    objective: ObjectiveSettings,
) -> DisplacementField:
    """The scans as they stand in their worlds."""
    return DisplacementField.identity(grid)


def _rigid(
    fixed: TimePoint,
    moving: TimePoint,
    grid: Grid,
    basis: Basis,
    device: torch.device,
    tell: Progress,
    objective: ObjectiveSettings,
) -> DisplacementField:
    return DisplacementField.from_affine(rigid_pose(fixed, moving, basis, device, tell).matrix, grid)


def _affine(
    fixed: TimePoint,
    moving: TimePoint,
    grid: Grid,
    basis: Basis,
    device: torch.device,
    tell: Progress,
    objective: ObjectiveSettings,
) -> DisplacementField:
    """The rigid pose and then twelve parameters: for scans of two patients."""
    return DisplacementField.from_affine(affine_pose(fixed, moving, basis, device, tell).matrix, grid)


def deformable(network: Callable[[], NufitReg] | None, *, refined: bool) -> Engine:
    """An engine of the rigid pose, then a network (called for when a pair comes), instance optimisation, or both."""

    def engine(
        fixed: TimePoint,
        moving: TimePoint,
        grid: Grid,
        basis: Basis,
        device: torch.device,
        tell: Progress,
        objective: ObjectiveSettings,
    ) -> DisplacementField:
        model = None if network is None else network()
        start = rigid_pose(fixed, moving, basis, device, lambda share: tell(0.4 * share)).matrix
        spacing_mm = model.settings.working_spacing_mm if model else WORKING_SPACING_MM
        pair = pair_of(fixed, moving, spacing_mm, device, start, with_tumours=objective.rigidity > 0)
        tell(0.5)
        output = None
        if model is not None:
            with torch.no_grad():
                output = model.to(device)(pair.tensors.ct, pair.tensors.activity, pair.tensors.present)
        if refined:
            settings = RefineSettings(objective=objective)
            velocity = output.velocity if output is not None and not output.displacement else None
            output = NetworkOutput(
                refine(pair.tensors, velocity, settings, lambda share: tell(0.5 + 0.5 * share)).velocity
            )
        assert output is not None
        with torch.no_grad():
            displacement = upsampled(displacements(output)[0])
        return pair.field(displacement, grid)

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
