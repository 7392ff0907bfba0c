"""Convolution with an even kernel: single precision, real transforms, no padded volume in memory.

An even kernel has a real spectrum, the type-1 cosine transform of its octant. The volume is transformed axis by axis
and padded only along the axis at work; the first axis is done, multiplied and undone in slabs, so that memory holds
nx·Ly·(Lz/2+1) complex numbers at most. A length L >= n + h keeps what wraps around out of the n voxels wanted, h the
kernel's half width; offsets beyond n - 1 cannot matter.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32
from numpy import ndarray
from numpy.typing import NDArray
from scipy import fft

from dosimetry.dose.kernels.radial import RadialKernel, radial_kernel
from dosimetry.dose.kernels.voxel import octant_kernel
from nufitdose.errors import InputError
from nufitdose.nuclides import JOULE_PER_MEV
from nufitdose.types import Triple

_SLAB_BYTES = 2**26
_KEPT_CHARGED = 1.0 - 1e-6  # of the charged energy: where the short kernel ends
_WINDOW = (3.0, 8.0)  # of the longest coarse side: where photons pass from the near to the far kernel
_PER_MGY_PER_MBQ_S = 3600e-6 * 1e-3  # Gy/(Bq·h) from mGy/(MBq·s)

Numbers = NDArray[np.float64]


def convolved_with_octant(
    volume: Float[ndarray, "nx ny nz"], octant: Float[ndarray, "hx hy hz"], *, workers: int | None = None
) -> Float32[ndarray, "nx ny nz"]:
    """Σ_j volume[j] kernel[i - j] on the volume's own voxels, the kernel given at offsets >= 0; zero outside."""
    shape = volume.shape
    wanted = tuple(slice(min(h, n)) for h, n in zip(octant.shape, shape, strict=True))
    cut = octant[wanted]
    lengths = [_even_length(n + h - 1) for n, h in zip(shape, cut.shape, strict=True)]
    spectrum = _even_spectrum(cut, lengths, workers)
    partial = fft.rfft(volume.astype(np.float32, copy=False), n=lengths[2], axis=2, workers=workers)
    partial = fft.fft(partial, n=lengths[1], axis=1, workers=workers, overwrite_x=True)
    half = lengths[1] // 2
    rows = max(1, _SLAB_BYTES // (8 * lengths[0] * partial.shape[2]))
    for start in range(0, lengths[1], rows):
        slab = slice(start, min(start + rows, lengths[1]))
        at = np.arange(slab.start, slab.stop)
        factor = spectrum[:, np.where(at <= half, at, lengths[1] - at), :]
        lines = fft.fft(partial[:, slab], n=lengths[0], axis=0, workers=workers)
        lines[: factor.shape[0]] *= factor
        lines[factor.shape[0] :] *= factor[-2:0:-1]
        partial[:, slab] = fft.ifft(lines, axis=0, workers=workers, overwrite_x=True)[: shape[0]]
    partial = fft.ifft(partial, axis=1, workers=workers, overwrite_x=True)[:, : shape[1]]
    return np.ascontiguousarray(fft.irfft(partial, n=lengths[2], axis=2, workers=workers)[..., : shape[2]])


def _even_length(least: int) -> int:
    return 2 * fft.next_fast_len(-(-least // 2), real=True)


def _even_spectrum(octant: NDArray[Any], lengths: list[int], workers: int | None) -> NDArray[np.float32]:
    padded = np.zeros([length // 2 + 1 for length in lengths], np.float32)
    padded[tuple(slice(n) for n in octant.shape)] = octant
    return np.asarray(fft.dctn(padded, type=1, workers=workers, overwrite_x=True))


@dataclass(frozen=True)
class KernelDose:
    """Dose in Gy, and the part of the emitted energy that lands outside the volume's field of view."""

    dose_gy: Float32[ndarray, "nx ny nz"]
    left_the_field: float


def kernel_dose(
    tia_bq_h_ml: Float[ndarray, "nx ny nz"],
    nuclide: str,
    spacing_mm: Triple,
    density_g_ml: Float[ndarray, "nx ny nz"] | float = 1.0,
    *,
    photon_density_g_ml: float | None = None,
    coarsening: int = 2,
    workers: int | None = None,
) -> KernelDose:
    """Dose of time-integrated activity by convolution with the nuclide's kernels.

    The energy of charged particles spreads by the water kernel and is divided by the local mass,
    D = κ Σ A E_c / (ρV); photons give their water dose, the kernel scaled to `photon_density_g_ml` (the mean density
    where not given), near the source on the volume's grid and farther on one `coarsening` times as wide.
    """
    activity = _checked(tia_bq_h_ml, density_g_ml)
    kernel = radial_kernel(nuclide)
    volume_ml = math.prod(spacing_mm) * 1e-3
    mean = float(np.mean(density_g_ml)) if photon_density_g_ml is None else photon_density_g_ml
    bq_h = activity * np.float32(volume_ml)
    charged = convolved_with_octant(bq_h, _charged_octant(kernel, spacing_mm), workers=workers)
    dose = charged / np.asarray(density_g_ml, np.float32)
    photon = _photon_dose(bq_h, kernel, spacing_mm, mean, coarsening, workers)
    dose += photon
    landed = (charged.sum(dtype=float) + photon.sum(dtype=float) * mean) * volume_ml * 1e-3
    emitted = float(bq_h.sum(dtype=float)) * 3600.0 * kernel.emitted_mev * JOULE_PER_MEV
    return KernelDose(dose, max(0.0, 1.0 - landed / emitted) if emitted > 0.0 else 0.0)


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


def _charged_octant(kernel: RadialKernel, spacing_mm: Triple) -> Numbers:
    inside = np.cumsum(kernel.charged_mev)
    reach_cm = float(np.interp(_KEPT_CHARGED * inside[-1], inside, kernel.edges_g_cm2[1:]))
    return octant_kernel(kernel.edges_g_cm2, kernel.charged_mev, spacing_mm, 1.0, reach_cm * 10.0) * _PER_MGY_PER_MBQ_S


def _photon_dose(
    bq_h: NDArray[np.float32],
    kernel: RadialKernel,
    spacing_mm: Triple,
    density: float,
    coarsening: int,
    workers: int | None,
) -> NDArray[np.float32]:
    """Photon dose: the shells are shared between a near and a far kernel by a window that falls smoothly."""
    coarse_mm = tuple(side * coarsening for side in spacing_mm)
    start, end = (factor * max(coarse_mm) / 10.0 * density for factor in _WINDOW)
    middle = (kernel.edges_g_cm2[1:] + kernel.edges_g_cm2[:-1]) / 2
    far = np.sin(np.pi / 2 * np.clip((middle - start) / (end - start), 0.0, 1.0)) ** 2
    near_mev, far_mev = kernel.photon_mev * (1.0 - far), kernel.photon_mev * far
    reach_mm = end / density * 10.0
    near = octant_kernel(kernel.edges_g_cm2, near_mev, spacing_mm, density, reach_mm) * _PER_MGY_PER_MBQ_S
    dose = convolved_with_octant(bq_h, near, workers=workers)
    pooled = _pooled(bq_h, coarsening)
    size_mm = max(n * side for n, side in zip(pooled.shape, coarse_mm, strict=True))
    wide = octant_kernel(kernel.edges_g_cm2, far_mev, coarse_mm, density, size_mm) * _PER_MGY_PER_MBQ_S
    dose += _spread(convolved_with_octant(pooled, wide, workers=workers), coarsening, bq_h.shape)
    return dose


def _pooled(values: NDArray[np.float32], by: int) -> NDArray[np.float32]:
    """Sums over blocks of `by`³ voxels, the last ones filled up with zeros."""
    padded = np.pad(values, [(0, -n % by) for n in values.shape])
    x, y, z = (n // by for n in padded.shape)
    return padded.reshape(x, by, y, by, z, by).sum(axis=(1, 3, 5), dtype=np.float32)


def _spread(values: NDArray[np.float32], by: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Cubic interpolation (Catmull-Rom) from the centres of blocks onto their voxels; held beyond the outermost."""
    for axis, n in enumerate(shape):
        place = np.clip((np.arange(n) + 0.5) / by - 0.5, 0.0, values.shape[axis] - 1.0)
        lower = place.astype(int)
        t = (place - lower).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        taps = (-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2)
        nodes = (np.clip(lower + offset, 0, values.shape[axis] - 1) for offset in (-1, 0, 1, 2))
        values = sum(np.take(values, at, axis=axis) * (tap / 2) for at, tap in zip(nodes, taps, strict=True))
    return values
