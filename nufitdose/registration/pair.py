"""Two scans as the deformable engines see them: tensors on one working grid around the fixed patient."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Bool, Integer
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import avg_pool3d, max_pool3d

from nufitdose.anatomy.activity_scale import activity_scale
from nufitdose.anatomy.body import body_mask, near_body
from nufitdose.anatomy.pooling import pool
from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.registration.field import DisplacementField
from nufitdose.registration.intensity import scaled_activity, scaled_ct
from nufitdose.registration.reading import read_affine, read_affine_cubic
from nufitdose.registration.regularization import ct_weight
from nufitdose.registration.smoothing import gaussian
from nufitdose.registration.tensors import ImageTensor, VelocityTensor
from nufitdose.study import TimePoint
from nufitdose.types import Affine, Image32, Labels
from nufitdose.volume import OUTSIDE, Quantity, Volume

_log = logging.getLogger(__name__)

WORKING_SPACING_MM = 4.0
MULTIPLE = 8  # every side of the working grid is one of so many voxels: three levels of half lattices
_SCALES: WeakKeyDictionary[TimePoint, float] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class PairTensors:
    """Two scans on one grid of `spacing_mm`; channel 0 is the moving scan, seen through the start, channel 1 the fixed.

    `ct` and `activity` are of range 0 ... 1 (see `nufitdose.registration.intensity`); `present` says per batch
    element whether CT and activity are there on both scans (an absent modality is all zeros). `body` is 1 within
    12 mm of the body as far as the scan's field of view reaches: where images are compared. `weight_ct` is the
    CT-guided weight of the regularisation, mean 1 in the body, 1 everywhere without CT. `labels` are numbered alike
    on both scans; 0 is background. `tumours` is the share of tumour in each voxel of each scan. `motion` is the
    displacement from fixed to moving, voxels on the half lattice, where it is known exactly: of digital patients.
    """

    ct: ImageTensor
    activity: ImageTensor
    present: Bool[Tensor, "batch 2"]
    body: ImageTensor
    weight_ct: ImageTensor
    spacing_mm: tuple[float, float, float]
    labels: Integer[Tensor, "batch 2 i j k"] | None = None
    tumours: ImageTensor | None = None
    motion: VelocityTensor | None = None

    def halved(self) -> "PairTensors":
        """The same pair at half the resolution, labels and motion left out; every side must be even."""
        a, b, c = (2.0 * s for s in self.spacing_mm)
        return replace(
            self,
            ct=avg_pool3d(self.ct, 2),
            activity=avg_pool3d(self.activity, 2),
            body=max_pool3d(self.body, 2),
            weight_ct=avg_pool3d(self.weight_ct, 2),
            spacing_mm=(a, b, c),
            labels=None,
            tumours=None if self.tumours is None else avg_pool3d(self.tumours, 2),
            motion=None,
        )

    def smoothed(self, blur_voxels: float) -> "PairTensors":
        """CT and activity smoothed by a Gaussian, for the objective to look at.

        Reading a noisy image between its voxels averages the noise away, so that without this a shift of a quarter of
        a voxel looks better than none.
        """
        if blur_voxels == 0:
            return self
        return replace(self, ct=gaussian(self.ct, blur_voxels), activity=gaussian(self.activity, blur_voxels))

    def swapped(self) -> "PairTensors":
        """Fixed and moving exchanged, motion left out."""
        labels = None if self.labels is None else self.labels.flip(1)
        return PairTensors(
            self.ct.flip(1),
            self.activity.flip(1),
            self.present,
            self.body.flip(1),
            self.weight_ct.flip(1),
            self.spacing_mm,
            labels,
            None if self.tumours is None else self.tumours.flip(1),
        )

    def to(self, device: torch.device) -> "PairTensors":
        """The same pair on another device."""
        return PairTensors(
            self.ct.to(device),
            self.activity.to(device),
            self.present.to(device),
            self.body.to(device),
            self.weight_ct.to(device),
            self.spacing_mm,
            None if self.labels is None else self.labels.to(device),
            None if self.tumours is None else self.tumours.to(device),
            None if self.motion is None else self.motion.to(device),
        )


@dataclass(frozen=True, eq=False)
class Pair:
    """Tensors, the working `grid` in the fixed world, and `start`, 4x4 from fixed world to moving world (mm)."""

    tensors: PairTensors
    grid: Grid
    start: Affine

    @property
    def half_grid(self) -> Grid:
        """The lattice of half the resolution: node h at 2h + ½, as under average pooling."""
        affine = self.grid.affine @ np.diag([2.0, 2.0, 2.0, 1.0])
        affine[:3, 3] = self.grid.world(np.full(3, 0.5))
        a, b, c = (n // 2 for n in self.grid.shape)
        return Grid((a, b, c), affine)

    def field(self, displacement: DisplacementField, onto: Grid) -> DisplacementField:
        """`start (x + u(x)) - x` on `onto`, for a displacement u that follows after the start.

        Images are thus interpolated once, however many steps led to the field.
        """
        u = displacement.on(onto).data
        turned = np.einsum("cd,dijk->cijk", self.start[:3, :3].astype(np.float32), u)
        return DisplacementField(turned + DisplacementField.from_affine(self.start, onto).data, onto)


def pair_of(
    fixed: TimePoint,
    moving: TimePoint,
    spacing_mm: float,
    device: torch.device,
    start: Affine,
    *,
    with_tumours: bool = False,
    see_ct: Callable[[Volume], Image32] = scaled_ct,
    cubic: bool = False,
) -> Pair:
    """Bring two scans onto a working grid of `spacing_mm` around the fixed body, the moving one through `start`.

    `see_ct` maps HU to 0 ... 1; with `cubic` the CTs are read by cubic splines, which blur less. Raises `InputError`
    where a scan holds no activity.
    """
    grid = working_grid(fixed, spacing_mm)
    start = np.asarray(start, dtype=np.float64)
    has_ct = fixed.ct is not None and moving.ct is not None
    with ThreadPoolExecutor(2) as pool:
        channels = pool.map(
            lambda scan, matrix: _channels(scan, matrix, grid, see_ct if has_ct else None, cubic=cubic),
            (moving, fixed),
            (start, np.eye(4)),
        )
    ct, activity, compared, weight = (np.stack(images)[None] for images in zip(*channels, strict=True))
    present = torch.tensor([[has_ct, True]])
    a, b, c = grid.spacing_mm
    tensors = PairTensors(
        ct=torch.from_numpy(ct),
        activity=torch.from_numpy(activity),
        present=present,
        body=torch.from_numpy(compared),
        weight_ct=torch.from_numpy(weight),
        spacing_mm=(a, b, c),
        tumours=_tumours(moving, fixed, grid, start) if with_tumours else None,
    )
    return Pair(tensors.to(device), grid, start)


def working_grid(fixed: TimePoint, spacing_mm: float) -> Grid:
    """A cubic-voxel grid along the axes of the fixed image over its body and 12 mm more, sides a multiple of 8."""
    image = fixed.activity.grid if fixed.ct is None else fixed.ct.grid
    near = near_body(body_mask(fixed))
    index = np.argwhere(near.data > 0.5)
    if not len(index):
        raise InputError(f"no body is seen on time point {fixed.id!r}", remedy="Check the scale of its images")
    low, high = index.min(axis=0), index.max(axis=0)
    size_mm = (high - low + 1) * np.array(near.grid.spacing_mm)
    shape = np.ceil(np.ceil(size_mm / spacing_mm) / MULTIPLE).astype(int) * MULTIPLE
    affine = np.eye(4)
    affine[:3, :3] = image.directions * spacing_mm
    affine[:3, 3] = near.grid.world((low + high) / 2.0) - affine[:3, :3] @ ((shape - 1) / 2.0)
    return Grid(tuple(int(n) for n in shape), affine)  # type: ignore[arg-type]


def resample(volume: Volume, grid: Grid, matrix: Affine, *, cubic: bool = False) -> Image32 | Labels:
    """A volume on `grid` seen through `matrix` (4x4 from the grid's world to the volume's): block means, then linear.

    With `cubic`, by cubic splines in place of linear ones. Labels by the nearest voxel. Beyond the field of view: air
    for HU, zero otherwise.
    """
    if volume.quantity is Quantity.LABELS:
        to_index = volume.grid.inverse_affine @ matrix @ grid.affine
        return ndimage.affine_transform(
            volume.data, to_index[:3, :3], to_index[:3, 3], output_shape=grid.shape, order=0, mode="grid-constant"
        )
    source = pool(volume, min(grid.spacing_mm))
    to_index = source.grid.inverse_affine @ matrix @ grid.affine
    outside = OUTSIDE.get(volume.quantity, 0.0)
    if cubic:
        return read_affine_cubic(source.data, to_index, grid.shape, outside)
    return read_affine(source.data[None], to_index, grid.shape, [outside])[0]


def _tumours(moving: TimePoint, fixed: TimePoint, grid: Grid, start: Affine) -> ImageTensor | None:
    """The share of tumour in each voxel of each scan; None (and a warning) where no tumour is drawn on either."""
    both = np.zeros((1, 2, *grid.shape), dtype=np.float32)
    for channel, (scan, matrix) in enumerate(((moving, start), (fixed, np.eye(4)))):
        drawn = scan.structures
        labels = [] if drawn is None else [label for label, name in drawn.names.items() if name in drawn.tumours]
        for layer in drawn.layers if drawn is not None and labels else ():
            mask = layer.with_data(np.isin(layer.data, labels).astype(np.float32), Quantity.SCALAR)
            np.maximum(both[0, channel], resample(mask, grid, matrix), out=both[0, channel])
    if not both.any():
        _log.warning("no tumour is drawn on %s or %s that could be kept rigid", fixed.id, moving.id)
        return None
    return torch.from_numpy(both)


def _scale_of(scan: TimePoint) -> float:
    """What counts as 1 of a scan's activity; kept as long as the scan is: every pair on every grid asks for it."""
    if scan not in _SCALES:
        in_body = body_mask(scan).resampled_to(scan.activity.grid).data > 0.5
        _SCALES[scan] = activity_scale(scan.activity, in_body if in_body.any() else None)
    return _SCALES[scan]


