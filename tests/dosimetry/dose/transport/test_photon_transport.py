"""Photons in water against NIST's attenuation, Klein and Nishina's moments, and analytic primaries."""

from importlib import resources

import numpy as np
import pytest

from dosimetry.dose.transport.photon_kernels import EDGES_CM, photon_kernel
from dosimetry.dose.transport.photon_tables import WATER, cross_sections, klein_nishina, photon_tables
from dosimetry.dose.transport.photons import compton, rayleigh_cosine


@pytest.mark.parametrize(
    ("energy_mev", "attenuation"),  # NIST (Hubbell and Seltzer), cm²/g
    [
        (0.01, 5.329),
        (0.03, 0.3756),
        (0.1, 0.1707),
        (0.2, 0.1370),
        (0.5, 0.09687),
        (1.0, 0.07072),
        (2.0, 0.04942),
        (4.0, 0.03403),
    ],
)
def test_attenuation_of_water(energy_mev, attenuation):
    assert cross_sections(WATER, np.array([energy_mev]))[0, 0] == pytest.approx(attenuation, rel=5e-3)


@pytest.mark.parametrize(
    ("name", "fractions"),
    [
        (
            "muscle",
            {
                1: 0.101997,
                6: 0.123000,
                7: 0.035000,
                8: 0.729003,
                11: 0.000800,
                12: 0.000200,
                15: 0.002000,
                16: 0.005000,
                19: 0.003000,
            },
        ),
        (
            "bone_cortical",
            {
                1: 0.034000,
                6: 0.155000,
                7: 0.042000,
                8: 0.435000,
                11: 0.001000,
                12: 0.002000,
                15: 0.103000,
                16: 0.003000,
                20: 0.225000,
            },
        ),
    ],
)
def test_attenuation_of_tissue(real_data, name, fractions):
    rows = np.genfromtxt(real_data("physics") / f"photons/{name}.csv", delimiter=",", skip_header=2, usecols=(1, 2))
    rows = rows[(rows[:, 0] >= 0.01) & (rows[:, 0] <= 3.0)]
    assert cross_sections(fractions, rows[:, 0])[:, 0] == pytest.approx(rows[:, 1], rel=0.01)


@pytest.mark.parametrize(("energy_mev", "sigma"), [(0.1, 4.9275e-25), (0.3645, 3.2842e-25), (0.511, 2.8654e-25)])
def test_klein_nishina(energy_mev, sigma):
    assert klein_nishina(np.array([energy_mev]))[0] == pytest.approx(sigma, rel=1e-4)


@pytest.mark.parametrize(("energy_mev", "transferred"), [(0.2084, 0.2216), (0.3645, 0.2966), (0.511, 0.3445)])
def test_compton_scattering_transfers_the_mean_of_klein_and_nishina(energy_mev, transferred):
    tables, stream = photon_tables(WATER), np.array([7], np.uint64)
    left = np.array([compton(energy_mev, tables, stream) for _ in range(40_000)])
    cosine = 1.0 - 0.51099895 * (1.0 / left[:, 0] - 1.0 / energy_mev)
    assert left[:, 1] == pytest.approx(cosine, abs=1e-9)
    assert 1.0 - left[:, 0].mean() / energy_mev == pytest.approx(transferred, rel=0.01)


def test_coherent_scattering_goes_forward_as_the_energy_grows():
    tables, stream = photon_tables(WATER), np.array([8], np.uint64)
    soft, hard = (np.mean([rayleigh_cosine(E, tables, stream) for _ in range(20_000)]) for E in (0.003, 0.1))
    assert 0.0 < soft < 0.5
    assert 0.9 < hard < 1.0


@pytest.mark.parametrize("energy_mev", [0.03, 0.3645])
def test_near_the_source_the_dose_is_that_of_primaries(energy_mev):
    """ΔE = μ_en ∫ e^(-μr) dr where scatter is rare and electrons are short: to 0.1 free paths."""
    kernel = photon_kernel(energy_mev, 20_000, seed=1)
    mu = cross_sections(WATER, np.array([energy_mev]))[0, 0]
    mu_en = {0.03: 0.1557, 0.3645: 0.0325}[energy_mev]
    near = (EDGES_CM[:-1] > 0.02 / mu) & (EDGES_CM[1:] < 0.1 / mu)
    primary = mu_en / mu * (np.exp(-mu * EDGES_CM[:-1]) - np.exp(-mu * EDGES_CM[1:]))
    error = 4 * np.sqrt((kernel.u_deposited[1:][near] ** 2).sum()) / primary[near].sum()
    ratio = kernel.deposited[1:][near].sum() / primary[near].sum()
    assert 1.0 - error - 0.02 < ratio < 1.12 + error


@pytest.mark.parametrize("energy_mev", [0.05, 0.6, 2.6])
def test_every_photon_gives_all_its_energy_or_escapes(energy_mev):
    kernel = photon_kernel(energy_mev, 400, seed=1)
    assert kernel.deposited.sum() + kernel.escaped == pytest.approx(1.0, abs=1e-9)


def test_the_seed_decides_and_the_threads_do_not():
    one, two = (photon_kernel(0.2, 400, seed=3, threads=n) for n in (1, 2))
    np.testing.assert_array_equal(one.deposited, two.deposited)


def test_the_elements_are_those_of_xraylib():
    """Only where xraylib is at hand: the shipped tables drawn again."""
    pytest.importorskip("xraylib")
    from dosimetry.dose.transport.draw_elements import draw_elements

    shipped = np.load(resources.files("dosimetry.dose.transport") / "data/photon_elements.npz")
    drawn = draw_elements()
    assert set(drawn) == set(shipped.files)
    for name, values in drawn.items():
        np.testing.assert_allclose(values, shipped[name], rtol=2e-4, err_msg=name)
