"""A whole procedural patient: every solid in painting order, the regions they are filled with, the tumours."""

from dataclasses import dataclass, replace

import numpy as np

from nufitdose.grid import Grid
from nufitdose.phantom import skeleton, trunk, viscera
from nufitdose.phantom.build import Build
from nufitdose.phantom.composition import Composition, Scene, compose
from nufitdose.phantom.shapes import Solid, loft
from nufitdose.phantom.tissues import Palette, Region
from nufitdose.phantom.tumours import Tumour, place_tumours
from nufitdose.types import Field


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A patient at rest: the scene to paint, its regions by number, tumours, and the body it was built on."""

    scene: Scene
    regions: tuple[Region, ...]
    tumours: tuple[Tumour, ...]
    body: Build

    def compose(self, grid: Grid, pull: Field | None = None, *, subsamples: int = 2) -> Composition:
        """What every voxel of `grid` is made of, `pull` leading back to the pose at rest (mm, RAS+)."""
        return compose(self.scene, grid, pull, subsamples=subsamples)


def build_anatomy(
    body: Build,
    random: np.random.Generator,
    *,
    inside_mm: tuple[np.ndarray, np.ndarray],
    tumour_sites: tuple[str, ...] = (),
    thyroid_left: float = 1.0,
) -> Anatomy:
    """Place every organ in `body`, then one tumour at each of `tumour_sites`, centred within the box `inside_mm`."""
    palette = Palette()
    muscle, cavity = trunk.muscle_profile(body), trunk.cavity_profile(body)
    profiles = [trunk.fat_profile(body, muscle), muscle, cavity]
    index = {"fat": 0, "muscle": 1, "cavity": 2}
    mesentery = palette.region("mesentery", structure="")
    bones = skeleton.rib_cage(body, cavity, palette)
    solids: list[Solid] = [
        *trunk.outline(body, palette, index),
        *trunk.muscles(body, palette),
        *skeleton.skull(body, palette),
        *skeleton.arm_bones(body, palette),
        *skeleton.girdles(body, palette),
        loft(cavity, index["cavity"]).painted(mesentery),
        *viscera.chest(body, palette),
        *trunk.deep_muscles(body, palette),
        *viscera.bowel(body, palette, random),
        *viscera.pelvis(body, palette),
        *viscera.upper_abdomen(body, palette, random),
        *viscera.neck(body, palette, thyroid_left),
        *bones,
        *skeleton.spine(body, palette),
    ]
    bare = Anatomy(Scene.of(solids, profiles), palette.regions, (), body)
    low, high = inside_mm
    within = Grid.from_spacing([max(2, int(n)) for n in (high - low) / 5.0], (5.0,) * 3, centre_mm=(low + high) / 2)
    tumours = place_tumours(bare.compose(within, subsamples=1), palette, random, tumour_sites)
    if not tumours:
        return bare
    for tumour in tumours:
        solids += tumour.solids
    return replace(bare, scene=Scene.of(solids, profiles), regions=palette.regions, tumours=tuple(tumours))
