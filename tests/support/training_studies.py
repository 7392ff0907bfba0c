"""Studies to train on, small enough to be made in a test: warm spheres of different sizes in different bodies."""

from pathlib import Path

import numpy as np

from nufitdose.io.study_folder import save_study
from nufitdose.study import Structures, Study, TimePoint
from nufitdose.volume import Quantity, Volume
from support.small_study import GRID, small_study, sphere


def write_patient(
    folder: Path, name: str, *, dimmer: float = 1.0, hours: tuple[float, ...] = (4.0, 24.0), drawn: bool = False
) -> Path:
    """A small study whose images are nobody else's; with `drawn` the sphere is a structure of every scan."""
    made = small_study(hours)
    points = []
    own = sphere(14.0 + 10.0 * dimmer).astype(np.uint8)  # a label map that is nobody else's either
    structures = Structures((Volume(own, GRID, Quantity.LABELS),), {1: "liver"}, frozenset())
    for tp in made.timepoints:
        activity = Volume(tp.activity.data * np.float32(dimmer), GRID, tp.activity.quantity)
        ct = Volume(tp.ct.data - np.float32(10 * dimmer), GRID, tp.ct.quantity)
        points.append(TimePoint.of(tp.id, tp.time_h, activity, ct, structures if drawn else None))
    folder.mkdir(parents=True)
    save_study(Study(name, made.nuclide, made.administration, "tp1", tuple(points)), folder)
    return folder
