"""Which voxels belong to the patient.

Registration asks for the body of one scan several times in each pair (linear pose, channels, quality), and of the
reference in every pair: `once_for_each_volume` keeps what was found as long as the volume itself is kept.
"""

import functools
from collections.abc import Callable
from weakref import WeakKeyDictionary

import numpy as np
from scipy import ndimage

from nufitdose.anatomy.activity_scale import activity_scale
from nufitdose.anatomy.pooling import pool
from nufitdose.study import TimePoint
from nufitdose.types import Mask
from nufitdose.volume import Quantity, Volume

_CT_THRESHOLD_HU = -300.0
_CT_SPACING_MM = 4.0
_COUCH_MM = 12.0  # what is thinner than this and not attached to more is no patient
_LUNG_HU = (-925.0, -500.0)  # median of a region: gas, and air with the foam of a couch, lie below; fat above
_LUNG_WALL = 0.8  # least part of a lung's surface, where the scan does not end, that is body: foam in a couch has less
_SMALLEST_LUNG_ML = 10.0
_LUNG_NECK_MM = 6.0  # lungs and the air around the patient may meet in airways as narrow as twice this
_ACTIVITY_SPACING_MM = 6.0
_ACTIVITY_SIGMA_MM = 6.0
_ACTIVITY_FRACTION = 0.005  # of the 99.9th percentile
_ACTIVITY_CLOSING_MM = 24.0
_MARGIN_MM = 12.0  # of what surrounds the body, compared too: it holds the outline


def once_for_each_volume(find: Callable[[Volume], Volume]) -> Callable[[Volume], Volume]:
    """Remember what `find` gives for a volume until that volume is gone; volumes and results are never written to."""
    found: WeakKeyDictionary[Volume, Volume] = WeakKeyDictionary()

    @functools.wraps(find)
    def find_once(volume: Volume) -> Volume:
        if volume not in found:
            found[volume] = find(volume)
        return found[volume]

    return find_once


def body_mask(timepoint: TimePoint) -> Volume:
    """The body at a time point, from its CT where there is one, else from its activity; 1 inside, 0 outside.

    On a coarse grid of about 4 mm (CT) or 6 mm (activity) over the same field of view.
    """
    if timepoint.ct is not None:
        return body_mask_from_ct(timepoint.ct)
    return body_mask_from_activity(timepoint.activity)


@once_for_each_volume
def body_mask_from_ct(ct: Volume) -> Volume:
    """The largest body above -300 HU without what is thinner than 12 mm (couch, sheets), lungs and gas filled in.

    Lungs belong to it wherever the scan cuts them. 1 inside, 0 outside, on a grid of about 4 mm. The rule was chosen
    here, it is not from the literature.
    """
    coarse = pool(ct, _CT_SPACING_MM)
    solid = coarse.data > _CT_THRESHOLD_HU
    thick = _open_mask(solid, coarse.grid.spacing_mm, _COUCH_MM / 2)
    lungs = _find_lungs(coarse, ~solid, thick)  # before the largest is taken: a lung may lie between two parts
    core = _keep_largest(thick | lungs)
    # skin, fingers and nose that the opening took away come back where they touch the core
    body = (solid | lungs) & _dilate(core, coarse.grid.spacing_mm, _COUCH_MM / 2)
    return _as_volume(_fill_slices(body, coarse), coarse)


@once_for_each_volume
def body_mask_from_activity(activity: Volume) -> Volume:
    """The largest region above 0.5 % of the 99.9th percentile of the smoothed activity, closed and filled.

    1 inside, 0 outside, on a grid of about 6 mm. Cold regions at the skin may be missed. The rule was chosen here, it
    is not from the literature. Raises `InputError` where there is no activity.
    """
    coarse = pool(activity, _ACTIVITY_SPACING_MM)
    sigma = _ACTIVITY_SIGMA_MM / np.array(coarse.grid.spacing_mm)
    smooth = ndimage.gaussian_filter(coarse.data, sigma, mode="nearest", truncate=3.0)
    hot = smooth > _ACTIVITY_FRACTION * activity_scale(coarse)
    spacing_mm = coarse.grid.spacing_mm
    closed = ~_dilate(~_dilate(hot, spacing_mm, _ACTIVITY_CLOSING_MM), spacing_mm, _ACTIVITY_CLOSING_MM)
    return _as_volume(_fill_slices(_keep_largest(closed | hot), coarse), coarse)


