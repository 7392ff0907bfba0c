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
    """A Gaussian of `fwhm_mm`, or with `layers` a sum of Gaussians, each of a share of the activity of every voxel.

    `h ⊗ m = Σ G_n ⊗ (s_n m)` with the shares s_n, images of the whole grid that add to 1: counts are kept. `fwhm_mm`
    then stands for all depths.
    """

    fwhm_mm: Widths
    layers: tuple[tuple[Widths, Image32], ...] = ()

    def with_widths(self, change: Callable[[Widths], Widths]) -> "PointSpread":
        """The same with every width changed."""
        return replace(self, fwhm_mm=change(self.fwhm_mm), layers=tuple((change(w), s) for w, s in self.layers))

    def reach_voxels(self, spacing_mm: Sequence[float]) -> tuple[int, ...]:
        """How far it reaches along each axis, whole voxels."""
        reaches = [reach_voxels(widths, spacing_mm) for widths in self._widths()]
        return tuple(max(along) for along in zip(*reaches, strict=True))

    def blur(self, image: Image32, box: Box, spacing_mm: Sequence[float]) -> Image32:
        """What it makes of an image that is given in a box of the grid; beyond the rim is what is at the rim."""
        if not self.layers:
            return blur(image, self.fwhm_mm, spacing_mm, extend=True)
        shown = np.zeros_like(image)
        for widths, share in self.layers:
            part = image * share[box]
            if part.any():
                shown += blur(part, widths, spacing_mm, extend=True)
        return shown

    @property
    def usual_mm(self) -> float:
        """The width that stands for all depths, in the mean over the axes."""
        return float(np.mean(self.fwhm_mm))

    def mean_fwhm_mm(self, region: Region) -> float:
        """The width in a region, in the mean over the axes; with layers that of the mean variance."""
        if not self.layers:
            return self.usual_mm
        variance = [
            float(np.average(share.reshape(-1)[region.index], weights=region.part_ml)) * float(np.mean(widths)) ** 2
            for widths, share in self.layers
        ]
        return math.sqrt(sum(variance))

    def ends_mm(self) -> tuple[float, float]:
        """The smallest and the largest of its widths, each in the mean over the axes."""
        means = [float(np.mean(widths)) for widths in self._widths()]
        return min(means), max(means)

    def _widths(self) -> list[Widths]:
        return [widths for widths, _ in self.layers] or [self.fwhm_mm]


def spread_by_depth(fwhm_mm: Widths, by_depth: Sequence[ResolutionAtDepth], depth_mm: Image32) -> PointSpread:
    """That of a resolution known at two depths: between them the share of the deep one grows linearly with depth.

    Beyond them it stays as it is there. The variance of a point is then linear in depth.
    """
    shallow, deep = by_depth
    share = (depth_mm - np.float32(shallow.depth_mm)) / np.float32(deep.depth_mm - shallow.depth_mm)
    share = np.clip(share, 0.0, 1.0).astype(np.float32)
    return PointSpread(fwhm_mm, ((deep.fwhm_mm, share), (shallow.fwhm_mm, 1 - share)))


def depth_below_surface_mm(body: Mask, spacing_mm: Sequence[float]) -> Image32:
    """Distance of every voxel to the nearest one outside of the body, 0 there, infinite where nothing is outside.

    Beyond the rim of the grid the body is taken to go on.
    """
    if body.all():
        return np.full(body.shape, np.inf, dtype=np.float32)
    return np.asarray(ndimage.distance_transform_edt(body, sampling=spacing_mm), dtype=np.float32)
