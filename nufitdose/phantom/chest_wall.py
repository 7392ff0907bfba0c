"""Where the inner chest wall of a patient is, found from its labels, and what slides along it."""

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nufitdose.grid import Grid
from nufitdose.phantom.motion import BREATHING, Mover
from nufitdose.phantom.sliding import EDGE, ChestWall
from nufitdose.types import Labels

logger = logging.getLogger(__name__)

_WALL_BONES = ("rib", "sternum", "costal", "pelvic_bone", "pelvis", "hip")
_SPINE = ("vertebra", "thoracic_spine", "lumbar_spine", "cervical_spine", "spinal_cord", "sacrum")
_LUNGS = ("lung",)
_UPPER_ABDOMEN = ("liver", "spleen", "kidney")
_ANGLES, _PLACES = 72, 49
_STEP_MM, _RAY_MM, _LONGEST_MM = 6.0, 2.0, 320.0
_TO_BONE_MM = 3.0  # pleura, cortex and half a ray step before the first sample in the marrow
_APEX_MM, _FADE_MM = 130.0, 80.0  # least height of the chest above the dome; way on which sliding ends below
_FALL_OFF_MM, _SPINE_FALL_OFF_MM, _LUNG_WEIGHT = 11.0, 20.0, 0.02
_CROSSING_MM, _CROSSING_FALL_OFF_MM, _BONE_WEIGHT = 4.0, 8.0, 3.0


def find_chest_wall(mover: Mover, grid: Grid, labels: Labels, structures: Sequence[str]) -> ChestWall | None:
    """The inner wall of a patient, compartment numbers on `grid` being `labels`; None, and a warning, without lungs.

    From the lung apex to 80 mm below liver, spleen and kidneys. `structures` names each compartment number.
    """
    lungs, abdomen = (np.argwhere(_of(labels, structures, names)) for names in (_LUNGS, _UPPER_ABDOMEN))
    if len(lungs) < 10:
        logger.warning("no lungs are in the field of view: nothing slides along the chest wall")
        return None
    lungs_mm = grid.world(lungs.astype(np.float64))
    low, middle, apex = np.percentile(lungs_mm[:, 2], [0.5, 50.0, 100.0])
    dome = float(middle)
    if len(abdomen):
        below = grid.world(abdomen.astype(np.float64))[:, 2]
        low, dome = min(low, float(below.min())), float(np.percentile(below, 99.5))
    apex = max(float(apex), dome + _APEX_MM)
    heights = np.arange(low - _FADE_MM, apex + _STEP_MM, _STEP_MM)
    axis = lungs_mm[:, :2].mean(axis=0)
    radius = _radii(grid, labels, structures, axis, heights)
    bones = _of(labels, structures, _WALL_BONES)
    crossing = _distance_to_crossing(bones, grid, axis, heights, radius)
    lift = _lifts(mover, axis, heights, radius, dome, apex, grid, crossing)
    return ChestWall(axis, float(heights[0]), _STEP_MM, radius, lift)


def _of(labels: Labels, structures: Sequence[str], names: tuple[str, ...]) -> NDArray[np.bool_]:
    return np.isin(labels, [n for n, structure in enumerate(structures) if structure.startswith(names)])


