"""A trunk of a few organs whose motion is known: two scans, in memory, made in a blink."""

import numpy as np

from nufitdose.grid import Grid
from nufitdose.study import TimePoint
from nufitdose.volume import Quantity, Volume

#: centre (mm), radius (mm), HU, activity early and late (Bq/mL)
ORGANS = (
    ((45.0, 0.0, 10.0), 42.0, 60.0, 3e4, 1.5e4),
    ((-45.0, -20.0, 20.0), 26.0, 45.0, 1.2e5, 5e4),
    ((45.0, -45.0, -55.0), 22.0, 30.0, 2e5, 8e4),
    ((-42.0, -45.0, -50.0), 22.0, 30.0, 2e5, 8e4),
    ((0.0, -60.0, 0.0), 16.0, 700.0, 5e3, 3e3),
    ((40.0, 5.0, 70.0), 30.0, -800.0, 2e3, 1e3),
    ((-42.0, 5.0, 70.0), 30.0, -800.0, 2e3, 1e3),
    ((58.0, 15.0, 15.0), 11.0, 50.0, 3e5, 3e5),
)
CENTRES_MM = np.array([organ[0] for organ in ORGANS])
GRID = Grid.from_spacing((52, 44, 52), (4.0, 4.0, 4.0))


def moved(points_mm: np.ndarray) -> np.ndarray:
    """The displacement to undo (mm): upwards by up to 12 mm around the middle of the trunk."""
    near = np.exp(-((points_mm / [70.0, 70.0, 60.0]) ** 2).sum(axis=-1))
    return near[..., None] * np.array([3.0, -5.0, 12.0])


def scan(name: str, *, still: bool, ct: bool = True, noise: bool = True, matrix: np.ndarray | None = None) -> TimePoint:
    """The trunk at rest, or moved by `moved` (voxels pull: the fixed scan shows tissue of x + moved(x)).

    `matrix` (4x4) leads from this scan's world to the trunk's.
    """
    world = GRID.world(np.moveaxis(np.indices(GRID.shape), 0, -1).astype(float))
    if matrix is not None:
        world = world @ matrix[:3, :3].T + matrix[:3, 3]
    own = world if still else world + moved(world)
    inside = np.sqrt((own[..., 0] / 92.0) ** 2 + (own[..., 1] / 76.0) ** 2) < 1.0
    hu = np.where(inside, 0.0, -1000.0)
    activity = np.where(inside, 4e3 if still else 8e3, 0.0)
    for centre, radius, organ_hu, early, late in ORGANS:
        share = 1 / (1 + np.exp((np.linalg.norm(own - np.array(centre), axis=-1) - radius) / 1.5)) * inside
        hu += share * (organ_hu - hu)
        activity += share * ((late if still else early) - activity)
    if noise:
        chance = np.random.default_rng(1 if still else 2)
        hu = hu + chance.normal(0, 12, hu.shape)
        activity = chance.poisson(activity / 1e3) * 1e3
    anatomy = Volume(hu.astype(np.float32), GRID, Quantity.HU) if ct else None
    counts = Volume(activity.astype(np.float32), GRID, Quantity.ACTIVITY)
    return TimePoint.of(name, 24.0 if still else 4.0, counts, anatomy)
