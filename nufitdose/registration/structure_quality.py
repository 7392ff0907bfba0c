"""How well single structures were brought together: distances, overlap, and what became of their activity."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from nufitdose.anatomy.regions import region_on
from nufitdose.grid import Grid
from nufitdose.registration.field import DisplacementField
from nufitdose.registration.quality import activity_change_percent
from nufitdose.study import Structures
from nufitdose.types import Mask, Points
from nufitdose.volume import Volume


@dataclass(frozen=True)
class StructureAgreement:
    """How a structure known on both scans meets itself, before and after.

    Distance of centroids (mm), Dice, and `hd95`, the 95th percentile of the distances between the surfaces (mm).
    """

    structure: str
    centroid_before_mm: float
    centroid_after_mm: float
    dice_before: float
    dice_after: float
    hd95_before_mm: float = np.nan
    hd95_after_mm: float = np.nan


@dataclass(frozen=True)
class StructureTransport:
    """What the warp did to the activity of a structure of the fixed scan.

    `activity_mbq` is the transported concentration, `Σ A(x+u) V`; `activity_conserved_mbq` the activity that the moving
    scan holds in the same tissue, `Σ A(x+u) det(I + grad u) V`; the change is that of the first over the second.
    `u_registration_mm` is the mean standard uncertainty of a component of the displacement within the structure (see
    `nufitdose.registration.uncertainty`).
    """

    structure: str
    activity_mbq: float
    activity_conserved_mbq: float
    activity_change_percent: float
    u_registration_mm: float


def structure_agreement(
    fixed: Structures, moving: Structures, field: DisplacementField
) -> tuple[StructureAgreement, ...]:
    """Every structure that both scans name, in the order of the fixed one.

    Centroids: of `x + u(x)` over the fixed structure against that of the moving structure. Dice and HD95: on the fixed
    grid, moving labels by the argmax of their linearly warped one-hot images.
    """
    unmoved = DisplacementField.identity(Grid((1, 1, 1), field.grid.affine))
    numbers = {name: label for label, name in moving.names.items()}
    warped: dict[tuple[int, int], tuple[Volume, Volume]] = {}  # (fixed layer, moving layer) -> before, after
    rows = []
    for name in fixed.present():
        if name not in moving.present():
            continue
        (mask_f, layer_f), (mask_m, layer_m) = fixed.mask(name), moving.mask(name)
        pair = (id(layer_f), id(layer_m))
        if pair not in warped:
            warped[pair] = (unmoved.warp(layer_m, layer_f.grid), field.warp(layer_m, layer_f.grid))
        before, after = (layer.data == numbers[name] for layer in warped[pair])
        points_f, points_m = _positions_mm(mask_f, layer_f), _positions_mm(mask_m, layer_m)
        target = points_m.mean(axis=0)
        rows.append(
            StructureAgreement(
                structure=name,
                centroid_before_mm=float(np.linalg.norm(points_f.mean(axis=0) - target)),
                centroid_after_mm=float(np.linalg.norm((points_f + field.at(points_f)).mean(axis=0) - target)),
                dice_before=dice(mask_f, before),
                dice_after=dice(mask_f, after),
                hd95_before_mm=hd95_mm(mask_f, before, layer_f.grid),
                hd95_after_mm=hd95_mm(mask_f, after, layer_f.grid),
            )
        )
    return tuple(rows)


def structure_transport(
    fixed: Structures, warped: Volume, field: DisplacementField, u_registration_mm: Volume
) -> tuple[StructureTransport, ...]:
    """Every structure of the fixed scan with a voxel on the grid of `warped`, the moving activity brought onto it."""
    grid = warped.grid
    determinant = field.on(grid).jacobian_determinant()
    rows = []
    for name in fixed.present():
        mask, layer = fixed.mask(name)
        region = region_on(mask, layer.grid, grid)
        if not region.index.size:
            continue
        activity, change = region.values(warped), determinant.reshape(-1)[region.index]
        rows.append(
            StructureTransport(
                structure=name,
                activity_mbq=float(activity @ region.part_ml) * 1e-6,
                activity_conserved_mbq=float((activity * change) @ region.part_ml) * 1e-6,
                activity_change_percent=activity_change_percent(activity * region.part_ml, change),
                u_registration_mm=region.mean(u_registration_mm),
            )
        )
    return tuple(rows)


def dice(a: Mask, b: Mask) -> float:
    """`2 |a ∩ b| / (|a| + |b|)`; NaN where both are empty."""
    size = int(a.sum()) + int(b.sum())
    return 2.0 * int((a & b).sum()) / size if size else np.nan


def hd95_mm(a: Mask, b: Mask, grid: Grid) -> float:
    """The greater 95th percentile of the distances from either surface to the other, mm; NaN where one is empty.

    Surface voxels are those with a face outside; distances are Euclidean in mm (Learn2Reg's are in voxels).
    """
    if not (a.any() and b.any()):
        return np.nan
    box = ndimage.find_objects((a | b).astype(np.uint8))[0]
    a, b = (np.pad(mask[box], 1) for mask in (a, b))
    surfaces = [mask & ~ndimage.binary_erosion(mask) for mask in (a, b)]
    away = [ndimage.distance_transform_edt(~surface, grid.spacing_mm) for surface in surfaces]
    return float(max(np.percentile(away[1][surfaces[0]], 95), np.percentile(away[0][surfaces[1]], 95)))


def mean_over(rows: tuple[StructureAgreement, ...], which: str) -> float:
    """The mean of one number over the structures that have it; NaN where there is none."""
    values = [value for row in rows if np.isfinite(value := float(getattr(row, which)))]
    return float(np.mean(values)) if values else np.nan


def _positions_mm(mask: Mask, layer: Volume) -> Points:
    return layer.grid.world(np.argwhere(mask).astype(np.float64))
