"""`register`: bring one scan onto another with an engine chosen by name."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nufitdose.device import resolve_device
from nufitdose.grid import Grid
from nufitdose.registration.engines.engine import Engine, Need, Request
from nufitdose.registration.engines.linear import Basis, rigid_pose
from nufitdose.registration.engines.poses import UNBENT
from nufitdose.registration.engines.registry import find_engine
from nufitdose.registration.field import DisplacementField
from nufitdose.registration.network import TrainedNetwork, load_network
from nufitdose.registration.objective import ObjectiveSettings
from nufitdose.registration.quality import RegistrationQuality, registration_quality
from nufitdose.registration.uncertainty import registration_uncertainty
from nufitdose.study import TimePoint
from nufitdose.types import Affine, Mask
from nufitdose.volume import Volume

_FINEST_FIELD_MM = 2.0  # fields bend over 8 mm and more; on a fine CT one takes as much room as three more of these


@dataclass(frozen=True, eq=False)
class Registration:
    """A moving scan brought onto a fixed one: `field` (mm, RAS+, pull) and how well that went.

    `basis` names the images that were compared. `field` lies on the fixed CT grid, or on the fixed activity grid
    where there is no CT, with fewer voxels where these are finer than 2 mm, and with more where the activity reaches
    beyond the CT.
    `unregistered` is the quality as the scans stand in their worlds. `seconds` is what the engine took.
    `weights_sha256` is the digest of the weights file of the network; None where the engine has no network.
    `rigid` is the rigid motion alone and its quality, beside what an engine that bends made of it; None for the others.
    `u_registration_mm` is the standard uncertainty of a component of the displacement (see
    `nufitdose.registration.uncertainty`).
    """

    engine: str
    basis: Basis
    field: DisplacementField
    seconds: float
    quality: RegistrationQuality
    unregistered: RegistrationQuality
    weights_sha256: str | None = None
    rigid: "RigidPart | None" = None
    u_registration_mm: Volume | None = None

    def warp(self, volume: Volume, onto: Grid | None = None) -> Volume:
        """A volume of the moving scan on the fixed scan, interpolated once (see `DisplacementField.warp`)."""
        return self.field.warp(volume, onto)

    def inside(self, moving_grid: Grid, onto: Grid | None = None) -> Mask:
        """Which voxels come from within the moving field of view (see `DisplacementField.inside`)."""
        return self.field.inside(moving_grid, onto)


@dataclass(frozen=True, eq=False)
class RigidPart:
    """The rigid motion of a pair, 4x4 from fixed world to moving world (mm), and how well it does alone."""

    pose: Affine
    grid: Grid
    quality: RegistrationQuality

    @property
    def field(self) -> DisplacementField:
        """The motion on the fixed activity grid, made when it is asked for: it takes as much room as three images."""
        return DisplacementField.from_affine(self.pose, self.grid)


def register(
    fixed: TimePoint,
    moving: TimePoint,
    *,
    engine: str = "nufit",
    weights: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    objective: ObjectiveSettings | None = None,
    device: str = "auto",
    on_progress: Callable[[float], None] | None = None,
) -> Registration:
    """Bring `moving` onto `fixed` with one of `ENGINES`; `on_progress` is told the share done, 0 ... 1.

    Compares CTs where both scans have one, else activities; deformable engines compare both, as `objective` says
    (LNCC of activities only fits scans of one tracer). `weights` is a weights file for engines with a network (None:
    the ones that come with the program), `options` change the engine's own settings. Raises `InputError` on an unknown
    engine, what it needs and is not there, a device that is not there, or a scan without activity.
    """
    chosen = find_engine(engine)
    torch_device = resolve_device(device)
    report = on_progress or (lambda share: None)
    chosen.check_installed()
    chosen.check_scans(fixed, moving)
    trained = load_network_for(chosen, weights)
    request = Request(
        fixed,
        moving,
        _field_grid(fixed),
        torch_device,
        objective or ObjectiveSettings(),
        trained.model if trained else None,
        chosen.settings_with(options or {}),
        lambda share: report(0.6 * share),
    )
    start = time.perf_counter()
    field = chosen.run(request)
    seconds = time.perf_counter() - start
    unmoved = DisplacementField.identity(fixed.activity.grid)
    before = registration_quality(fixed, moving, unmoved, device=torch_device)
    report(0.75)
    after = before if engine == "none" else registration_quality(fixed, moving, field, device=torch_device)
    report(0.85)
    rigid = None
    if engine not in UNBENT:
        pose = rigid_pose(fixed, moving, request.basis)
        moved = DisplacementField.from_affine(pose.matrix, fixed.activity.grid)
        quality = registration_quality(fixed, moving, moved, device=torch_device)
        rigid = RigidPart(pose.matrix, moved.grid, quality)
    u_mm = registration_uncertainty(fixed, moving, field)
    report(1.0)
    return Registration(
        engine,
        request.basis,
        field,
        seconds,
        after,
        before,
        weights_sha256=trained.sha256 if trained else None,
        rigid=rigid,
        u_registration_mm=u_mm,
    )


def _field_grid(fixed: TimePoint) -> Grid:
    """Where a field is told: the voxels of the CT, several in one where they are finer than fields bend."""
    images = fixed.activity.grid if fixed.ct is None else fixed.ct.grid
    finest = [s * max(1, round(_FINEST_FIELD_MM / s)) for s in images.spacing_mm]
    return images.resampled(finest).extended_over(images).extended_over(fixed.activity.grid)


def load_network_for(engine: Engine, weights: str | Path | None = None) -> TrainedNetwork | None:
    """The network of the weights file (None: the shipped one) for an engine that has one; None for the others."""
    return load_network(weights) if Need.WEIGHTS in engine.needs else None
