"""Electrons in water against NIST's ranges, conservation of energy, and the kernels of EGSnrc."""

import numpy as np
import pytest

from dosimetry.dose.transport.electron_kernels import electron_kernel, summary
from dosimetry.dose.transport.electron_tables import (
    RADIATIVE,
    SOFT_LOSS,
    electron_tables,
    energy_grid,
    moller_moments,
    scattering_moments,
)
from dosimetry.dose.transport.water import (
    ELECTRONS_PER_G,
    beta_squared,
    collision_stopping,
    csda_range,
    radiative_stopping,
)

# d(E/E0)/d(r/r0) at r/r0 = 0.025, 0.075, ...: EGSnrc user code EDKnrc (Mainegra-Hing, Rogers, Kawrakow, Med Phys
# 2005;32:685, doi:10.1118/1.1861411), as given with Geant4's example TestEm12.
EGSNRC = {
    0.1: [0.577, 0.630, 0.680, 0.739, 0.813, 0.900, 1.002, 1.120, 1.248, 1.375, 1.494, 1.572, 1.601, 1.553, 1.402,
          1.190, 0.916, 0.614, 0.349, 0.157, 0.050, 0.009],
    1.0: [0.764, 0.814, 0.850, 0.886, 0.930, 0.984, 1.050, 1.130, 1.222, 1.318, 1.405, 1.466, 1.483, 1.436, 1.313,
          1.103, 0.834, 0.536, 0.279, 0.104, 0.024, 0.002],
}  # fmt: skip
# ETRAN (Seltzer, Appl Radiat Isot 1991;42:917, by Ferrer et al., Cancer Biother Radiopharm 2007;22:1), at 0.025 k.
ETRAN_500_KEV = [
    0.674, 0.698, 0.721, 0.742, 0.763, 0.783, 0.805, 0.828, 0.854, 0.882, 0.914, 0.949, 0.989, 1.035, 1.086, 1.142,
    1.203, 1.266, 1.33, 1.393, 1.452, 1.505, 1.549, 1.579, 1.593, 1.588, 1.562, 1.513, 1.442, 1.349, 1.235, 1.103,
    0.956, 0.797, 0.633, 0.473, 0.336, 0.23, 0.152, 0.092, 0.048, 0.019, 0.007, 0.002, 0.001,
]  # fmt: skip


@pytest.mark.parametrize(
    ("energy_mev", "range_g_cm2"),
    [(0.01, 2.515e-4), (0.05, 4.320e-3), (0.1, 0.01431), (0.5, 0.1766), (1.0, 0.4367), (2.0, 0.9785)],
)
def test_csda_range_is_the_integral_of_the_stopping_power(energy_mev, range_g_cm2):
    assert csda_range(np.array([energy_mev]))[0] == pytest.approx(range_g_cm2, rel=6e-4)


def test_hard_and_soft_losses_make_up_the_stopping_power():
    E = energy_grid()
    chosen = (E > 0.05) & (E < 4.0)
    tables = electron_tables(0.01)
    _, hard, _ = moller_moments(E, 0.01)
    radiated = tables.values[:, RADIATIVE] * np.trapezoid(tables.photon_mev, axis=1) / (tables.photon_mev.shape[1] - 1)
    whole = collision_stopping(E) + radiative_stopping(E)
    assert (tables.values[:, SOFT_LOSS] + hard + radiated)[chosen] == pytest.approx(whole[chosen], rel=1e-3)


def test_moller_moments_are_the_integrals_of_the_cross_section():
    E, cut, m = 1.0, 0.02, 0.51099895
    W = np.linspace(cut, E / 2, 400_001)
    shape = 1 / W**2 + 1 / (E - W) ** 2 + 1 / (E + m) ** 2 - (2 * E + m) * m / ((E + m) ** 2 * W * (E - W))
    number, loss, _ = moller_moments(np.array([E]), cut)
    assert loss[0] / number[0] == pytest.approx(np.trapezoid(W * shape, W) / np.trapezoid(shape, W), rel=1e-6)
    per_cm = 2 * np.pi * 2.8179403262e-13**2 * m * ELECTRONS_PER_G / beta_squared(E)
    assert number[0] == pytest.approx(per_cm * np.trapezoid(shape, W), rel=1e-6)


def test_scattering_is_shared_between_hard_and_soft_events(monkeypatch):
    """The transport mean free path of water at 1 MeV does not depend on where hard events begin."""
    from dosimetry.dose.transport import electron_tables as tables

    E, totals = np.array([1.0]), []
    for step in (0.1, 0.02):
        monkeypatch.setattr(tables, "DEFLECTION_PER_STEP", step)
        hard, soft, _, mu_cut = scattering_moments(E, 0.01)
        eta, beta2 = float(tables.screening(E, 8)[0]), float(tables.beta_squared(E)[0])
        mean = tables._hard_shape(float(mu_cut[0]), eta, beta2)(lambda mu: 2 * mu)
        totals.append(soft[0] + hard[0] * mean)
    assert totals[0] == pytest.approx(totals[1], rel=1e-3)


@pytest.mark.parametrize("energy_mev", [0.02, 0.2, 2.0])
def test_every_electron_gives_all_its_energy(energy_mev):
    kernel = electron_kernel(energy_mev, 500, seed=2)
    assert kernel.deposited.sum() + kernel.radiated.sum() == pytest.approx(1.0, abs=1e-9)


def test_the_seed_decides_and_the_threads_do_not():
    one, two = (electron_kernel(0.1, 400, seed=3, threads=n) for n in (1, 2))
    np.testing.assert_array_equal(one.deposited, two.deposited)
    assert (electron_kernel(0.1, 400, seed=4).deposited != one.deposited).any()


@pytest.mark.parametrize("energy_mev", EGSNRC)
def test_kernel_agrees_with_egsnrc(energy_mev):
    kernel = electron_kernel(energy_mev, 12_000, seed=5)
    ours = kernel.deposited[:110].reshape(22, 5).sum(axis=1) * 20
    u_ours = np.sqrt((kernel.u_deposited[:110].reshape(22, 5) ** 2).sum(axis=1)) * 20
    theirs = np.array(EGSNRC[energy_mev])
    assert np.all(abs(ours - theirs) < 0.025 * theirs + 0.012 + 4 * u_ours)
    inside = np.concatenate([[0.0], np.cumsum(theirs)]) / theirs.sum()
    x50, x90 = np.interp([0.5, 0.9], inside, np.arange(23) * 0.05)
    assert summary(kernel)["x50"] == pytest.approx(x50, rel=0.01)
    assert summary(kernel)["x90"] == pytest.approx(x90, rel=0.01)


def test_kernel_agrees_with_etran():
    kernel = electron_kernel(0.5, 12_000, seed=6)
    inside = np.concatenate([[0.0], np.cumsum((np.array(ETRAN_500_KEV)[1:] + np.array(ETRAN_500_KEV)[:-1]) / 2)])
    x50, x90 = np.interp([0.5, 0.9], inside / inside[-1], np.arange(inside.size) * 0.025)
    assert summary(kernel)["x50"] == pytest.approx(x50, rel=0.025)
    assert summary(kernel)["x90"] == pytest.approx(x90, rel=0.025)


def test_radiated_part_is_the_radiation_yield():
    """NIST ESTAR: 3.579e-3 of 1 MeV, of which photons above 10 keV are followed."""
    kernel = electron_kernel(1.0, 12_000, seed=7)
    assert 0.9 * 3.579e-3 < kernel.radiated.sum() < 1.05 * 3.579e-3
