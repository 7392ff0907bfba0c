"""Rigid and affine registration about the body centre, from coarse to fine.

Nothing is assumed about the frames of reference: at the coarsest level all translations are searched. What is compared
and how stands in `nufitdose.registration.engines.matching`. Levels and starts are chosen here, not from the literature.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Literal
from weakref import WeakKeyDictionary

import numpy as np
from scipy.spatial.transform import Rotation

from nufitdose.anatomy.activity_scale import activity_scale
from nufitdose.anatomy.body import body_mask, near_body
from nufitdose.anatomy.pooling import pool
from nufitdose.grid import Grid
from nufitdose.progress import OnProgress
from nufitdose.registration.engines.matching import Freedom, Level, Pose, Vector, View
from nufitdose.registration.engines.translation import best_shift
from nufitdose.registration.intensity import scaled_activity, scaled_ct
from nufitdose.study import TimePoint
from nufitdose.volume import Quantity, Volume

SEARCH_MM = 16.0  # the level at which translations are searched
FINEST_MM = 4.0
#: After the search: spacing and edge of the blocks (mm), and whether images are read as they are, without smoothing.
#: Finer activities are mostly noise; at 8 mm the means over blocks have smoothed them enough.
LEVELS = {
    "CT": ((8.0, np.inf, False), (FINEST_MM, np.inf, False)),
    "activity": ((8.0, np.inf, False), (8.0, 80.0, True)),
}

_STARTS = 4  # followed, of those tried
_TRIED_DEGREES = 12.0
_MOST_STRAIN = 0.35  # a larger change of any length is no anatomy

Basis = Literal["CT", "activity"]
_RIGID: WeakKeyDictionary[TimePoint, WeakKeyDictionary[TimePoint, dict[str, Pose]]] = WeakKeyDictionary()


def basis_of(fixed: TimePoint, moving: TimePoint) -> Basis:
    """The images to compare: the CTs where both scans have one."""
    return "CT" if fixed.ct is not None and moving.ct is not None else "activity"


def rigid_pose(fixed: TimePoint, moving: TimePoint, basis: str, on_progress: OnProgress = lambda share: None) -> Pose:
    """The rigid motion that brings `moving` onto `fixed`, judged by their 'CT' or their 'activity': for one patient.

    It is kept as long as both scans are: engines that bend start from it, and it is shown beside what they found.
    """
    known = _RIGID.setdefault(fixed, WeakKeyDictionary()).setdefault(moving, {})
    if basis not in known:
        known[basis] = _pose(fixed, moving, basis, on_progress, 6)
    return known[basis]


def affine_pose(fixed: TimePoint, moving: TimePoint, basis: str, on_progress: OnProgress = lambda share: None) -> Pose:
    """The affine map that brings `moving` onto `fixed`: for two patients, of other sizes.

    The rigid pose of a level comes first. Where the affine map strains any length by more than 35 % the scans hold
    too little to tell their sizes, and the rigid pose is returned.
    """
    pose = _pose(fixed, moving, basis, on_progress, 12)
    strain = np.linalg.svd(pose.linear, compute_uv=False)
    if np.abs(np.log(strain)).max() > np.log1p(_MOST_STRAIN):
        return rigid_pose(fixed, moving, basis, on_progress)
    return pose


def _pose(fixed: TimePoint, moving: TimePoint, basis: str, on_progress: OnProgress, freedom: Freedom) -> Pose:
    with ThreadPoolExecutor(2) as pool:
        seen_f, seen_m = pool.map(lambda scan: view_of(scan, basis), (fixed, moving))
    on_progress(0.3)
    level = Level.of(seen_f, seen_m, SEARCH_MM, np.inf)
    starts = sorted(_starts(seen_f, seen_m), key=level.score, reverse=True)
    pose = max((level.refined(start) for start in starts[:_STARTS]), key=level.score)
    on_progress(0.5)
    for spacing_mm, block_mm, exact in LEVELS[basis]:
        level = Level.of(seen_f, seen_m, spacing_mm, block_mm, exact=exact)
        pose = level.refined(pose)
        if freedom == 12:
            pose = level.refined(pose, 12)
    on_progress(1.0)
    return level.settled(pose, freedom)


def view_of(timepoint: TimePoint, basis: str) -> View:
    """What is compared of a scan: of its CT the body alone, or its activity."""
    body = body_mask(timepoint)
    if basis == "CT" and timepoint.ct is not None:
        image = pool(timepoint.ct, FINEST_MM)
        inside = body.resampled_to(image.grid).data > 0.5
        data = np.where(inside, scaled_ct(image), np.float32(0.0))  # the couch does not move with the patient
    else:
        image = pool(timepoint.activity, FINEST_MM)
        data = scaled_activity(image, activity_scale(image))
    near = near_body(body).resampled_to(image.grid).data > 0.5
    return View(image.with_data(data, Quantity.SCALAR), near if near.any() else np.ones_like(near))


def _starts(fixed: View, moving: View) -> list[Pose]:
    """Where to start from: as the worlds stand, body on body, and the best translation for some rotations."""
    pivot, body = fixed.centre_mm, moving.centre_mm
    starts = [Pose(np.eye(3), pivot, target) for target in (pivot, body)]
    turns = [Rotation.identity()]
    for axis in np.eye(3):
        turns += [Rotation.from_rotvec(sign * np.radians(_TRIED_DEGREES) * axis) for sign in (-1.0, 1.0)]
    lattice = _lattice(fixed.image.grid, pivot, np.eye(3))
    image_f, mask_f = _on(fixed.image, lattice), _on(fixed.mask, lattice) > 0.5
    coarse = pool(moving.image, SEARCH_MM / 2)
    for turn in turns:
        rotated = _lattice(moving.image.grid, body, turn.as_matrix())
        covered = moving.image.grid.covers(rotated)
        shift, _ = best_shift(image_f, mask_f, _on(coarse, rotated), covered)
        index = lattice.index(pivot) + shift  # the voxel of the moving lattice that the pivot falls on
        starts.append(Pose(turn.as_matrix(), pivot, rotated.world(index)))
    return starts


def _lattice(grid: Grid, centre_mm: Vector, rotation: np.ndarray) -> Grid:
    """A coarse cubic lattice over all of `grid`, turned, with a voxel at `centre_mm`."""
    reach = np.abs((grid.corners_mm() - centre_mm) @ rotation).max(axis=0)
    half = np.ceil(reach / SEARCH_MM).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = rotation * SEARCH_MM
    affine[:3, 3] = centre_mm - affine[:3, :3] @ half
    return Grid(tuple(int(n) for n in 2 * half + 1), affine)  # type: ignore[arg-type]


def _on(volume: Volume, lattice: Grid) -> np.ndarray:
    return pool(volume, SEARCH_MM / 2).resampled_to(lattice).data
