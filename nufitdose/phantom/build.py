"""The body a patient's organs are placed in: sex, size, posture, and the sizes drawn from stated distributions.

Positions are those of a reference adult of 176 cm with z = 0 at the lower end of L1 (proportions after
ICRP Publication 110), scaled to the patient. Organ masses have the ICRP Publication 89 reference adults
as means (Table 2.8, g); their spread is log-normal and chosen here.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nufitdose.phantom.shapes import Number

Sex = Literal["male", "female"]
Arms = Literal["up", "down"]

#: Reference masses (g), male and female, ICRP Publication 89, Table 2.8; bladder: wall and mean content.
REFERENCE_MASS_G: dict[str, tuple[float, float]] = {
    "liver": (1800.0, 1400.0),
    "spleen": (150.0, 130.0),
    "kidneys": (310.0, 275.0),
    "pancreas": (140.0, 120.0),
    "heart": (840.0, 620.0),
    "thyroid": (20.0, 17.0),
    "salivary_glands": (85.0, 70.0),
    "urinary_bladder": (250.0, 240.0),
    "stomach": (400.0, 370.0),
}
#: Coefficient of variation between patients of the organ's own size (chosen here, within autopsy ranges).
_SPREAD = {
    "liver": 0.16,
    "spleen": 0.30,
    "kidneys": 0.16,
    "pancreas": 0.18,
    "heart": 0.12,
    "thyroid": 0.30,
    "salivary_glands": 0.20,
    "urinary_bladder": 0.45,
    "stomach": 0.35,
}
_HEIGHT_CM = {"male": (176.0, 7.0), "female": (163.0, 6.5)}
ORGAN_DENSITY_G_ML = 1.05


@dataclass(frozen=True, eq=False)
class Build:
    """One patient's frame: scales of the reference positions and the volumes wanted of organs."""

    sex: Sex
    arms: Arms
    height_cm: float
    width: float
    depth: float
    fat_mm: float
    muscle_mm: float
    volume_ml: dict[str, float] = field(default_factory=dict)

    @property
    def length(self) -> float:
        """Scale along z."""
        return self.height_cm / 176.0

    @property
    def mean_scale(self) -> float:
        """Scale of a size that has no direction."""
        return float((self.width * self.depth * self.length) ** (1.0 / 3.0))

    def at(self, x: Number, y: Number, z: Number) -> NDArray[np.float64]:
        """A reference position (mm) in this patient."""
        return np.array([x * self.width, y * self.depth, z * self.length])

    def sizes(self, *radii: Number) -> NDArray[np.float64]:
        """Reference sizes (mm) along x, y, z in this patient."""
        return np.asarray(radii) * np.array([self.width, self.depth, self.length])


def draw_build(random: np.random.Generator, *, sex: Sex | None = None, arms: Arms | None = None) -> Build:
    """Draw sex, stature, girth, posture and organ sizes."""
    sex = sex or ("male" if random.random() < 0.5 else "female")
    arms = arms or ("up" if random.random() < 0.7 else "down")
    mean, spread = _HEIGHT_CM[sex]
    height = float(np.clip(random.normal(mean, spread), mean - 2.5 * spread, mean + 2.5 * spread))
    frame = (height / 176.0) ** 0.5 * (1.0 if sex == "male" else 0.96)
    width = frame * float(np.clip(random.normal(1.0, 0.04), 0.9, 1.1))
    depth = frame * float(np.clip(random.normal(1.0, 0.05), 0.88, 1.12))
    fat = float(np.clip(random.lognormal(np.log(16.0 if sex == "male" else 20.0), 0.4), 6.0, 45.0))
    muscle = float(np.clip(random.normal(0.0, 3.0), -6.0, 6.0))
    column = 0 if sex == "male" else 1
    volumes = {}
    for organ, masses in REFERENCE_MASS_G.items():
        sigma = np.sqrt(np.log1p(_SPREAD[organ] ** 2))
        own = float(np.exp(np.clip(random.normal(), -2.3, 2.3) * sigma - 0.5 * sigma**2))
        stature = (height / mean) ** 2  # organ mass follows body size
        volumes[organ] = masses[column] * own * stature / ORGAN_DENSITY_G_ML
    return Build(sex, arms, height, width, depth, fat, muscle, volumes)
