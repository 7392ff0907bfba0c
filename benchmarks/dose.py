"""Speed of kernels, convolution and transport beside scipy in the same run: python -m benchmarks.dose."""

import os
import resource
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy.signal import fftconvolve

from dosimetry.config import DoseSettings
from dosimetry.dose import absorbed_dose, medium
from dosimetry.dose.convolution import Resources, convolved_with_octant
from dosimetry.dose.kernels.radial import radial_kernel
from dosimetry.dose.kernels.voxel import mirrored, octant_kernel, voxel_kernel
from dosimetry.dose.spreading import kernel_dose
from dosimetry.dose.transport.electron_kernels import electron_kernel
from dosimetry.dose.transport.photon_kernels import photon_kernel
from dosimetry.dose.transport.voxel_photons import photon_batch
from dosimetry.dose.values import DoseRequest
from nufitdose.anatomy.composition import tissue_of_hu
from nufitdose.anatomy.density import mass_density_g_ml
from nufitdose.anatomy.prepared import PreparedAnatomy
from nufitdose.emissions import chain_spectra
from nufitdose.grid import Grid
from nufitdose.volume import Quantity, Volume


def fastest(call, repeats=3):
    """Shortest wall and processor time of a call, s, and its result."""
    wall, processor = [], []
    for _ in range(repeats):
        start, start_processor = time.perf_counter(), time.process_time()
        result = call()
        wall.append(time.perf_counter() - start)
        processor.append(time.process_time() - start_processor)
    return min(wall), min(processor), result


def convolution(n, half):
    rng = np.random.default_rng(0)
    volume = rng.random((n, n, n)).astype(np.float32)
    r2 = sum(np.meshgrid(*[np.arange(half + 1.0) ** 2] * 3, indexing="ij", sparse=True))
    octant = 1.0 / (1.0 + r2)
    whole = mirrored(octant).astype(float)
    scipy_wall, scipy_cpu, reference = fastest(lambda: fftconvolve(volume.astype(float), whole, mode="same"), 2)
    one, one_cpu, ours = fastest(lambda: convolved_with_octant(volume, octant, Resources(1)))
    two, _, _ = fastest(lambda: convolved_with_octant(volume, octant, Resources(2)))
    error = abs(ours - reference).max() / reference.max()
    print(
        f"{n}³ by {2 * half + 1}³: scipy fftconvolve in double {scipy_wall:.2f} s ({scipy_cpu:.2f} s of processor); "
        f"ours {one:.2f} s on one thread, {scipy_wall / one:.1f} times faster ({one_cpu:.2f} s of processor, "
        f"{scipy_cpu / one_cpu:.1f} times), {two:.2f} s on two ({scipy_wall / two:.1f} times), "
        f"greatest difference {error:.1e} of the maximum"
    )


def patient():
    activity = np.random.default_rng(0).random((256, 256, 199)).astype(np.float32)
    radial_kernel("I-131")
    wall, cpu, _ = fastest(lambda: kernel_dose(activity, "I-131", (2.4, 2.4, 3.0), resources=Resources(2)), 2)
    kernel = radial_kernel("I-131")
    octant = octant_kernel(kernel.edges_g_cm2, kernel.photon_mev, (2.4, 2.4, 3.0), 1.0, 620.0)
    full_wall, full_cpu, _ = fastest(lambda: convolved_with_octant(activity, octant, Resources(2)), 2)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"256 x 256 x 199, I-131, dose of all radiations: {wall:.2f} s ({cpu:.2f} s of processor)")
    print(f"  the photon kernel to 62 cm on that grid: {full_wall:.2f} s ({full_cpu:.2f} s); peak {memory:.2f} GB")


def kernels():
    for nuclide, sides in (("Lu-177", (4.8, 4.8, 4.8)), ("I-131", (4.0, 4.0, 5.0)), ("Y-90", (3.0, 3.0, 3.0))):
        radial_kernel(nuclide)
        wall, cpu, kernel = fastest(lambda n=nuclide, s=sides: voxel_kernel(n, s), 2)
        print(f"voxel kernel of {nuclide}, {sides} mm, {kernel.shape}: {wall:.2f} s ({cpu:.2f} s of processor)")


