"""Dose by the kernels of a nuclide: charged particles over the local mass, photons primary and scattered apart."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float, Float32
from numpy import ndarray
from numpy.typing import NDArray

from dosimetry.dose.body_effect import BodyEffect, Surroundings, body_effect
from dosimetry.dose.convolution import ONE_THREAD, EvenSpectrum, Resources, convolved, even_spectrum, pooled, spread
from dosimetry.dose.kernels.radial import radial_kernel
from dosimetry.dose.kernels.voxel import octant_kernel
from nufitdose.errors import InputError
from nufitdose.nuclides import JOULE_PER_MEV
from nufitdose.types import Triple

_KEPT_CHARGED = 1.0 - 1e-6  # of the charged energy: where the short kernel ends
_WINDOW = (3.0, 8.0)  # of the longest coarse side: where photons pass from the near to the far kernel
_PER_MGY_PER_MBQ_S = 3600e-6 * 1e-3  # Gy/(Bq·h) from mGy/(MBq·s)
_DENSITY_DIGITS = 4  # of the photons' density: spectra of equal ones are used again

Sides = tuple[float, float, float]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class KernelDose:
    """Dose in Gy, and the part of the emitted energy that lands outside the volume's field of view.

    `effect` is what the body did to photons, None without surroundings or activity.
    """

    dose_gy: Float32[ndarray, "nx ny nz"]
    left_the_field: float
    effect: BodyEffect | None = None


def kernel_dose(
    tia_bq_h_ml: Float[ndarray, "nx ny nz"],
    nuclide: str,
    spacing_mm: Triple,
    density_g_ml: Float[ndarray, "nx ny nz"] | float = 1.0,
    *,
    photon_density_g_ml: float | None = None,
    surroundings: Surroundings | None = None,
    effect: BodyEffect | None = None,
    coarsening: int = 2,
    resources: Resources = ONE_THREAD,
) -> KernelDose:
    """Dose of time-integrated activity by convolution with the nuclide's kernels.

    The energy of charged particles spreads by the water kernel and is divided by the local mass,
    D = κ Σ A E_c / (ρV); photons give their water dose, the kernel scaled to `photon_density_g_ml` (the mean density
    where not given), near the source on the volume's grid and farther on one `coarsening` times as wide. With
    `surroundings`, photons are those of the body around (`body_effect`), and water's dose is turned into that
    of its tissue; `effect` is taken for it where it is known from an activity spread alike.
    """
    activity = _checked(tia_bq_h_ml, density_g_ml)
    kernel = radial_kernel(nuclide)
    sides: Sides = tuple(float(side) for side in spacing_mm)  # type: ignore[assignment]
    volume_ml = math.prod(sides) * 1e-3
    mean = float(np.mean(density_g_ml)) if photon_density_g_ml is None else photon_density_g_ml
    bq_h = activity * np.float32(volume_ml)
    charged, photon = spread_in_water(bq_h, nuclide, sides, mean, coarsening, resources)
    if surroundings is not None and bq_h.any():
        effect = effect or body_effect(bq_h, nuclide, sides, _rounded(mean), surroundings, resources)
        photon *= effect.to_tissue(surroundings.tissue)
    mass: Any = mean if surroundings is None else surroundings.density_g_ml
    landed = charged.sum(dtype=float) + float((photon * mass).sum(dtype=float))
    dose = photon
    charged /= np.asarray(density_g_ml, np.float32)
    dose += charged
    emitted = float(bq_h.sum(dtype=float)) * 3600.0 * kernel.emitted_mev * JOULE_PER_MEV
    left = max(0.0, 1.0 - landed * volume_ml * 1e-3 / emitted) if emitted > 0.0 else 0.0
    return KernelDose(dose, left, effect)


def spread_in_water(
    bq_h: NDArray[np.float32],
    nuclide: str,
    spacing_mm: Triple,
    density_g_ml: float,
    coarsening: int = 2,
    resources: Resources = ONE_THREAD,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What charged particles leave, Gy at 1 g/mL, and what photons leave in water of this density, Gy."""
    sides: Sides = tuple(float(side) for side in spacing_mm)  # type: ignore[assignment]
    charged = convolved(bq_h, _charged_spectrum(nuclide, sides, bq_h.shape), resources)
    return charged, _photon_dose(bq_h, nuclide, sides, _rounded(density_g_ml), coarsening, resources)


def _rounded(density_g_ml: float) -> float:
    """Near enough that spectra of the same density are used again."""
    return float(f"{density_g_ml:.{_DENSITY_DIGITS}g}")


def _checked(tia: NDArray[Any], density: NDArray[Any] | float) -> NDArray[np.float32]:
    activity = np.asarray(tia, np.float32)
    wrong = ~np.isfinite(activity) | (activity < 0.0)
    if wrong.any():
        raise InputError(
            f"{int(wrong.sum())} voxels of the time-integrated activity are negative or not finite numbers"
        )
    if not (np.isfinite(density).all() and np.min(density) > 0.0):
        raise InputError("densities that are zero, negative or not finite were given", remedy="Bound them from below")
    return activity


@lru_cache(maxsize=2)
def _charged_spectrum(nuclide: str, sides_mm: Sides, shape: Shape) -> EvenSpectrum:
    """Of a short kernel at 1 g/mL."""
    kernel = radial_kernel(nuclide)
    inside = np.cumsum(kernel.charged_mev)
    reach_cm = float(np.interp(_KEPT_CHARGED * inside[-1], inside, kernel.edges_g_cm2[1:]))
    octant = octant_kernel(kernel.edges_g_cm2, kernel.charged_mev, sides_mm, 1.0, reach_cm * 10.0)
    return even_spectrum(octant * _PER_MGY_PER_MBQ_S, shape)


def _photon_dose(
    bq_h: NDArray[np.float32], nuclide: str, sides_mm: Sides, density: float, coarsening: int, resources: Resources
) -> NDArray[np.float32]:
    """Photon dose in water."""
    near, far = _photon_spectra(nuclide, sides_mm, density, coarsening, bq_h.shape)
    dose = convolved(bq_h, near, resources)
    dose += spread(convolved(pooled(bq_h, coarsening), far, resources), coarsening, bq_h.shape)
    return dose


@lru_cache(maxsize=2)
def _photon_spectra(
    nuclide: str, sides_mm: Sides, density: float, coarsening: int, shape: Shape
) -> tuple[EvenSpectrum, EvenSpectrum]:
    """Shells are shared between a near and a far kernel by a window that falls smoothly."""
    kernel = radial_kernel(nuclide)
    coarse_mm: Sides = tuple(side * coarsening for side in sides_mm)  # type: ignore[assignment]
    start, end = (factor * max(coarse_mm) / 10.0 * density for factor in _WINDOW)
    middle = (kernel.edges_g_cm2[1:] + kernel.edges_g_cm2[:-1]) / 2
    far = np.sin(np.pi / 2 * np.clip((middle - start) / (end - start), 0.0, 1.0)) ** 2
    near_mm = end / density * 10.0
    coarse_shape = tuple(-(-n // coarsening) for n in shape)
    far_mm = max(n * side for n, side in zip(coarse_shape, coarse_mm, strict=True))
    near = octant_kernel(kernel.edges_g_cm2, kernel.photon_mev * (1.0 - far), sides_mm, density, near_mm)
    wide = octant_kernel(kernel.edges_g_cm2, kernel.photon_mev * far, coarse_mm, density, far_mm)
    return even_spectrum(near * _PER_MGY_PER_MBQ_S, shape), even_spectrum(wide * _PER_MGY_PER_MBQ_S, coarse_shape)
