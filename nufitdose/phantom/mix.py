"""How the patients of a cohort differ beside tracer and anatomy: motion, scanner, field of view, bodies from images."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from nufitdose.config import Settings, build, read_yaml
from nufitdose.phantom.command import read_body
from nufitdose.phantom.image_anatomy import liver_centre_mm
from nufitdose.phantom.motion import MotionSize
from nufitdose.phantom.settings import LabelledImages

Range = tuple[float, float]
_LIVER_Z_MM = 50.0  # height of the liver in the body that `centre_z_mm` refers to
_KEPT_MM = 18.0  # left out at every face of a body from images: it moves, and beyond it there is air


class ImageBody(Settings):
    """The files of a body: its CT, the label map of its organs and their names; relative to the mix's file."""

    ct: str
    labels: str
    names: str


class CohortMix(Settings):
    """What is drawn for every patient; by default nothing differs.

    `motion`, `counts` and `blur` (of the scanner's resolution) are factors between two bounds, the last two evenly in
    their logarithms; `sliding`, `bent` (by a smooth random field of `bent_mm` besides, bones and all), `truncated` (a
    CT of `truncated_mm`) and `images` are shares of the patients. The field of view keeps a share within `field` of
    each side, and its middle is moved along z by up to `shift_mm`. A patient of `images` has one of `bodies`, the
    others are built.
    """

    motion: Range = (1.0, 1.0)
    counts: Range = (1.0, 1.0)
    blur: Range = (1.0, 1.0)
    sliding: float = Field(0.0, ge=0, le=1)
    bent: float = Field(0.0, ge=0, le=1)
    bent_mm: Range = (1.0, 4.0)
    truncated: float = Field(0.0, ge=0, le=1)
    truncated_mm: Range = (350.0, 500.0)
    field: Range = (1.0, 1.0)
    shift_mm: float = Field(0.0, ge=0)
    images: float = Field(0.0, ge=0, le=1)
    bodies: tuple[ImageBody, ...] = ()

    @model_validator(mode="after")
    def _ranges_are_in_order(self) -> "CohortMix":
        for name in ("motion", "counts", "blur", "bent_mm", "truncated_mm", "field"):
            low, high = getattr(self, name)
            if not 0.0 <= low <= high or (low == 0.0 and name != "motion") or (name == "field" and high > 1.0):
                raise ValueError(f"{name} [{low:g}, {high:g}] is no range from a smaller to a larger value")
        if self.images > 0 and not self.bodies:
            raise ValueError("images asks for patients of 'bodies', and none are named")
        return self

    def draw(
        self, random: np.random.Generator, shape: tuple[int, int, int], spacing_mm: float, centre_z_mm: float
    ) -> dict[str, Any]:
        """Fields of `PatientSettings` for one patient; the same numbers are drawn whatever is asked for."""
        motion, truncated_mm = random.uniform(*self.motion), random.uniform(*self.truncated_mm)
        counts, blur = (float(np.exp(random.uniform(*np.log(bounds)))) for bounds in (self.counts, self.blur))
        slides, cut, from_images = random.random(3) < (self.sliding, self.truncated, self.images)
        kept, shift, body = random.uniform(*self.field, 3), random.uniform(-1, 1) * self.shift_mm, random.random()
        bent, bent_mm = random.random() < self.bent, random.uniform(*self.bent_mm)
        drawn: dict[str, Any] = {
            "motion": motion,
            "count_level": counts,
            "blur": blur,
            "sliding": bool(slides),
            "ct_field_mm": truncated_mm if cut else None,
            "shape": tuple(int(n) for n in np.maximum(np.rint(np.multiply(shape, kept)), 16)),
            "centre_z_mm": centre_z_mm + shift,
            "motion_size": MotionSize(bent_mm=bent_mm if bent else 0.0),
        }
        if from_images:
            images = _read(self.bodies[int(body * len(self.bodies))])
            drawn |= _place(images, drawn["shape"], spacing_mm, shift)
        return drawn


def read_mix(path: Path) -> CohortMix:
    """The mix that a YAML file describes. Raises `InputError` where it is none or a file of a body is not there."""
    mix = build(CohortMix, read_yaml(path), where=path)
    bodies = tuple(
        ImageBody(**{key: str((path.parent / name).resolve()) for key, name in body.model_dump().items()})
        for body in mix.bodies
    )
    return mix.model_copy(update={"bodies": bodies})


@lru_cache(maxsize=4)
def _read(body: ImageBody) -> LabelledImages:
    images = read_body(Path(body.labels), Path(body.names), Path(body.ct), None)
    assert images is not None  # labels were given
    return images


def _place(
    images: LabelledImages, shape: tuple[int, int, int], spacing_mm: float, shift_mm: float
) -> Mapping[str, Any]:
    """The field of view within a body from images, its middle along z as near to the images' as that allows."""
    grid = (images.ct or images.labels).grid
    corners = grid.corners_mm()
    sides_mm = np.ptp(corners, axis=0) - 2.0 * _KEPT_MM
    fits = np.maximum(np.minimum(shape, np.floor(sides_mm / spacing_mm)), 16).astype(int)
    room_mm = max(float(sides_mm[2] - fits[2] * spacing_mm) / 2.0, 0.0)
    middle, liver = float(np.clip(shift_mm, -room_mm, room_mm)), liver_centre_mm(images.labels, images.names)
    lift = middle if liver is None else float(grid.centre_mm[2]) + middle - float(liver[2]) + _LIVER_Z_MM
    return {"images": images, "shape": tuple(int(n) for n in fits), "centre_z_mm": lift}
