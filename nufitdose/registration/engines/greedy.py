"""greedy as an engine, through picsl-greedy: a peer to compare with (github.com/pyushkevich/greedy).

`greedy` compares CTs, `greedy-both` CTs and square roots of activities at 1 : 0.5. Both start from their own rigid
(normalised mutual information) and affine (local correlation) registration of the CTs.
"""

import io
from typing import Any, cast

import numpy as np
from pydantic import Field

from nufitdose.config import Settings
from nufitdose.grid import Grid
from nufitdose.registration.engines.engine import Engine, Need, Request
from nufitdose.registration.engines.exchange import (
    compared_region,
    ct_of,
    field_from_lps,
    lps_geometry,
    root_activity,
)
from nufitdose.registration.field import DisplacementField
from nufitdose.types import Image32

_RIGID = "-a -dof 6 -m NMI -ia-image-centers -n 100x50x20 -i ct_f ct_m -gm body -o rigid"
_AFFINE = "-a -dof 12 -m NCC 2x2x2 -n 60x30x0 -i ct_f ct_m -gm body -ia rigid -o affine"
_READ = "-rf ct_f -r warp affine -rc whole"


class GreedySettings(Settings):
    """`iterations` from coarse to fine; `smoothing_voxels` of the force and of the field; windows of 2 `radius` + 1.

    `activity_weight` is that of the activities beside the CTs' 1; 0 leaves them out.
    """

    iterations: tuple[int, ...] = (100, 50, 20)
    smoothing_voxels: tuple[float, float] = (2.0, 0.7)
    radius: int = Field(default=2, ge=1)
    activity_weight: float = Field(default=0.0, ge=0)
    threads: int = Field(default=2, ge=1)


def run_greedy(request: Request) -> DisplacementField:
    """The field of greedy between the two scans, its affine and deformable parts composed by greedy itself."""
    from picsl_greedy import Greedy3D

    settings = cast(GreedySettings, request.settings)
    ct_f, ct_m = ct_of(request.fixed), ct_of(request.moving)
    images: dict[str, Any] = {
        "ct_f": _to_sitk(ct_f.data, ct_f.grid),
        "ct_m": _to_sitk(ct_m.data, ct_m.grid),
        "body": _to_sitk(compared_region(request.fixed, ct_f.grid), ct_f.grid),
    }
    pairs = "-w 1.0 -i ct_f ct_m"
    if settings.activity_weight > 0:
        images |= {
            "activity_f": _to_sitk(root_activity(request.fixed, ct_f.grid), ct_f.grid),
            "activity_m": _to_sitk(root_activity(request.moving, ct_m.grid), ct_m.grid),
        }
        pairs += f" -w {settings.activity_weight:g} -i activity_f activity_m"
    program, said = Greedy3D(), io.StringIO()

    def execute(command: str, **given: Any) -> None:
        program.execute(f"-d 3 -threads {settings.threads} -V 0 {command}", out=said, err=said, **given)

    execute(_RIGID, **images, rigid=None)
    request.on_progress(0.2)
    execute(_AFFINE, affine=None)
    request.on_progress(0.4)
    force, field = settings.smoothing_voxels
    execute(
        f"{pairs} -m NCC {'x'.join([str(settings.radius)] * 3)} -gm body -it affine "
        f"-n {'x'.join(str(n) for n in settings.iterations)} -s {force:g}vox {field:g}vox -wp 0 -o warp",
        warp=None,
    )
    request.on_progress(0.9)
    execute(_READ, whole=None)
    return field_from_lps(_array(program["whole"]), ct_f.grid).on(request.grid)


def _to_sitk(data: Image32, grid: Grid) -> Any:
    import SimpleITK as sitk  # noqa: N813

    image = sitk.GetImageFromArray(np.ascontiguousarray(data.transpose(2, 1, 0), dtype=np.float32))
    spacing, origin, direction = lps_geometry(grid)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction.ravel().tolist())
    return image


def _array(image: Any) -> np.ndarray:
    import SimpleITK as sitk  # noqa: N813

    return np.asarray(sitk.GetArrayFromImage(image))


_NEEDS = frozenset({Need.CTS, Need.GREEDY})
GREEDY = Engine(
    "greedy",
    run_greedy,
    "rigid, affine and deformable registration of {bases} by greedy (local correlation)",
    GreedySettings(),
    _NEEDS,
)
GREEDY_BOTH = Engine(
    "greedy-both",
    run_greedy,
    "rigid and affine registration of {bases} and deformable registration of all images by greedy (local correlation)",
    GreedySettings(activity_weight=0.5),
    _NEEDS,
)
