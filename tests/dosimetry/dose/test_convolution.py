"""Kernel convolution against direct sums, and its dose in media where it is known."""

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import fftconvolve

from dosimetry.config import DoseSettings
from dosimetry.dose import absorbed_dose
from dosimetry.dose.convolution import Resources, convolved, convolved_with_octant, even_spectrum
from dosimetry.dose.kernels.radial import radial_kernel
from dosimetry.dose.kernels.voxel import mirrored, octant_kernel
from dosimetry.dose.spreading import kernel_dose
from dosimetry.dose.tensor_convolution import convolved_by_tensors
from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.nuclides import JOULE_PER_MEV
from nufitdose.volume import Quantity, Volume

sizes = st.tuples(*[st.integers(1, 9)] * 3)


@given(sizes, sizes, st.integers(0, 1000))
def test_nothing_wraps_around(shape, half, seed):
    """Equal to scipy's double precision to 1e-5 of the maximum, kernels wider than the volume included."""
    rng = np.random.default_rng(seed)
    volume, octant = rng.random(shape).astype(np.float32), rng.random(half)
    ours = convolved_with_octant(volume, octant)
    full = fftconvolve(volume.astype(float), mirrored(octant).astype(float))
    reference = full[tuple(slice(h - 1, h - 1 + n) for h, n in zip(half, shape, strict=True))]
    assert abs(ours - reference).max() < 1e-5 * max(reference.max(), 1e-30)


def test_slabs_make_no_difference(monkeypatch):
    rng = np.random.default_rng(5)
    volume, octant = rng.random((20, 31, 17)).astype(np.float32), rng.random((9, 12, 30))
    whole = convolved_with_octant(volume, octant)
    monkeypatch.setattr("dosimetry.dose.convolution._SLAB_BYTES", 1)
    assert convolved_with_octant(volume, octant) == pytest.approx(whole, rel=1e-5)


@given(sizes, sizes, st.integers(0, 1000), st.floats(1e-5, 0.02))
def test_a_limit_of_memory_changes_nothing_but_the_number_of_passes(shape, half, seed, memory_mb):
    """From one frequency at a time to all at once."""
    rng = np.random.default_rng(seed)
    volume, octant = rng.random(shape).astype(np.float32), rng.random(half)
    whole = convolved_with_octant(volume, octant)
    limited = convolved_with_octant(volume, octant, Resources(memory_mb=memory_mb))
    assert abs(limited - whole).max() < 1e-6 * whole.max()


@pytest.mark.parametrize("memory_mb", [2.0, 8.0, 32.0, None])
def test_what_a_convolution_takes_at_most_follows_the_limit(memory_mb):
    """Without a limit the numbers between two axes are 25 MB; images and spectrum come on top."""
    volume = np.random.default_rng(2).random((128, 96, 128), np.float32)
    spectrum = even_spectrum(np.random.default_rng(3).random((64, 96, 128)), volume.shape)
    convolved(volume[:2, :2, :2], even_spectrum(np.ones((1, 1, 1)), (2, 2, 2)))  # what is loaded on first use
    tracemalloc.start()
    try:
        convolved(volume, spectrum, Resources(memory_mb=memory_mb))
        peak_mb = (tracemalloc.get_traced_memory()[1] - volume.nbytes) / 1e6
    finally:
        tracemalloc.stop()
    if memory_mb is None:
        assert peak_mb > 25.0
    else:
        assert memory_mb / 4 < peak_mb < memory_mb


def test_the_setting_reaches_every_convolution_of_the_engine(monkeypatch):
    grid, seen = Grid.from_spacing((12, 10, 8), (4.0, 4.0, 4.0)), []

    def watched(volume, spectrum, resources):
        seen.append(resources)
        return convolved(volume, spectrum, resources)

    monkeypatch.setattr("dosimetry.dose.spreading.convolved", watched)
    tia = Volume(np.ones(grid.shape, np.float32), grid, Quantity.TIA)
    absorbed_dose(tia, nuclide="Lu-177", settings=DoseSettings(memory_mb=64.0))
    assert len(seen) == 3  # charged particles, photons near and far
    assert {resources.memory_mb for resources in seen} == {64.0}
    assert {resources.device for resources in seen} == {"cpu"}