@once_for_each_volume
def near_body(body: Volume) -> Volume:
    """A body with all that lies within 12 mm of it: where two scans are compared."""
    return _as_volume(_dilate(body.data > 0.5, body.grid.spacing_mm, _MARGIN_MM), body)


def _as_volume(mask: Mask, like: Volume) -> Volume:
    return Volume(mask.astype(np.float32), like.grid, Quantity.SCALAR)


def _dilate(mask: Mask, spacing_mm: tuple[float, float, float], distance_mm: float) -> Mask:
    """Voxels within `distance_mm` of the mask.

    The exact squared distance, axis by axis and no farther: a tenth of the time of a whole distance map.
    """
    squared = np.where(mask, np.float32(0.0), np.float32(np.inf))
    for axis, step_mm in enumerate(spacing_mm):
        across, before = np.moveaxis(squared, axis, 0), np.moveaxis(squared.copy(), axis, 0)
        for k in range(1, min(int(distance_mm / step_mm), mask.shape[axis] - 1) + 1):
            away = np.float32((k * step_mm) ** 2)
            np.minimum(across[k:], before[:-k] + away, out=across[k:])
            np.minimum(across[:-k], before[k:] + away, out=across[:-k])
    return np.asarray(squared <= distance_mm**2)


def _open_mask(mask: Mask, spacing_mm: tuple[float, float, float], radius_mm: float) -> Mask:
    """Without what no ball of `radius_mm` fits into; beyond the field of view counts as inside."""
    return _dilate(~_dilate(~mask, spacing_mm, radius_mm), spacing_mm, radius_mm)


def _find_lungs(ct: Volume, air: Mask, thick: Mask) -> Mask:
    """Regions of `air` with the density of lung and a wall of body (`thick`) wherever the scan does not end."""
    spacing_mm = ct.grid.spacing_mm
    inner = air & ~_dilate(~air, spacing_mm, _LUNG_NECK_MM)
    regions, count = ndimage.label(inner)
    lungs = np.zeros_like(air)
    millilitre = float(np.prod(spacing_mm)) / 1000.0
    sizes = np.bincount(regions.ravel(), minlength=count + 1) * millilitre
    for number, box in enumerate(ndimage.find_objects(regions), start=1):
        if sizes[number] < _SMALLEST_LUNG_ML:
            continue
        own = regions[box] == number
        if not _LUNG_HU[0] < float(np.median(ct.data[box][own])) < _LUNG_HU[1]:
            continue
        wide = _widen(box, air.shape, spacing_mm, 3 * _LUNG_NECK_MM)
        region = air[wide] & _dilate(regions[wide] == number, spacing_mm, 1.5 * _LUNG_NECK_MM)
        wall = _dilate(region, spacing_mm, max(spacing_mm)) & ~region
        if wall.any() and _dilate(thick[wide], spacing_mm, max(spacing_mm))[wall].mean() >= _LUNG_WALL:
            lungs[wide] |= region
    return lungs


def _widen(
    box: tuple[slice, ...], shape: tuple[int, ...], spacing_mm: tuple[float, float, float], margin_mm: float
) -> tuple[slice, ...]:
    """A box with a margin, as far as the image reaches."""
    more = [int(np.ceil(margin_mm / step)) for step in spacing_mm]
    return tuple(slice(max(0, s.start - m), min(n, s.stop + m)) for s, m, n in zip(box, more, shape, strict=True))


def _keep_largest(mask: Mask) -> Mask:
    labels, count = ndimage.label(mask)
    if count < 2:
        return mask
    return np.asarray(labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:])))


def _fill_slices(mask: Mask, like: Volume) -> Mask:
    """Holes filled on every axial slice, so that lungs and bowel open to the ends of the scan are filled too."""
    axis = int(np.argmax(np.abs(like.grid.directions[2])))
    plane = np.ones((3, 3, 3), bool)
    plane[tuple(slice(0, 3, 2) if a == axis else slice(None) for a in range(3))] = False
    plane &= ndimage.generate_binary_structure(3, 1)
    padded = np.pad(mask, 1)  # a hole must be closed within the slice, not by the edge of the image
    return ndimage.binary_fill_holes(padded, plane)[1:-1, 1:-1, 1:-1]
