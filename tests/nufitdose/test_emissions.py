"""Emissions of nuclides against the energies of ICRP-107 and closed forms of decay."""

import math

import pytest

from nufitdose.emissions import chain_spectra, decays_within, emission_spectra
from nufitdose.errors import InputError
from nufitdose.nuclides import JOULE_PER_MEV, half_life_h

# MeV per decay: beta, conversion, Auger, photons with annihilation (ICRP-107; the last printed digit counts).
ENERGIES = {
    "Lu-177": (0.13327, 0.01352, 0.00113, 0.0351),
    "I-131": (0.18187, 0.00957, 0.00041, 0.3828),
    "Y-90": (0.93290, 0.0002, 0.0, 0.0),
    "Tb-161": (0.15426, 0.03929, 0.00894, 0.0365),
    "Ho-166": (0.66499, 0.0284, 0.00295, 0.0301),
    "Re-186": (0.32067, 0.01391, 0.00166, 0.0208),
    "Re-188": (0.76262, 0.01573, 0.0010, 0.0613),
    "Sm-153": (0.22357, 0.04029, 0.00602, 0.0643),
    "Sr-89": (0.58454, 0.0, 0.0, 0.0001),
    "P-32": (0.69478, 0.0, 0.0, 0.0),
    "Cu-67": (0.13589, 0.01374, 0.00075, 0.1154),
    "F-18": (0.24161, 0.0, 0.0, 0.9886),
    "Ga-68": (0.73738, 0.0, 0.0006, 0.9487),
    "Cu-64": (0.1227, 0.0, 0.0021, 0.1855),
    "Zr-89": (0.08994, 0.0076, 0.0044, 1.158),
    "I-124": (0.18727, 0.0022, 0.0048, 1.113),
    "I-123": (0.0, 0.02095, 0.00723, 0.1730),
    "Tc-99m": (0.0, 0.01524, 0.00094, 0.1266),
    "In-111": (0.0, 0.02794, 0.00688, 0.4061),
}
CHAINS = {  # alpha, recoil, electrons, photons
    "Ac-225": (27.481, 0.513, 0.690, 0.219),
    "Ra-223": (26.377, 0.496, 1.043, 0.314),
    "Pb-212": (7.802, 0.150, 0.901, 1.456),
    "At-211": (6.784, 0.131, 0.006, 0.041),
}


@pytest.mark.parametrize("nuclide", ENERGIES)
def test_energy_per_decay_by_type(nuclide):
    spectra = emission_spectra(nuclide)
    measured = [spectra.beta.total_mev, spectra.conversion.total_mev, spectra.auger.total_mev, spectra.photon.total_mev]
    for value, tabulated in zip(measured, ENERGIES[nuclide], strict=True):
        assert value == pytest.approx(tabulated, rel=1e-3, abs=6e-5)


@pytest.mark.parametrize("nuclide", CHAINS)
def test_chains_in_equilibrium(nuclide):
    chain = chain_spectra(nuclide)
    measured = [chain.alpha.total_mev, chain.recoil.total_mev, chain.electron.total_mev, chain.photon.total_mev]
    for value, tabulated in zip(measured, CHAINS[nuclide], strict=True):
        assert value == pytest.approx(tabulated, rel=1e-3, abs=6e-4)


def test_beta_spectrum_is_a_density_that_carries_the_yield():
    beta = emission_spectra("Y-90").beta
    assert beta.number == pytest.approx(1.0, abs=1e-6)
    assert beta.total_mev / beta.number == pytest.approx(0.9329, rel=1e-4)
    assert (beta.per_decay >= 0.0).all()
    assert beta.energy_mev.max() < 2.2801


def test_annihilation_quanta_are_two_for_each_positron():
    spectra = emission_spectra("18F")
    quanta = spectra.photon.per_decay[abs(spectra.photon.energy_mev - 0.511) < 1e-3].sum()
    assert quanta == pytest.approx(2 * spectra.beta.number, rel=1e-3)


def test_names_as_people_write_them():
    assert emission_spectra("Lu177") is emission_spectra("177Lu") is emission_spectra("lu-177")


def test_bateman_agrees_with_the_closed_form_of_two_members():
    hours = 24.0
    decays = decays_within("Pb-212", hours)
    a, b = math.log(2) / half_life_h("Pb-212"), math.log(2) / half_life_h("Bi-212")
    daughter = 1.0 + (a * math.exp(-b * hours) - b * math.exp(-a * hours)) / (b - a)
    assert decays["Pb-212"] == pytest.approx(1.0 - math.exp(-a * hours), rel=1e-9)
    assert decays["Bi-212"] == pytest.approx(daughter, rel=1e-9)


@pytest.mark.parametrize("nuclide", ["Ac-225", "Ra-223", "Pb-212", "Th-227"])
def test_progeny_grow_in_towards_equilibrium(nuclide):
    """Energy per decay of the parent: its own within seconds, more with time, in the end that of all that follow."""
    alone, whole = emission_spectra(nuclide).total_mev, chain_spectra(nuclide).total_mev
    times_h = [1e-3, *(part * half_life_h(nuclide) for part in (0.02, 0.3, 1.0, 3.0, 60.0))]
    within = [chain_spectra(nuclide, hours).total_mev for hours in times_h]
    assert within[0] < alone + 0.2 * (whole - alone)
    assert sorted(within) == within
    assert within[-1] == pytest.approx(whole, rel=1e-3)


def test_ingrowth_of_thorium_227_in_bone():
    """10 cm³ of cortical bone, 1.92 g/cm³, 80 days: 111.8 Gy/MBq alone, 589.1 with its progeny."""
    hours, mass_kg = 80 * 24.0, 0.0192
    nuclei_per_mbq = 1e6 * half_life_h("Th-227") * 3600.0 / math.log(2)
    decays = nuclei_per_mbq * decays_within("Th-227", hours)["Th-227"]
    for spectra, dose_gy in ((emission_spectra("Th-227"), 111.8), (chain_spectra("Th-227", hours), 589.1)):
        local_mev = spectra.electron.total_mev + spectra.alpha.total_mev + spectra.recoil.total_mev
        assert decays * local_mev * JOULE_PER_MEV / mass_kg == pytest.approx(dose_gy, rel=1e-3)


def test_bad_input_is_named():
    with pytest.raises(InputError, match="ICRP Publication 107"):
        emission_spectra("Lu-999")
    with pytest.raises(InputError, match="hours"):
        decays_within("Lu-177", float("nan"))
    with pytest.raises(InputError, match="stable"):
        decays_within("Lu-175", 1.0)
