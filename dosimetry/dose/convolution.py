"""Convolution with an even kernel: single precision, real transforms, no padded volume in memory.

An even kernel has a real spectrum, the type-1 cosine transform of its octant. The volume is transformed axis by axis
and padded only along the axis at work, slab by slab, so that memory holds nx·Ly·(Lz/2+1) complex numbers, the result
and one slab. A length L >= n + h keeps what wraps around out of the n voxels wanted, h the
kernel's half width; offsets beyond n - 1 cannot matter. Where these complex numbers are more than the limit of memory,
bands of frequencies along z are carried through one after the other, and their results add up.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Complex64, Float, Float32
from numpy import ndarray
from numpy.typing import NDArray
from scipy import fft

_SLAB_BYTES = 2**22


@dataclass(frozen=True)
class Resources:
    """Where a convolution is done, "cpu" or a device of torch, and what it may take there.

    `workers` threads (None: one) and `memory_mb` for its transforms, on top of the images and the kernel's spectrum
    (None: as much as it takes), are for the CPU; a GPU takes the volume at once.
    """

    workers: int | None = None
    memory_mb: float | None = None
    device: str = "cpu"


ONE_THREAD = Resources()


@dataclass(frozen=True, eq=False)
class EvenSpectrum:
    """Spectrum of an even kernel for volumes of one shape: real, at the non-negative frequencies of each axis."""

    shape: tuple[int, ...]
    lengths: tuple[int, ...]
    values: Float32[ndarray, "fx fy fz"]


def even_spectrum(
    octant: Float[ndarray, "hx hy hz"], shape: tuple[int, ...], *, workers: int | None = None
) -> EvenSpectrum:
    """Spectrum of the kernel given at offsets >= 0, for volumes of `shape`."""
    cut = octant[tuple(slice(min(h, n)) for h, n in zip(octant.shape, shape, strict=True))]
    lengths = tuple(_even_length(n + h - 1) for n, h in zip(shape, cut.shape, strict=True))
    padded = np.zeros([length // 2 + 1 for length in lengths], np.float32)
    padded[tuple(slice(n) for n in cut.shape)] = cut
    return EvenSpectrum(tuple(shape), lengths, np.asarray(fft.dctn(padded, type=1, workers=workers, overwrite_x=True)))


def convolved(
    volume: Float[ndarray, "nx ny nz"], spectrum: EvenSpectrum, resources: Resources = ONE_THREAD
) -> Float32[ndarray, "nx ny nz"]:
    """Σ_j volume[j] kernel[i - j] on the volume's own voxels; zero outside."""
    if volume.shape != spectrum.shape:
        raise ValueError(f"a volume of {volume.shape} voxels meets a spectrum for {spectrum.shape}")
    if resources.device != "cpu":
        from dosimetry.dose.tensor_convolution import convolved_by_tensors  # only here: torch takes seconds to load

        return convolved_by_tensors(volume, spectrum.values, spectrum.lengths, resources.device)
    result = np.zeros(volume.shape, np.float32)
    for band in _bands(spectrum, resources.memory_mb):
        partial = _transformed(volume, spectrum.lengths, band, resources)
        _multiply(partial, spectrum, band, resources)
        _add_back(result, partial, spectrum.lengths, band, resources)
        del partial  # before the next one is there
    return result


