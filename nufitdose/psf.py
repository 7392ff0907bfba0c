"""The point spread function of a scanner, a Gaussian: blurring with it, and what a sphere keeps of its activity."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy import ndimage

from nufitdose.types import Image32

#: FWHM = 2 √(2 ln 2) σ.
FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))
#: Where the Gaussian is cut off, standard deviations.
REACH = 3.5

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(200)


def blur(image: Image32, fwhm_mm: Sequence[float], spacing_mm: Sequence[float], *, extend: bool = False) -> Image32:
    """An image as a scanner of this resolution shows it; `fwhm_mm` along its axes i, j, k.

    Beyond its rim there is nothing, or with `extend` what is at the rim.
    """
    if not any(fwhm_mm):
        return image
    sigma = [fwhm / FWHM_PER_SIGMA / side for fwhm, side in zip(fwhm_mm, spacing_mm, strict=True)]
    mode: Literal["nearest", "constant"] = "nearest" if extend else "constant"
    return np.asarray(ndimage.gaussian_filter(image, sigma, mode=mode, truncate=REACH), dtype=np.float32)


def reach_voxels(fwhm_mm: Sequence[float], spacing_mm: Sequence[float]) -> tuple[int, ...]:
    """How far the Gaussian of `blur` reaches along each axis, whole voxels."""
    return tuple(math.ceil(REACH * f / FWHM_PER_SIGMA / s) + 1 for f, s in zip(fwhm_mm, spacing_mm, strict=True))


def sphere_recovery(volume_ml: float, fwhm_mm: float) -> float:
    """Share of the activity of a uniform sphere that a Gaussian of one width leaves inside it.

    `R = ∫₀²ʳ γ(s) 4πs² G(s) ds`, γ(s) = 1 - 3s/4r + s³/16r³ the overlap of the sphere with itself shifted by s, G the
    three-dimensional Gaussian.
    """
    radius = (3000.0 * volume_ml / (4.0 * math.pi)) ** (1.0 / 3.0)
    sigma = fwhm_mm / FWHM_PER_SIGMA
    top = min(2.0 * radius, 9.0 * sigma)
    s = 0.5 * top * (_NODES + 1.0)
    overlap = 1.0 - 0.75 * s / radius + (s / radius) ** 3 / 16.0
    gauss = np.exp(-0.5 * (s / sigma) ** 2) / (2.0 * math.pi * sigma**2) ** 1.5
    return float(0.5 * top * _WEIGHTS @ (overlap * 4.0 * math.pi * s**2 * gauss))
