"""Voxel kernels from radial ones: dose to a voxel per decay, evenly spread over another.

VSV(i,j,k) = κ/m Σ_r E(r) ⟨Λ(r n_x/a - i) Λ(r n_y/b - j) Λ(r n_z/c - k)⟩_n, Λ(x) = max(0, 1 - |x|), the mean over
directions n: exact for any sides a, b, c. Read the other way, every point r·n gives its energy to the eight
voxels around it by trilinear weights; that is how the near field is summed. The far field is the value at the
voxel's centre, corrected for the curvature of 1/r².
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, untyped-decorator"

import itertools
import math
from typing import no_type_check

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.typing import NDArray

from dosimetry.dose.kernels.radial import RadialKernel, radial_kernel
from nufitdose.compiled import compiled
from nufitdose.errors import InputError
from nufitdose.nuclides import JOULE_PER_MEV
from nufitdose.types import Triple

Numbers = NDArray[np.float64]

_MGY_PER_MBQ_S = 1e9  # 1 Gy/(Bq·s)
_NEAR = 8.0  # of the longest side: where the near field ends
_POINTS = 4_000_000
_LARGEST_BYTES = 2**31
_LOST = 1e-3  # of the emitted energy, where the kernel ends unless told otherwise


def voxel_kernel(
    nuclide: str,
    spacing_mm: Triple,
    density_g_ml: float = 1.0,
    *,
    reach_mm: float | None = None,
    progeny: bool = True,
) -> Float[ndarray, "nx ny nz"]:
    """Dose to each voxel per decay in the middle one, mGy/(MBq·s), odd-sized, in water of any density.

    The kernel reaches as far as 99.9 % of the emitted energy, or `reach_mm`.
    """
    kernel = radial_kernel(nuclide, progeny=progeny)
    reach = _reach(kernel, density_g_ml, reach_mm)
    return sum_kernel(kernel, kernel.total_mev, spacing_mm, density_g_ml, reach)


def sum_kernel(
    kernel: RadialKernel,
    energy_mev: Numbers,
    spacing_mm: Triple,
    density_g_ml: float,
    reach_mm: float,
) -> Float[ndarray, "nx ny nz"]:
    """Voxel kernel of energy in the shells of `kernel` (its charged part, its photons or both), mGy/(MBq·s)."""
    return mirrored(octant_kernel(kernel.edges_g_cm2, energy_mev, spacing_mm, density_g_ml, reach_mm))


def octant_kernel(
    edges_g_cm2: Numbers, energy_mev: Numbers, spacing_mm: Triple, density_g_ml: float, reach_mm: float
) -> Numbers:
    """The kernel at i, j, k >= 0, mGy/(MBq·s)."""
    if not (math.isfinite(density_g_ml) and density_g_ml > 0.0 and math.isfinite(reach_mm) and reach_mm > 0.0):
        raise InputError(
            f"density {density_g_ml!r} g/mL and reach {reach_mm!r} mm were given, positive numbers are wanted"
        )
    spacing_mm = _checked(spacing_mm)
    sides = np.array(spacing_mm) / 10.0 * density_g_ml
    shape = tuple(max(math.ceil(reach_mm / side - 0.5), 1) + 1 for side in spacing_mm)
    if math.prod(2 * n - 1 for n in shape) * 4 > _LARGEST_BYTES:
        raise InputError(
            f"a kernel to {reach_mm:.0f} mm in voxels of {spacing_mm} mm would take more than 2 GiB",
            remedy="Give a smaller reach, or larger voxels for the photon part",
        )
    mass_kg = density_g_ml * math.prod(spacing_mm) * 1e-6
    near = _NEAR * float(sides.max())
    octant = _far_field(edges_g_cm2, energy_mev, sides, shape, near)
    inner = tuple(min(n, math.ceil(near / side) + 2) for n, side in zip(shape, sides, strict=True))
    close = _near_field(edges_g_cm2, energy_mev, sides, inner, near)
    block = tuple(slice(n) for n in inner)
    octant[block] = np.where(np.isnan(octant[block]), close, octant[block])
    return octant * (JOULE_PER_MEV / mass_kg * _MGY_PER_MBQ_S)


def mirrored(octant: Numbers) -> NDArray[np.float32]:
    """The whole kernel from its octant, single precision."""
    whole = np.empty([2 * n - 1 for n in octant.shape], np.float32)
    for signs in itertools.product((1, -1), repeat=3):
        directions = zip(octant.shape, signs, strict=True)
        corner = tuple(slice(n - 1, None) if sign > 0 else slice(n - 1, None, -1) for n, sign in directions)
        whole[corner] = octant
    return whole


def _checked(spacing_mm: Triple) -> tuple[float, float, float]:
    sides = [float(side) for side in spacing_mm]
    if len(sides) != 3 or not all(math.isfinite(side) and side > 0.0 for side in sides):
        raise InputError(f"a spacing of {spacing_mm!r} was given, three positive numbers in mm are wanted")
    return sides[0], sides[1], sides[2]


def _reach(kernel: RadialKernel, density_g_ml: float, reach_mm: float | None) -> float:
    return reach_mm if reach_mm is not None else kernel.reach_g_cm2(1.0 - _LOST) / density_g_ml * 10.0


def _far_field(edges: Numbers, energy_mev: Numbers, sides: Numbers, shape: tuple[int, ...], near: float) -> Numbers:
    """MeV per voxel at the centres beyond `near`, NaN within.

    ⟨f⟩ over both voxels is f + Σ a²/12 ∂²f/∂x²; for f = p(r)/r², p slowly varying, ∂²f/∂x² = (8 x²/r² - 2) f/r².
    """
    middle = np.sqrt(edges[2:] * edges[1:-1])
    density = energy_mev[1:] / (4.0 / 3.0 * np.pi * np.diff(edges[1:] ** 3))
    curve = np.log(np.maximum(density, 1e-300))
    x, y, z = ((np.arange(n) * side) ** 2 for n, side in zip(shape, sides, strict=True))
    result = np.empty(shape)
    table = _even_table(np.log(middle), curve)
    a2 = sides**2 / 12.0
    _fill(x, y, z, a2, near**2, math.prod(sides.tolist()), *table, result)
    return result


def _even_table(ln_r: Numbers, curve: Numbers) -> tuple[float, float, Numbers]:
    """The curve resampled evenly in ln r: start, nodes per unit, values."""
    even = np.linspace(ln_r[0], ln_r[-1], 4 * ln_r.size)
    return float(even[0]), float(1.0 / (even[1] - even[0])), np.exp(np.interp(even, ln_r, curve))


@compiled
@no_type_check
def _fill(x2, y2, z2, a2, near2, volume, start, per_unit, values, result):
    for i in range(x2.shape[0]):
        for j in range(y2.shape[0]):
            for k in range(z2.shape[0]):
                r2 = x2[i] + y2[j] + z2[k]
                if r2 <= near2:
                    result[i, j, k] = np.nan
                    continue
                place = min(max((0.5 * np.log(r2) - start) * per_unit, 0.0), values.shape[0] - 1.001)
                n = int(place)
                value = values[n] + (place - n) * (values[n + 1] - values[n])
                bend = 8.0 * (a2[0] * x2[i] + a2[1] * y2[j] + a2[2] * z2[k]) / r2 - 2.0 * (a2[0] + a2[1] + a2[2])
                result[i, j, k] = volume * value * (1.0 + bend / r2)


def _near_field(edges: Numbers, energy_mev: Numbers, sides: Numbers, shape: tuple[int, ...], near: float) -> Numbers:
    """MeV per voxel by the trilinear shares of points spread over every shell."""
    octant = np.zeros(shape)
    past = near + 2.0 * float(np.linalg.norm(sides))
    inner, outer = edges[:-1], edges[1:]
    used = inner < past
    smallest = float(sides.min())
    # Shells small beside a voxel give nearly all to the middle one; wide ones need points for every voxel they cross.
    wish = np.clip((outer[used] / smallest) ** 2 * 400.0 + 10000.0, 0.0, 100000.0)
    wish *= min(1.0, _POINTS / wish.sum())
    _share_out(inner[used], outer[used], energy_mev[used], np.maximum(wish, 500).astype(np.int64), sides, octant)
    return octant


@compiled
@no_type_check
def _share_out(inner, outer, energy, points, sides, octant):
    for shell in range(inner.shape[0]):
        n = points[shell]
        part = energy[shell] / n
        for p in range(n):
            # A lattice over (cos of the polar angle, azimuth, radius) of one octant, no two coordinates alike.
            cosine = (p + 0.5) / n
            phi = 0.5 * np.pi * ((p * 0.6180339887498949) % 1.0)
            r = inner[shell] + (outer[shell] - inner[shell]) * ((p * 0.41421356237309515 + 0.5) % 1.0)
            sine = np.sqrt(1.0 - cosine * cosine)
            x, y, z = r * sine * np.cos(phi) / sides[0], r * sine * np.sin(phi) / sides[1], r * cosine / sides[2]
            i, j, k = int(x), int(y), int(z)
            if i + 1 >= octant.shape[0] or j + 1 >= octant.shape[1] or k + 1 >= octant.shape[2]:
                continue
            fx, fy, fz = x - i, y - j, z - k
            for di in range(2):
                # Only voxels on the planes of symmetry get shares from both of their sides.
                wx = (fx if di else 1.0 - fx) * (1.0 if i + di == 0 else 0.5)
                for dj in range(2):
                    wy = (fy if dj else 1.0 - fy) * (1.0 if j + dj == 0 else 0.5)
                    for dk in range(2):
                        wz = (fz if dk else 1.0 - fz) * (1.0 if k + dk == 0 else 0.5)
                        octant[i + di, j + dj, k + dk] += part * wx * wy * wz
