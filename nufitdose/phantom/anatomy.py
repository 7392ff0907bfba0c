"""A whole procedural patient: every solid in painting order, the compartments they are filled with, the tumours."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from nufitdose.grid import Grid
from nufitdose.phantom import skeleton, trunk, viscera
from nufitdose.phantom.build import Build
from nufitdose.phantom.composition import Composition, Scene, compose
from nufitdose.phantom.shapes import Profile, Solid, loft
from nufitdose.phantom.texture import SmoothNoise
from nufitdose.phantom.tissues import TISSUES, Compartment, Palette
from nufitdose.phantom.tumours import Tumour, place_tumours
from nufitdose.types import Field, Image32

Implant = Literal["none", "hip", "spine"]
CT_TEXTURE_MM = (6.0, 22.0)  # wavelengths of the unevenness of tissues on CT


@runtime_checkable
class Anatomy(Protocol):
    """A patient at rest, whatever it was made from; compartment 0 is the air around it."""

    @property
    def compartments(self) -> tuple[Compartment, ...]:
        """What the numbers of a composition mean."""

    @property
    def tumours(self) -> frozenset[str]:
        """Structures that are tumours."""

    @property
    def couch_y_mm(self) -> float:
        """Where the patient touches the couch (RAS+)."""

    def compose(self, grid: Grid, pull: Field | None = None, *, subsamples: int = 2) -> Composition:
        """What every voxel of `grid` is made of, `pull` leading back to the pose at rest (mm, RAS+)."""

    def hu(self, composition: Composition, pull: Field | None = None) -> Image32:
        """CT numbers without noise of the tissue found in each voxel."""


@dataclass(frozen=True, eq=False)
class ProceduralAnatomy:
    """A patient of solids: evaluated at any position, so that no pose is ever resampled from another."""

    scene: Scene
    compartments: tuple[Compartment, ...]
    placed: tuple[Tumour, ...]
    body: Build
    contrast: bool
    texture: SmoothNoise

    @property
    def tumours(self) -> frozenset[str]:
        """Structures that are tumours."""
        return frozenset(tumour.name for tumour in self.placed)

    @property
    def couch_y_mm(self) -> float:
        """Just behind the back."""
        return float(self.body.at(0, -118, 0)[1] - 0.9 * self.body.fat_mm)

    @cached_property
    def _numbers(self) -> tuple[np.ndarray, np.ndarray]:
        tissues = [TISSUES[compartment.tissue] for compartment in self.compartments]
        mean = np.array([t.enhanced_hu if self.contrast else t.hu for t in tissues])
        return mean, np.array([t.texture_hu for t in tissues])

    def compose(self, grid: Grid, pull: Field | None = None, *, subsamples: int = 2) -> Composition:
        """What every voxel of `grid` is made of, `pull` leading back to the pose at rest (mm, RAS+)."""
        return compose(self.scene, grid, pull, subsamples=subsamples)

    def hu(self, composition: Composition, pull: Field | None = None) -> Image32:
        """Mean CT number of each tissue with its texture."""
        mean, texture = self._numbers
        return composition.mean(mean) + composition.mean(texture) * self.texture.on(composition.grid, pull)


def build_anatomy(
    body: Build,
    random: np.random.Generator,
    tumour_random: np.random.Generator,
    *,
    inside_mm: tuple[np.ndarray, np.ndarray],
    tumour_sites: tuple[str, ...] = (),
    tumour_mm: tuple[float, float] = (5.0, 60.0),
    thyroid_left: float = 1.0,
    contrast: bool = False,
    implant: Implant = "none",
) -> ProceduralAnatomy:
    """Place every organ in `body`, then one tumour at each of `tumour_sites`, centred within the box `inside_mm`."""
    palette = Palette()
    muscle, cavity = trunk.muscle_profile(body), trunk.cavity_profile(body)
    profiles = [trunk.fat_profile(body, muscle), muscle, cavity]
    solids = _organs(body, palette, cavity, random, thyroid_left)
    solids += skeleton.implants(body, palette, implant)
    placed: list[Tumour] = []
    if tumour_sites:
        low, high = inside_mm
        shape = [max(2, int(n)) for n in (high - low) / 5.0]
        within = Grid.from_spacing(shape, (5.0,) * 3, centre_mm=(low + high) / 2)
        resting = compose(Scene.of(solids, profiles), within, subsamples=1)
        placed = place_tumours(resting, palette, tumour_random, tumour_sites, tumour_mm)
    for tumour in placed:
        solids += tumour.solids
    texture = SmoothNoise.draw(random, CT_TEXTURE_MM)
    scene = Scene.of(solids, profiles)
    return ProceduralAnatomy(scene, palette.compartments, tuple(placed), body, contrast, texture)


def _organs(
    body: Build, palette: Palette, cavity: Profile, random: np.random.Generator, thyroid_left: float
) -> list[Solid]:
    """All solids of a patient from back to front: each covers what stands before it."""
    index = {"fat": 0, "muscle": 1, "cavity": 2}
    mesentery = palette.compartment("mesentery", structure="")
    return [
        *trunk.outline(body, palette, index),
        *trunk.muscles(body, palette),
        *skeleton.skull(body, palette),
        *skeleton.arm_bones(body, palette),
        *skeleton.girdles(body, palette),
        loft(cavity, index["cavity"]).paint(mesentery),
        *viscera.chest(body, palette, index["cavity"]),
        *trunk.deep_muscles(body, palette),
        *viscera.bowel(body, palette, random),
        *viscera.pelvis(body, palette),
        *(solid.within(index["cavity"]) for solid in viscera.upper_abdomen(body, palette, random)),
        *viscera.neck(body, palette, thyroid_left),
        *skeleton.rib_cage(body, cavity, index["cavity"], palette),
        *skeleton.spine(body, palette),
    ]
