"""Self-dose of spheres against published values and the limits of small and large ones."""

import json

import numpy as np
import pytest

from dosimetry.dose.kernels.radial import radial_kernel
from dosimetry.dose.spheres import absorbed_mev, sphere_s_value
from dosimetry.dose.transport.bethe import collision_stopping_power
from dosimetry.dose.transport.photon_tables import WATER
from nufitdose.anatomy.composition import SCHNEIDER_PERCENT, SOFT_TISSUE, mass_fractions
from nufitdose.emissions import chain_spectra
from nufitdose.errors import InputError
from nufitdose.nuclides import JOULE_PER_MEV

Y90 = {0.1: 2323, 0.5: 663.4, 1: 369.5, 2: 200.9, 4: 107.1, 10: 45.62, 20: 23.62, 40: 12.14, 100: 4.989, 400: 1.282,
       1000: 0.5189}  # fmt: skip


@pytest.mark.parametrize("mass_g", Y90)
def test_yttrium_90(mass_g):
    """mGy/(MBq·h) from Graves' kernel (Med Phys 2019;46:5284)."""
    assert sphere_s_value("Y-90", mass_g) * 3.6e12 == pytest.approx(Y90[mass_g], rel=0.02)


def test_lutetium_177(real_data):
    table = json.loads((real_data("physics") / "spheres/lu-177_sphere_s_values.json").read_text())["soft_tissue_1.03"]
    for mass_g, published in zip(table["mass_g"], table["S"], strict=True):
        assert sphere_s_value("Lu-177", mass_g, 1.03) == pytest.approx(published, rel=0.03)


CORTICAL_BONE = mass_fractions(len(SCHNEIDER_PERCENT) - 1)  # the densest of Schneider's tissues is that of ICRU 46


@pytest.mark.parametrize(("mixture", "mineral"), [("mineral_bone_1.92", 1.0), ("50ST_50MB", 0.5)])
def test_lutetium_177_in_bone(real_data, mixture, mineral):
    """Spheres of bone and of bone and soft tissue in halves (by volume), 5 mg to 1.7 kg, for their own material."""
    table = json.loads((real_data("physics") / "spheres/lu-177_sphere_s_values.json").read_text())[mixture]
    density = mineral * 1.92 + (1.0 - mineral) * 1.03
    by_mass = mineral * 1.92 / density
    soft = mass_fractions(SOFT_TISSUE)
    material = {
        z: by_mass * CORTICAL_BONE.get(z, 0.0) + (1.0 - by_mass) * soft.get(z, 0.0) for z in {*CORTICAL_BONE, *soft}
    }
    for mass_g, published in zip(table["mass_g"], table["S"], strict=True):
        assert sphere_s_value("Lu-177", mass_g, density, material) == pytest.approx(published, rel=0.03)


def test_the_material_matters_where_electrons_leave():
    """Bone stops electrons less for its mass, so a small sphere of it keeps less; a large one keeps all of them."""
    small, large = (
        sphere_s_value("Y-90", m, 1.92, CORTICAL_BONE) / sphere_s_value("Y-90", m, 1.92) for m in (0.01, 1e3)
    )
    assert 0.85 < small < 0.95
    assert large == pytest.approx(1.0, abs=0.01)


def test_stopping_powers_are_those_of_estar():
    """NIST ESTAR (Standard Reference Database 124, doi:10.18434/T4NC7P), water, MeV·cm²/g; bone by its lower Z/A.

    At 1 MeV the density effect, which the formula leaves out, is 1.2 %.
    """
    for energy_mev, published, within in ((0.01, 22.56, 0.005), (0.1, 4.115, 0.005), (1.0, 1.849, 0.015)):
        found = float(collision_stopping_power(WATER, np.array([energy_mev]))[0])
        assert found == pytest.approx(published, rel=within)
    ratio = collision_stopping_power(CORTICAL_BONE, np.array([0.2])) / collision_stopping_power(WATER, np.array([0.2]))
    assert 0.88 < float(ratio[0]) < 0.93


def test_a_large_sphere_keeps_all_charged_energy_and_a_small_one_little():
    emitted = chain_spectra("P-32").total_mev
    assert absorbed_mev(radial_kernel("P-32"), 200.0) == pytest.approx(emitted, rel=3e-3)
    assert absorbed_mev(radial_kernel("P-32"), 0.01) < 0.03 * emitted


def test_kept_part_against_random_points_in_a_sphere():
    """A shell of energy at 0.3 in a sphere of radius 1: both ends of a random chord of that length lie inside."""
    rng, n = np.random.default_rng(2), 300_000
    points = rng.normal(size=(n, 3))
    points *= (rng.random(n) ** (1 / 3) / np.linalg.norm(points, axis=1))[:, None]
    direction = rng.normal(size=(n, 3))
    inside = (
        np.linalg.norm(points + 0.3 * direction / np.linalg.norm(direction, axis=1, keepdims=True), axis=1) < 1
    ).mean()
    from dosimetry.dose.spheres import _mean_kept

    assert _mean_kept(np.array([0.2999]), np.array([0.3001]))[0] == pytest.approx(inside, abs=0.003)


def test_alphas_deposit_in_the_smallest_sphere():
    energy = chain_spectra("Ac-225")
    local = energy.alpha.total_mev + energy.recoil.total_mev
    assert sphere_s_value("Ac-225", 1.0) > local * JOULE_PER_MEV / 1e-3


def test_bad_input_is_named():
    with pytest.raises(InputError, match="mass"):
        sphere_s_value("Y-90", 0.0)
    with pytest.raises(InputError, match="density"):
        sphere_s_value("Y-90", 1.0, float("nan"))
    with pytest.raises(InputError, match="atomic number 92"):
        sphere_s_value("Y-90", 1.0, material={92: 1.0})
    with pytest.raises(InputError, match=r"add up to 0\.5"):
        sphere_s_value("Y-90", 1.0, material={8: 0.5})
