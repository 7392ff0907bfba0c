"""How a scanner spreads a point: a Gaussian, or two that share the activity by its depth below the surface."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from nufitdose.anatomy.regions import Region
from nufitdose.psf import blur, reach_voxels
from nufitdose.scanner import ResolutionAtDepth
from nufitdose.types import Image32, Mask

Box = tuple[slice, slice, slice]
Widths = tuple[float, float, float]  # FWHM along the axes of the grid, mm


@dataclass(frozen=True, eq=False)
class PointSpread:
    """A Gaussian of `fwhm_mm`, or with `ends` two that share the activity of every voxel, near the surface and deep.

    `h ⊗ m = G_deep ⊗ (s m) + G_shallow ⊗ ((1 - s) m)` with s = `deep_share`, an image of the whole grid: counts are
    kept. `fwhm_mm` then stands for all depths.
    """

    fwhm_mm: Widths
    ends: tuple[Widths, Widths] | None = None
    deep_share: Image32 | None = None

    def with_widths(self, change: Callable[[Widths], Widths]) -> "PointSpread":
        """The same with every width changed."""
        ends = None if self.ends is None else (change(self.ends[0]), change(self.ends[1]))
        return replace(self, fwhm_mm=change(self.fwhm_mm), ends=ends)

    def reach_voxels(self, spacing_mm: Sequence[float]) -> tuple[int, ...]:
        """How far it reaches along each axis, whole voxels."""
        reaches = [reach_voxels(widths, spacing_mm) for widths in self.ends or (self.fwhm_mm,)]
        return tuple(max(along) for along in zip(*reaches, strict=True))

    def blur(self, image: Image32, box: Box, spacing_mm: Sequence[float]) -> Image32:
        """What it makes of an image that is given in a box of the grid; beyond the rim is what is at the rim."""
        if self.ends is None or self.deep_share is None:
            return blur(image, self.fwhm_mm, spacing_mm, extend=True)
        deep = image * self.deep_share[box]
        shown = np.zeros_like(image)
        for part, widths in ((image - deep, self.ends[0]), (deep, self.ends[1])):
            if part.any():
                shown += blur(part, widths, spacing_mm, extend=True)
        return shown

    @property
    def usual_mm(self) -> float:
        """The width that stands for all depths, in the mean over the axes."""
        return float(np.mean(self.fwhm_mm))

    @property
    def ends_mm(self) -> tuple[float, float]:
        """The widths near the surface and deep, each in the mean over the axes."""
        shallow, deep = self.ends or (self.fwhm_mm, self.fwhm_mm)
        return float(np.mean(shallow)), float(np.mean(deep))

    def mean_fwhm_mm(self, region: Region) -> float:
        """The width in a region, in the mean over the axes and of the mean variance."""
        if self.deep_share is None:
            return self.usual_mm
        deep = float(np.average(self.deep_share.reshape(-1)[region.index], weights=region.part_ml))
        near_mm, far_mm = self.ends_mm
        return math.sqrt(deep * far_mm**2 + (1.0 - deep) * near_mm**2)


def spread_by_depth(fwhm_mm: Widths, by_depth: Sequence[ResolutionAtDepth], depth_mm: Image32) -> PointSpread:
    """That of a resolution known at two depths: between them the share of the deep one grows linearly with depth.

    Beyond them it stays as it is there. The variance of a point is then linear in depth.
    """
    shallow, deep = by_depth
    share = (depth_mm - np.float32(shallow.depth_mm)) / np.float32(deep.depth_mm - shallow.depth_mm)
    return PointSpread(fwhm_mm, (shallow.fwhm_mm, deep.fwhm_mm), np.clip(share, 0.0, 1.0).astype(np.float32))


def depth_below_surface_mm(body: Mask, spacing_mm: Sequence[float]) -> Image32:
    """Distance of every voxel to the nearest one outside of the body, 0 there, infinite where nothing is outside.

    Beyond the rim of the grid the body is taken to go on.
    """
    depth_mm = np.zeros(body.shape, dtype=np.float32)
    if body.all():
        depth_mm[:] = np.inf
    elif body.any():
        (tight,) = ndimage.find_objects(body.astype(np.uint8))
        box = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in tight)  # no nearest one lies beyond it
        depth_mm[box] = ndimage.distance_transform_edt(body[box], sampling=spacing_mm)
    return depth_mm
