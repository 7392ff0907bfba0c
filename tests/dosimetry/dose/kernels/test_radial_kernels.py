"""Radial kernels of nuclides: conservation of energy, and the Y-90 kernel of an independent program."""

import numpy as np
import pytest

from dosimetry.dose.kernels.radial import compose, radial_kernel
from dosimetry.dose.transport.bethe import stopping_number
from nufitdose.emissions import chain_spectra, emission_spectra

NUCLIDES = [
    "I-131",
    "Lu-177",
    "Y-90",
    "Tb-161",
    "Ho-166",
    "Re-186",
    "Re-188",
    "Sm-153",
    "Cu-67",
    "Sr-89",
    "P-32",
    "Ac-225",
    "Ra-223",
    "Pb-212",
    "At-211",
    "F-18",
    "Ga-68",
    "Cu-64",
    "Zr-89",
    "I-124",
    "I-123",
    "Tc-99m",
    "In-111",
]


@pytest.mark.parametrize("nuclide", NUCLIDES)
def test_what_is_emitted_is_deposited_or_escapes(nuclide):
    kernel = radial_kernel(nuclide)
    assert kernel.total_mev.sum() + kernel.escaped_mev == pytest.approx(chain_spectra(nuclide).total_mev, rel=1e-3)
    assert (kernel.total_mev >= -1e-12).all()
    assert kernel.escaped_mev < 1e-3 * kernel.emitted_mev


@pytest.mark.parametrize("nuclide", ["Lu-177", "I-131", "Y-90"])
def test_statistical_error_is_small_and_stated(nuclide):
    """Of the energy within 1 mm, 3 mm and 1 cm the shells' errors, as if all went one way, are below 1.5 %."""
    kernel = radial_kernel(nuclide)
    for radius in (0.1, 0.3, 1.0):
        inside = kernel.edges_g_cm2[1:] <= radius
        error = np.sqrt((kernel.u_charged_mev[inside].sum()) ** 2 + (kernel.u_photon_mev[inside].sum()) ** 2)
        assert 0.0 < error < 0.015 * kernel.total_mev[inside].sum()


def test_charged_particles_hold_what_they_do_not_radiate():
    """Y-90 radiates less than 0.5 % of its energy (Bremsstrahlung yield of a 0.93 MeV mean spectrum)."""
    kernel = radial_kernel("Y-90")
    assert 0.002 < kernel.photon_mev.sum() / kernel.emitted_mev < 0.006


def test_yttrium_90_agrees_with_graves_2019(real_data):
    """Geant4 in water, 0.1 mm shells: 3 % to 5 mm (86 % of the energy), 1.5 % of the peak throughout.

    The first shell is left out: there 0.0198 MeV lies below the second shell's 0.0208, while straight electrons at
    their stopping power leave 0.0213 in it and 0.0204 in the second. Beyond 5 mm ours falls
    3-5 %, at 1 % of the peak 8 % below: Geant4's water stops electrons less, as the next test shows.
    """
    file = real_data("physics") / "kernels/graves2019/y-90_beta_radial_water_0-12mm.csv"
    outer, energy = np.loadtxt(file, delimiter=",", skiprows=3, comments="#", unpack=True)
    ours = compose("Y-90", emission_spectra("Y-90"), np.concatenate([[0.0], outer])).total_mev
    near = (outer > 0.011) & (outer < 0.505)
    assert ours[near] == pytest.approx(energy[near], rel=0.03)
    assert ours[1:] == pytest.approx(energy[1:], abs=0.015 * energy.max())
    inside = np.concatenate([[0.0], np.cumsum(ours)])
    x50, x90 = np.interp([0.5 * 0.9299, 0.9 * 0.9299], inside, np.concatenate([[0.0], outer]))
    assert (x50, x90) == (pytest.approx(0.236, rel=0.015), pytest.approx(0.542, rel=0.01))


def test_yttrium_90_agrees_with_graves_2019_in_the_water_of_geant4(real_data):
    """3 % wherever the kernel is above 1 % of its peak, with I = 78 eV (G4_WATER, ICRU 90) for ESTAR's 75 eV (ICRU 37).

    By Bethe's formula ranges at 1 MeV are longer by 0.45 %, and radii of the kernel with them.
    """
    E = np.geomspace(1e-3, 1.0, 2000)
    ranges = [np.trapezoid(1.0 / stopping_number(E, excitation_ev), E) for excitation_ev in (78.0, 75.0)]
    longer = ranges[0] / ranges[1]
    assert longer == pytest.approx(1.0045, abs=2e-4)
    file = real_data("physics") / "kernels/graves2019/y-90_beta_radial_water_0-12mm.csv"
    outer, energy = np.loadtxt(file, delimiter=",", skiprows=3, comments="#", unpack=True)
    ours = compose("Y-90", emission_spectra("Y-90"), np.concatenate([[0.0], outer]) / longer).total_mev
    held = (energy > 0.01 * energy.max()) & (outer > 0.011)
    assert outer[held].max() > 0.9
    assert ours[held] == pytest.approx(energy[held], rel=0.03)


def test_bremsstrahlung_beyond_the_range_of_yttrium_90(real_data):
    """The note in Graves' file: 2.2e-6 MeV per 0.1 mm shell from 12 to 21 mm, slowly falling."""
    ours = compose("Y-90", emission_spectra("Y-90"), np.array([0.0, 1.25, 1.7, 2.1])).total_mev
    assert ours[1] / 45 == pytest.approx(2.2e-6, rel=0.15)
    assert ours[2] / 40 == pytest.approx(2.2e-6, rel=0.2)


def test_alphas_and_recoils_stay_at_the_source():
    kernel = radial_kernel("Ac-225")
    assert kernel.charged_mev[0] > 27.9
