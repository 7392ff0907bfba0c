"""Speed of kernels, convolution and transport beside scipy in the same run: python -m benchmarks.dose."""

import os
import resource
import time

import numpy as np
from scipy.signal import fftconvolve

from dosimetry.dose.convolution import convolved_with_octant
from dosimetry.dose.kernels.radial import radial_kernel
from dosimetry.dose.kernels.voxel import mirrored, octant_kernel, voxel_kernel
from dosimetry.dose.spreading import kernel_dose
from dosimetry.dose.transport.electron_kernels import electron_kernel
from dosimetry.dose.transport.photon_kernels import photon_kernel


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
    scipy_wall, _, reference = fastest(lambda: fftconvolve(volume.astype(float), whole, mode="same"), 2)
    one, _, ours = fastest(lambda: convolved_with_octant(volume, octant, workers=1))
    two, _, _ = fastest(lambda: convolved_with_octant(volume, octant, workers=2))
    error = abs(ours - reference).max() / reference.max()
    print(
        f"{n}³ by {2 * half + 1}³: scipy fftconvolve in double {scipy_wall:.2f} s; ours {one:.2f} s on one thread "
        f"({scipy_wall / one:.1f} times faster), {two:.2f} s on two ({scipy_wall / two:.1f} times), "
        f"greatest difference {error:.1e} of the maximum"
    )


def patient():
    activity = np.random.default_rng(0).random((256, 256, 199)).astype(np.float32)
    radial_kernel("I-131")
    wall, cpu, _ = fastest(lambda: kernel_dose(activity, "I-131", (2.4, 2.4, 3.0), workers=2), 2)
    kernel = radial_kernel("I-131")
    octant = octant_kernel(kernel.edges_g_cm2, kernel.photon_mev, (2.4, 2.4, 3.0), 1.0, 620.0)
    full_wall, full_cpu, _ = fastest(lambda: convolved_with_octant(activity, octant, workers=2), 2)
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


def main():
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    patient()  # first, so that its memory is the process's greatest
    convolution(128, 50)
    convolution(256, 50)
    kernels()
    transport()


if __name__ == "__main__":
    main()
