"""A study small enough to be made in a test: a warm sphere that decays, on a grid of 12 x 14 x 10 voxels."""

from datetime import datetime
from pathlib import Path

import numpy as np

from nufitdose.grid import Grid
from nufitdose.io.study_folder import save_study
from nufitdose.study import Administration, Structures, Study, TimePoint
from nufitdose.volume import Quantity, Volume

GRID = Grid.from_spacing((12, 14, 10), (5.0, 5.0, 6.0), centre_mm=(10.0, -20.0, 300.0))


def sphere(radius_mm: float = 18.0) -> np.ndarray:
    index = np.stack(np.meshgrid(*[np.arange(float(n)) for n in GRID.shape], indexing="ij"), -1)
    return np.linalg.norm(GRID.world(index) - GRID.centre_mm, axis=-1) < radius_mm


def small_study(
    hours: tuple[float, ...] = (4.0, 24.0, 96.0), *, teff_h: float = 60.0, ct: bool = True, structures: bool = True
) -> Study:
    hot = sphere()
    hu = np.where(sphere(60.0), 40.0, -1000.0).astype(np.float32)
    labels = Volume(hot.astype(np.uint8), GRID, Quantity.LABELS)
    drawn = Structures((labels,), {1: "liver"}) if structures else None
    points = []
    for number, hour in enumerate(hours, start=1):
        activity = np.where(hot, 2e5 * 2 ** (-hour / teff_h), 0.0).astype(np.float32)
        points.append(
            TimePoint.of(
                f"tp{number}",
                hour,
                Volume(activity, GRID, Quantity.ACTIVITY),
                Volume(hu, GRID, Quantity.HU) if ct else None,
                drawn if number == 1 else None,
            )
        )
    administration = Administration(7400.0, datetime.fromisoformat("2024-03-01T09:30:00+01:00"))
    return Study("P7", "Lu-177", administration, "tp1", tuple(points))


def small_study_folder(folder: Path, **how) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_study(small_study(**how), folder)
    return folder
