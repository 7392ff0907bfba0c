"""Against the published energies per decay, ICRP Publication 107."""

import json

import pytest

from nufitdose.errors import InputError
from nufitdose.nuclides import (
    canonical_name,
    chain_emissions,
    emissions,
    half_life_h,
    long_lived_progeny,
    progeny_decays,
)


@pytest.mark.parametrize(
    ("name", "hours", "beta_ce_auger", "photon", "delta"),
    [
        ("Lu-177", 6.647 * 24, 0.13327 + 0.01352 + 0.00113, 0.0351, 8.532e-5),
        ("I-131", 8.0207 * 24, 0.18187 + 0.00957 + 0.00041, 0.3828, 1.1065e-4),
        ("Y-90", 64.1, 0.93290 + 0.0002, 0.0, 5.382e-4),
        ("Tb-161", 6.906 * 24, 0.15426 + 0.03929 + 0.00894, 0.0365, 1.168e-4),
        ("Ho-166", 26.8, 0.66499 + 0.0284 + 0.00295, 0.0301, 4.016e-4),
        ("F-18", 109.77 / 60, 0.24161, 0.9886, 1.394e-4),
        ("Tc-99m", 6.015, 0.01524 + 0.00094, 0.1266, 9.337e-6),
    ],
)
def test_energies_per_decay(name, hours, beta_ce_auger, photon, delta):
    found = emissions(name)
    assert half_life_h(name) == pytest.approx(hours, rel=1e-3)
    assert found.electron_mev == pytest.approx(beta_ce_auger, rel=1e-3)
    assert found.photon_mev == pytest.approx(photon, rel=1e-2, abs=1e-4)
    assert found.local_gy_g_per_mbq_h * 1e-3 == pytest.approx(delta, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "alpha", "recoil", "electron", "photon", "delta"),
    [
        ("Ac-225", 27.481, 0.513, 0.690, 0.219, 1.6545e-2),
        ("Ra-223", 26.377, 0.496, 1.043, 0.314, 1.6102e-2),
        ("Pb-212", 7.802, 0.150, 0.901, 1.456, 5.106e-3),
        ("At-211", 6.784, 0.131, 0.006, 0.041, 3.992e-3),
    ],
)
def test_chains_at_equilibrium(name, alpha, recoil, electron, photon, delta):
    found = chain_emissions(name)
    assert found.alpha_mev == pytest.approx(alpha, rel=1e-3)
    assert found.recoil_mev == pytest.approx(recoil, abs=1e-3)
    assert found.electron_mev == pytest.approx(electron, abs=1e-3)
    assert found.photon_mev == pytest.approx(photon, abs=1e-3)
    assert found.local_gy_g_per_mbq_h * 1e-3 == pytest.approx(delta, rel=1e-3)


def test_progeny_that_outlive_the_parent_are_named_not_counted():
    assert progeny_decays("I-131") == {}
    assert long_lived_progeny("I-131") == ("Xe-131m",)
    assert long_lived_progeny("At-211") == ("Bi-207",)
    assert progeny_decays("Pb-212") == pytest.approx({"Bi-212": 1.0, "Po-212": 0.6406, "Tl-208": 0.3594}, rel=1e-3)
    assert long_lived_progeny("Lu-177") == ()


@pytest.mark.parametrize("text", ["Lu-177", "lu177", "177Lu", "177-lu", " LU-177 "])
def test_names_are_read_as_people_write_them(text):
    assert canonical_name(text) == "Lu-177"


def test_isomers_keep_their_letter():
    assert canonical_name("99mTc") == "Tc-99m"
    assert canonical_name("Lu177m") == "Lu-177m"


@pytest.mark.parametrize("text", ["", "Lu", "177", "Lu-178x", "Xy-12", "Lutetium"])
def test_an_unknown_nuclide_is_refused(text):
    with pytest.raises(InputError, match="ICRP"):
        canonical_name(text)


def test_emissions_agree_with_the_summary_of_the_published_files(real_data):
    summary = json.loads((real_data("physics") / "icrp107/energy_summary.json").read_text())
    checked = 0
    for name, entry in summary.items():
        found = emissions(name)
        delta = entry["Delta_np_Gy_kg_per_MBq_h"]
        assert found.local_gy_g_per_mbq_h * 1e-3 == pytest.approx(delta, rel=1e-6, abs=1e-12)
        assert found.photon_mev == pytest.approx(entry["E_photon_MeV"], rel=1e-6, abs=1e-12)
        checked += 1
    assert checked > 50