def _bands(spectrum: EvenSpectrum, memory_mb: float | None) -> Iterator[slice]:
    """Frequencies along z of so many at a time that half the memory holds them; slabs have the other half."""
    frequencies = spectrum.lengths[2] // 2 + 1
    each = 8 * spectrum.shape[0] * spectrum.lengths[1]
    most = frequencies if memory_mb is None else max(1, int(memory_mb * 1e6 / 2 / each))
    count = -(-frequencies // most)
    edges = np.linspace(0, frequencies, count + 1).astype(int).tolist()
    return (slice(*band) for band in pairwise(edges))


def _transformed(
    volume: Float[ndarray, "nx ny nz"], lengths: tuple[int, ...], band: slice, resources: Resources
) -> Complex64[ndarray, "nx ly fz"]:
    """The volume's transform along z and y, in a band of frequencies of z."""
    partial = np.empty((volume.shape[0], lengths[1], band.stop - band.start), np.complex64)
    for slab in _slabs(volume.shape[0], lengths[1] * (lengths[2] // 2 + 1), resources):
        rows = fft.rfft(volume[slab].astype(np.float32, copy=False), n=lengths[2], axis=2, workers=resources.workers)
        partial[slab] = fft.fft(rows[:, :, band], n=lengths[1], axis=1, workers=resources.workers)
    return partial


def _multiply(
    partial: Complex64[ndarray, "nx ly fz"], spectrum: EvenSpectrum, band: slice, resources: Resources
) -> None:
    """The product with the kernel's spectrum, in place; transformed along x and back on the way."""
    count, lengths, workers = partial.shape[0], spectrum.lengths, resources.workers
    half = lengths[1] // 2
    for slab in _slabs(lengths[1], lengths[0] * partial.shape[2], resources):
        at = np.arange(slab.start, slab.stop)
        factor = spectrum.values[:, np.where(at <= half, at, lengths[1] - at), band]
        lines = fft.fft(partial[:, slab], n=lengths[0], axis=0, workers=workers)
        lines[: factor.shape[0]] *= factor
        lines[factor.shape[0] :] *= factor[-2:0:-1]
        partial[:, slab] = fft.ifft(lines, axis=0, workers=workers, overwrite_x=True)[:count]


def _add_back(
    result: Float32[ndarray, "nx ny nz"],
    partial: Complex64[ndarray, "nx ly fz"],
    lengths: tuple[int, ...],
    band: slice,
    resources: Resources,
) -> None:
    """Add the band's part of the volume to `result`."""
    (nx, ny, nz), frequencies = result.shape, lengths[2] // 2 + 1
    for slab in _slabs(nx, lengths[1] * frequencies, resources):
        rows = fft.ifft(partial[slab], axis=1, workers=resources.workers)[:, :ny]
        if rows.shape[2] < frequencies:
            whole = np.zeros((*rows.shape[:2], frequencies), np.complex64)
            whole[:, :, band] = rows
            rows = whole
        result[slab] += fft.irfft(rows, n=lengths[2], axis=2, workers=resources.workers)[..., :nz]


def _slabs(count: int, numbers: int, resources: Resources) -> Iterator[slice]:
    """Slabs of so many slices of complex numbers as stay in the processor's cache, and in the memory allowed.

    About four arrays of a slab's size are there at once.
    """
    memory = _SLAB_BYTES if resources.memory_mb is None else min(_SLAB_BYTES, resources.memory_mb * 1e6 / 8)
    rows = max(1, int(memory // (8 * numbers)))
    return (slice(start, min(start + rows, count)) for start in range(0, count, rows))


def convolved_with_octant(
    volume: Float[ndarray, "nx ny nz"], octant: Float[ndarray, "hx hy hz"], resources: Resources = ONE_THREAD
) -> Float32[ndarray, "nx ny nz"]:
    """`convolved` with a kernel given at offsets >= 0, whose spectrum is used once."""
    return convolved(volume, even_spectrum(octant, volume.shape, workers=resources.workers), resources)


def _even_length(least: int) -> int:
    return 2 * fft.next_fast_len(-(-least // 2), real=True)


def pooled(values: NDArray[Any], by: int) -> NDArray[np.float32]:
    """Sums over blocks of `by`³ voxels, the last ones filled up with zeros."""
    padded = np.pad(values, [(0, -n % by) for n in values.shape])
    x, y, z = (n // by for n in padded.shape)
    return padded.reshape(x, by, y, by, z, by).sum(axis=(1, 3, 5), dtype=np.float32)


def spread(values: NDArray[np.float32], by: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Cubic interpolation (Catmull-Rom) from the centres of blocks onto their voxels; held beyond the outermost."""
    for axis, n in enumerate(shape):
        place = np.clip((np.arange(n) + 0.5) / by - 0.5, 0.0, values.shape[axis] - 1.0)
        lower = place.astype(int)
        t = (place - lower).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        taps = (-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2)
        nodes = (np.clip(lower + offset, 0, values.shape[axis] - 1) for offset in (-1, 0, 1, 2))
        values = sum(np.take(values, at, axis=axis) * (tap / 2) for at, tap in zip(nodes, taps, strict=True))
    return values