def test_a_gpus_convolution_is_that_of_the_processor():
    """By torch, here on the processor too; on CUDA below."""
    rng = np.random.default_rng(7)
    volume, octant = rng.random((20, 31, 17)).astype(np.float32), rng.random((9, 31, 30))
    spectrum = even_spectrum(octant, volume.shape)
    ours = convolved(volume, spectrum)
    by_torch = convolved_by_tensors(volume, spectrum.values, spectrum.lengths, "cpu")
    assert by_torch.dtype == np.float32
    assert abs(by_torch - ours).max() < 1e-6 * ours.max()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_the_kernels_dose_on_a_gpu_is_that_of_the_processor():
    grid = Grid.from_spacing((24, 20, 16), (4.0, 4.0, 4.0))
    tia = Volume(np.random.default_rng(8).random(grid.shape, np.float32), grid, Quantity.TIA)
    here, there = (absorbed_dose(tia, nuclide="I-131", device=device).dose.data for device in ("cpu", "cuda"))
    np.testing.assert_allclose(there, here, rtol=1e-5, atol=1e-6 * here.max())


@pytest.mark.parametrize("nuclide", ["Lu-177", "Y-90"])
def test_charged_particles_reach_the_local_dose_in_a_large_uniform_medium(nuclide, monkeypatch):
    """D = c̃Δ/ρ with the photons off."""
    monkeypatch.setattr("dosimetry.dose.spreading._photon_dose", lambda bq_h, *_: np.zeros_like(bq_h))
    dose = kernel_dose(np.ones((25, 25, 25), np.float32), nuclide, (4.0, 4.0, 4.0), 1.04).dose_gy
    expected = 3600.0 * radial_kernel(nuclide).charged_mev.sum() * JOULE_PER_MEV / 1.04e-3
    assert dose[12, 12, 12] == pytest.approx(expected, rel=1e-4)


def test_density_divides_charged_dose_and_not_that_of_photons():
    volume = np.zeros((15, 15, 15), np.float32)
    volume[7, 7, 7] = 1.0
    density = np.ones_like(volume)
    water = kernel_dose(volume, "Lu-177", (4.0, 4.0, 4.0), density).dose_gy
    density[7, 7, 7] = 2.0
    heavy = kernel_dose(volume, "Lu-177", (4.0, 4.0, 4.0), density, photon_density_g_ml=1.0).dose_gy
    assert heavy[7, 7, 7] == pytest.approx(water[7, 7, 7] / 2, rel=0.02)
    assert heavy[0, 0, 0] == pytest.approx(water[0, 0, 0], rel=1e-4)


def test_the_coarse_photon_part_agrees_with_the_kernel_on_the_volumes_own_grid():
    rng, sides = np.random.default_rng(1), (4.8, 4.8, 4.8)
    volume = np.zeros((44, 46, 40), np.float32)
    volume[16:22, 18:26, 14:20] = rng.random((6, 8, 6))
    kernel = radial_kernel("I-131")
    octant = octant_kernel(kernel.edges_g_cm2, kernel.total_mev, sides, 1.0, 300.0)
    whole = convolved_with_octant(volume * np.float32(0.48**3), octant) * 3.6e-6
    dose = kernel_dose(volume, "I-131", sides).dose_gy
    assert abs(dose - whole).max() < 1e-4 * whole.max()
    assert np.median(abs(dose / whole - 1)) < 0.01


def test_energy_that_leaves_the_field_of_view_is_stated():
    volume = np.zeros((41, 41, 41), np.float32)
    volume[20, 20, 20] = 1.0
    part = kernel_dose(volume, "I-131", (4.0, 4.0, 4.0)).left_the_field
    kernel = radial_kernel("I-131")
    within = np.interp(8.2, kernel.edges_g_cm2[1:], np.cumsum(kernel.total_mev)) / kernel.emitted_mev
    beyond_corners = np.interp(8.2 * 3**0.5, kernel.edges_g_cm2[1:], np.cumsum(kernel.total_mev)) / kernel.emitted_mev
    assert 1 - beyond_corners < part < 1 - within


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf")])
def test_impossible_activity_is_refused(wrong):
    volume = np.ones((4, 4, 4), np.float32)
    volume[1, 1, 1] = wrong
    with pytest.raises(InputError, match="negative or not finite"):
        kernel_dose(volume, "Lu-177", (4.0, 4.0, 4.0))
    with pytest.raises(InputError, match="densities"):
        kernel_dose(np.ones((4, 4, 4), np.float32), "Lu-177", (4.0, 4.0, 4.0), np.zeros((4, 4, 4)))
