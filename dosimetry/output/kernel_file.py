"""A voxel kernel as a file, and where the energy of its decay goes."""

import io
from pathlib import Path

import numpy as np

from dosimetry.dose.kernels.radial import radial_kernel
from dosimetry.dose.kernels.voxel import voxel_kernel
from nufitdose.errors import InputError
from nufitdose.files import write_whole
from nufitdose.nuclides import JOULE_PER_MEV, canonical_name
from nufitdose.types import Image32, Triple


def write_kernel(
    path: Path, nuclide: str, spacing_mm: Triple, density_g_ml: float, *, reach_mm: float | None = None
) -> str:
    """Write the kernel, mGy/(MBq·s), as .npz or .csv; returns its energy balance in words.

    The .npz holds the whole kernel, `kernel`, and what it is for; the .csv the voxels i, j, k >= 0, the others being
    their mirror images. `InputError` for another ending, an unknown nuclide or impossible numbers.
    """
    if path.suffix not in {".npz", ".csv"}:
        raise InputError(f"{path} was given, a file that ends in .npz or .csv is wanted")
    if not path.parent.is_dir():
        raise InputError(f"there is no folder {path.parent} to write {path.name} into")
    name = canonical_name(nuclide)
    kernel = voxel_kernel(name, spacing_mm, density_g_ml, reach_mm=reach_mm)
    if path.suffix == ".npz":
        held = io.BytesIO()
        np.savez_compressed(
            held, allow_pickle=False, kernel=kernel, spacing_mm=spacing_mm, density_g_ml=density_g_ml, nuclide=name
        )
        write_whole(path, held.getvalue())
    else:
        write_whole(path, _octant_as_csv(kernel, name, spacing_mm, density_g_ml))
    return _energy_balance(kernel, name, spacing_mm, density_g_ml)


def _octant_as_csv(kernel: Image32, name: str, spacing_mm: Triple, density_g_ml: float) -> str:
    octant = kernel[tuple(slice(n // 2, None) for n in kernel.shape)]
    sides = " x ".join(f"{side:g}" for side in spacing_mm)
    head = f"# {name}, voxels of {sides} mm, water of {density_g_ml:g} g/mL\ni,j,k,mgy_per_mbq_s\n"
    return head + "".join(f"{i},{j},{k},{value:.6e}\n" for (i, j, k), value in np.ndenumerate(octant))


def _energy_balance(kernel: Image32, name: str, spacing_mm: Triple, density_g_ml: float) -> str:
    radial = radial_kernel(name)
    mass_kg = density_g_ml * float(np.prod(spacing_mm)) * 1e-6
    per_decay_mev = mass_kg * 1e-9 / JOULE_PER_MEV
    inside = float(kernel.sum(dtype=float)) * per_decay_mev
    own = float(kernel.max()) * per_decay_mev
    shape = " x ".join(map(str, kernel.shape))
    return (
        f"{name}, {shape} voxels; of {radial.emitted_mev:.4g} MeV per decay, progeny included, "
        f"{100 * inside / radial.emitted_mev:.2f} % land in the kernel, "
        f"{100 * own / radial.emitted_mev:.2f} % of all in the voxel of the decay"
    )
