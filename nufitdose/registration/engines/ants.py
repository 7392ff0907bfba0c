"""SyN of ANTs as an engine, through antspyx: a peer to compare with (Avants et al., doi:10.1016/j.media.2007.06.004).

Rigid and affine registration by mutual information, then SyN by local correlation down to full resolution: the strong
settings of its authors' comparisons, not the defaults of the package, whose last level does nothing.
"""

import tempfile
from pathlib import Path
from typing import Any, cast

import numpy as np
from pydantic import Field

from nufitdose.config import Settings
from nufitdose.grid import Grid
from nufitdose.io.field_file import load_field
from nufitdose.registration.engines.engine import Engine, Need, Request
from nufitdose.registration.engines.exchange import compared_region, ct_of, lps_geometry
from nufitdose.registration.field import DisplacementField
from nufitdose.types import Image32
from nufitdose.volume import OUTSIDE, Quantity


class AntsSettings(Settings):
    """`iterations` of SyN from coarse to fine, each level half as fine as the next; `step`, `flow_sigma` of SyN."""

    iterations: tuple[int, ...] = (100, 70, 50, 20)
    step: float = Field(default=0.1, gt=0)
    flow_sigma: float = Field(default=3.0, ge=0)
    radius: int = Field(default=4, ge=1)


def run_ants(request: Request) -> DisplacementField:
    """The field of SyN between the two CTs, composed with its affine part by ANTs itself."""
    import ants

    settings = cast(AntsSettings, request.settings)
    ct_f, ct_m = ct_of(request.fixed), ct_of(request.moving)
    fixed, moving = _to_ants(ct_f.data, ct_f.grid), _to_ants(ct_m.data, ct_m.grid)
    with tempfile.TemporaryDirectory() as aside:
        found = ants.registration(
            fixed,
            moving,
            type_of_transform="SyNRA",
            outprefix=f"{aside}/pair_",
            mask=_to_ants(compared_region(request.fixed, ct_f.grid), ct_f.grid),
            mask_all_stages=True,
            grad_step=settings.step,
            flow_sigma=settings.flow_sigma,
            total_sigma=0,
            aff_metric="mattes",
            aff_sampling=32,
            aff_random_sampling_rate=0.25,
            aff_iterations=(1000, 500, 250, 100),
            aff_shrink_factors=(8, 4, 2, 1),
            aff_smoothing_sigmas=(3, 2, 1, 0),
            syn_metric="CC",
            syn_sampling=settings.radius,
            reg_iterations=settings.iterations,
        )
        request.on_progress(0.9)
        air = OUTSIDE[Quantity.HU]
        whole = ants.apply_transforms(
            fixed, moving, found["fwdtransforms"], compose=f"{aside}/whole_", defaultvalue=air
        )
        return DisplacementField(*load_field(Path(whole))).on(request.grid)


def _to_ants(data: Image32, grid: Grid) -> Any:
    import ants

    spacing, origin, direction = lps_geometry(grid)
    return ants.from_numpy(np.ascontiguousarray(data, dtype=np.float32), origin, spacing, direction)


ANTS = Engine(
    "ants",
    run_ants,
    "rigid, affine and SyN registration of {bases} by ANTs (local correlation)",
    AntsSettings(),
    frozenset({Need.CTS, Need.ANTS}),
)