def _radii(
    grid: Grid, labels: Labels, structures: Sequence[str], axis: NDArray[np.float64], heights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """ρ(θ, z): just inside the first rib on each ray, between and below ribs led on smoothly, or around the organs.

    Lungs, liver, spleen and kidneys are within it even where they bulge between ribs.
    """
    theta = -np.pi + 2.0 * np.pi * np.arange(_ANGLES) / _ANGLES
    reach = np.arange(10.0, _LONGEST_MM, _RAY_MM)
    t, z, r = np.meshgrid(theta, heights, reach, indexing="ij")
    points = np.stack([axis[0] + r * np.cos(t), axis[1] + r * np.sin(t), z], axis=-1)
    index = np.moveaxis(grid.index(points), -1, 0)
    organs = tuple(name for names, _ in BREATHING.values() for name in names) + _LUNGS
    seen = [
        ndimage.map_coordinates(_of(labels, structures, names).astype(np.uint8), index, order=0, mode="constant") > 0
        for names in (_WALL_BONES, organs, _LUNGS + _UPPER_ABDOMEN)
    ]
    bone = np.where(seen[0].any(axis=-1), reach[seen[0].argmax(axis=-1)] - _TO_BONE_MM, np.nan)
    organ, solid = (
        np.where(s.any(axis=-1), reach[-1 - s[..., ::-1].argmax(axis=-1)] + _RAY_MM, np.nan) for s in seen[1:]
    )
    usual = float(np.nanmedian(organ))
    radius = np.fmax([_lead_on(b, o, usual) for b, o in zip(bone, organ, strict=True)], solid)
    return ndimage.gaussian_filter(radius, (1.2, 1.5), mode=("wrap", "nearest"))


def _lead_on(bone: NDArray[np.float64], organ: NDArray[np.float64], usual: float) -> NDArray[np.float64]:
    """One angle's radii at all heights: bones where there are any above and below, else organs, else `usual`."""
    heights, hit = np.arange(len(bone)), np.flatnonzero(np.isfinite(bone))
    target = organ.copy()
    if len(hit):
        between = slice(hit[0], hit[-1] + 1)
        target[between] = np.interp(heights[between], hit, bone[hit])
    known = np.isfinite(target)
    return np.interp(heights, heights[known], target[known]) if known.any() else np.full(len(bone), usual)


def _distance_to_crossing(
    bones: NDArray[np.bool_],
    grid: Grid,
    axis: NDArray[np.float64],
    heights: NDArray[np.float64],
    radius: NDArray[np.float64],
) -> NDArray[np.float32] | None:
    """Distance (mm) from bones well within the wall, where an organ bulges past them: they hold what is around them."""
    index = np.argwhere(bones)
    points = grid.world(index.astype(np.float64))
    wall = ChestWall(axis, float(heights[0]), _STEP_MM, radius - _CROSSING_MM, np.zeros((2, 2, len(heights))))
    index = index[wall.inside(points)]
    if not len(index):
        return None
    clear = np.ones(grid.shape, dtype=bool)
    clear[tuple(index.T)] = False
    distance = ndimage.distance_transform_edt(clear, sampling=grid.spacing_mm)
    return np.asarray(distance, dtype=np.float32)


def _lifts(
    mover: Mover,
    axis: NDArray[np.float64],
    heights: NDArray[np.float64],
    radius: NDArray[np.float64],
    dome: float,
    apex: float,
    grid: Grid,
    crossing_mm: NDArray[np.float32] | None,
) -> NDArray[np.float64]:
    """Shares of the breathing shift: organs as in smooth motion, lungs less towards the apex, none at the spine."""
    place = np.linspace(-EDGE, EDGE, _PLACES)
    xi, eta, z = np.meshgrid(place, place, heights, indexing="ij")
    turn = (np.arctan2(eta, xi) + np.pi) / (2.0 * np.pi) * _ANGLES
    level = np.broadcast_to(np.arange(len(heights), dtype=np.float64), turn.shape)
    closed = np.concatenate([radius, radius[:1]])
    wall = ndimage.map_coordinates(closed, [turn, level], order=1, mode="nearest")
    points = np.stack([axis[0] + xi * wall, axis[1] + eta * wall, z], axis=-1)

    def weight(
        distance_mm: NDArray[np.float32], fall_off_mm: float, frame: Grid = mover.lattice
    ) -> NDArray[np.float64]:
        index = np.moveaxis(frame.index(points), -1, 0)
        sampled = ndimage.map_coordinates(distance_mm, index, order=1, mode="nearest")
        return np.asarray((1.0 + (sampled / fall_off_mm) ** 2) ** -3, dtype=np.float64)

    total = np.full(z.shape, _LUNG_WEIGHT)
    lift = _LUNG_WEIGHT * _rise((apex - z) / (apex - dome))
    for name, (_, share) in BREATHING.items():
        if name in mover.distance_mm:
            own = weight(mover.distance_mm[name], _FALL_OFF_MM)
            total += own
            lift += share * own
    spine = mover.distance_to(_SPINE)
    if spine is not None:
        total += weight(spine, _SPINE_FALL_OFF_MM)
    if crossing_mm is not None:
        total += _BONE_WEIGHT * weight(crossing_mm, _CROSSING_FALL_OFF_MM, grid)
    lift = ndimage.gaussian_filter(lift / total, (1.0, 1.0, 1.5), mode="nearest")
    lift *= _rise((heights - heights[0]) / _FADE_MM) * _rise((heights[-1] - heights) / 40.0)
    return np.ascontiguousarray(lift)


def _rise(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """From 0 at t = 0 to 1 at t = 1 without kinks: 3t² - 2t³."""
    t = np.clip(t, 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), dtype=np.float64)