def _channels(
    scan: TimePoint, matrix: Affine, grid: Grid, see_ct: Callable[[Volume], Image32] | None, *, cubic: bool
) -> tuple[Image32, Image32, Image32, Image32]:
    """CT, activity, where to compare, CT-guided weight: one scan on the working grid; the CT unless None sees it."""
    body = body_mask(scan)
    image = pool(scan.activity if see_ct is None or scan.ct is None else scan.ct, min(grid.spacing_mm))
    seen = image.with_data(np.ones_like(image.data), Quantity.SCALAR)
    near = resample(near_body(body), grid, matrix) > 0.5
    compared = (near & (resample(seen, grid, matrix) > 0.5)).astype(np.float32)
    read = Volume(resample(scan.activity, grid, matrix), grid, Quantity.ACTIVITY)
    activity = scaled_activity(read, _scale_of(scan))
    if see_ct is None or scan.ct is None:
        return np.zeros_like(activity), activity, compared, np.ones_like(activity)
    ct = Volume(resample(image, grid, matrix, cubic=cubic), grid, Quantity.HU)
    inside = resample(body, grid, matrix) > 0.5
    shown = np.where(compared > 0.5, see_ct(ct), np.float32(0.0))  # the couch does not move with the patient
    return shown, activity, compared, ct_weight(ct.data, inside, min(grid.spacing_mm))
