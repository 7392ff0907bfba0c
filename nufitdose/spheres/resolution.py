"""The resolution of a scanner: the Gaussian with which the spheres as drawn look like the image."""

from collections.abc import Mapping
from dataclasses import dataclass

import lmfit
import numpy as np
from numpy.typing import NDArray

from nufitdose.anatomy.regions import Region
from nufitdose.errors import InputError
from nufitdose.psf import blur
from nufitdose.types import F64, Image32
from nufitdose.volume import Volume

_START_MM, _LEAST_MM, _MOST_MM = 10.0, 1.0, 40.0
_AROUND_MM = 20.0  # of the spheres: what is fitted


@dataclass(frozen=True)
class ResolutionFit:
    """FWHM along i, j, k with their standard uncertainties, and the concentrations that go with them, Bq/mL.

    `sphere_bq_ml` against what was filled in tells the calibration: recovery does not enter it.
    """

    fwhm_mm: tuple[float, float, float]
    u_fwhm_mm: tuple[float, float, float]
    sphere_bq_ml: float
    background_bq_ml: float


def fit_resolution(activity: Volume, spheres: Mapping[str, Region]) -> ResolutionFit:
    """Fit `c = B + (T - B) h ⊗ m` around the spheres m, h a Gaussian of three widths; T and B in closed form.

    `InputError` where no width of 1 to 40 mm makes the image of them.
    """
    grid = activity.grid
    share = np.zeros(grid.size, dtype=np.float32)
    for region in spheres.values():
        share[region.index] += (region.part_ml / grid.voxel_volume_ml).astype(np.float32)
    whole = np.minimum(share, 1.0).reshape(grid.shape)
    box = _around(whole, grid.spacing_mm)
    mask, image = whole[box], activity.data[box]
    level = float(np.abs(image).max()) or 1.0
    data = image.ravel().astype(np.float64) / level

    def residual(parameters: lmfit.Parameters) -> F64:
        shown = blur(mask, [parameters[axis].value for axis in "ijk"], grid.spacing_mm, extend=True)
        design = _design(shown)
        return np.asarray(design @ np.linalg.lstsq(design, data)[0] - data)

    start = lmfit.Parameters()
    for axis in "ijk":
        start.add(axis, value=_START_MM, min=_LEAST_MM, max=_MOST_MM)
    found = lmfit.minimize(residual, start, epsfcn=1e-4)  # a step that single precision can see
    widths = [float(found.params[axis].value) for axis in "ijk"]
    if not found.success or not all(1.01 * _LEAST_MM < width < 0.99 * _MOST_MM for width in widths):
        came = " x ".join(f"{width:.3g}" for width in widths)
        raise InputError(
            f"no Gaussian makes this image of the spheres, widths of {came} mm came out",
            remedy="Check that the labels lie on the spheres and that the image is not of something else",
        )
    blurred = blur(mask, widths, grid.spacing_mm, extend=True)
    background, more = (float(value) * level for value in np.linalg.lstsq(_design(blurred), data)[0])
    errors = [float(found.params[axis].stderr or np.nan) for axis in "ijk"]
    i, j, k = widths
    return ResolutionFit((i, j, k), (errors[0], errors[1], errors[2]), background + more, background)


def _design(shown: Image32) -> NDArray[np.float64]:
    return np.stack([np.ones(shown.size), shown.ravel().astype(np.float64)], axis=1)


def _around(mask: Image32, spacing_mm: tuple[float, float, float]) -> tuple[slice, slice, slice]:
    """The box that holds the spheres and what is around them."""
    where = np.argwhere(mask > 0)
    margin = np.ceil(_AROUND_MM / np.array(spacing_mm)).astype(int)
    low = np.maximum(where.min(axis=0) - margin, 0)
    high = np.minimum(where.max(axis=0) + margin + 1, mask.shape)
    i, j, k = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return i, j, k