def transport():
    electron_kernel(0.05, 20)
    photon_kernel(0.05, 20)
    for name, function, energy_mev in (("electrons", electron_kernel, 1.0), ("photons", photon_kernel, 0.3645)):
        _, cpu, _ = fastest(lambda f=function, e=energy_mev: f(e, 4000), 1)
        print(f"{name} of {energy_mev} MeV with all their electrons: {4000 / cpu:.0f} histories per second of one core")


def photon_histories(n):
    """Photons of I-131 through a body of an elliptic cylinder, tracks scored, without what surrounds them in a run."""
    tia, anatomy = i131_patient(n, 512.0 / n)
    request = DoseRequest(tia, None, "I-131", anatomy, DoseSettings())
    lines = medium.photon_lines(chain_spectra("I-131"))
    source = medium.source_of(tia.data, tia.grid.voxel_volume_ml)
    tissue_medium, tables = medium.photon_medium(request)
    number = 50_000

    def batch(first):
        photon_batch(first, number, 1, source, lines, tissue_medium, tables, np.zeros(tia.data.shape))

    for threads in (1, 2):
        with ThreadPoolExecutor(threads) as pool:
            firsts = [thread * (number + 1) for thread in range(threads)]
            wall, cpu, _ = fastest(lambda p=pool, f=firsts: list(p.map(batch, f)))
        print(
            f"photons of I-131 through {n}³ voxels, {threads} threads: {threads * number / cpu:.3g} histories per "
            f"second of a core, {threads * number / wall:.3g} by the clock"
        )


def montecarlo(n):
    """A patient with I-131 in a warm body, a hot organ and a thyroid, to 2 %."""
    tia, anatomy = i131_patient(n, 512.0 / n)
    start, start_processor = time.perf_counter(), time.process_time()
    found = absorbed_dose(tia, nuclide="I-131", ct=anatomy, engine="montecarlo")
    wall, cpu = time.perf_counter() - start, time.process_time() - start_processor
    print(f"Monte Carlo, {n}³, I-131, to {found.statistical_percent:.1f} %: {wall:.0f} s ({cpu:.0f} s of processor)")


def i131_patient(n, side_mm):
    grid = Grid.from_spacing((n, n, n), (side_mm,) * 3)
    x, y, z = np.ogrid[tuple(slice(0, n) for _ in range(3))]
    x, y, z = ((axis - (n - 1) / 2) * side_mm for axis in (x, y, z))
    body = ((x / 170.0) ** 2 + (y / 110.0) ** 2 < 1.0) & (abs(z) < 1e9)
    lungs = ((abs(x) - 80.0) / 55.0) ** 2 + (y / 75.0) ** 2 + ((z - 60.0) / 110.0) ** 2 < 1.0
    liver = ((x - 70.0) / 80.0) ** 2 + (y / 70.0) ** 2 + ((z + 120.0) / 60.0) ** 2 < 1.0
    thyroid = ((abs(x) - 20.0) / 12.0) ** 2 + ((y + 60.0) / 12.0) ** 2 + ((z - 200.0) / 25.0) ** 2 < 1.0
    hu = np.where(body, 40.0, -1000.0).astype(np.float32)
    hu[lungs & body] = -750.0
    activity = np.where(body, 2e4, 0.0).astype(np.float32)
    activity[liver], activity[thyroid] = 2e5, 1e8
    density = Volume(mass_density_g_ml(hu), grid, Quantity.DENSITY)
    anatomy = PreparedAnatomy(body.astype(np.float32), body, density, tissue_of_hu(hu))
    return Volume(activity, grid, Quantity.TIA), anatomy


def main():
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    patient()  # first, so that its memory is the process's greatest
    convolution(128, 50)
    convolution(256, 50)
    kernels()
    transport()
    photon_histories(64)
    photon_histories(128)
    montecarlo(128)


if __name__ == "__main__":
    main()
