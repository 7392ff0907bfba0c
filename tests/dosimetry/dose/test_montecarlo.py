"""The engine `montecarlo`: energy is found again, water gives the kernels' dose, and the seed alone decides."""

import numba
import numpy as np
import pytest

from dosimetry.config import DoseSettings
from dosimetry.dose import absorbed_dose
from nufitdose.anatomy.composition import SOFT_TISSUE, tissue_of_hu
from nufitdose.anatomy.density import mass_density_g_ml
from nufitdose.anatomy.prepared import PreparedAnatomy, prepare_anatomy
from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.nuclides import DECAYS_PER_MBQ_H, JOULE_PER_MEV, chain_emissions
from nufitdose.volume import Quantity, Volume

ROUGH = DoseSettings(statistical_percent=50.0)  # one round of histories


@pytest.fixture
def few(monkeypatch):
    """A tenth of the usual histories in a batch."""
    monkeypatch.setattr("dosimetry.dose.montecarlo._HISTORIES", 4000)


def tia_of(values, side_mm):
    return Volume(np.asarray(values, np.float32), Grid.from_spacing(values.shape, (side_mm,) * 3), Quantity.TIA)


def block(shape, where, side_mm, bq_h_ml=1e6):
    values = np.zeros(shape, np.float32)
    values[where] = bq_h_ml
    return tia_of(values, side_mm)


def from_hu(tia, hu, body=None):
    body = hu > -900.0 if body is None else body
    density = tia.with_data(mass_density_g_ml(hu), Quantity.DENSITY)
    return PreparedAnatomy(body.astype(np.float32), body, density, tissue_of_hu(hu))


@pytest.mark.parametrize("nuclide", ["Y-90", "Lu-177", "Ac-225"])
def test_uniform_activity_gives_the_energy_of_its_decays(nuclide, few):
    """Equilibrium: D = c̃ E/ρ in the middle of a large box, all radiations; photons of Lu-177 need ± 30 cm."""
    n, side_mm = 15, 40.0
    tia = block((n, n, n), np.s_[:], side_mm)
    found = absorbed_dose(tia, nuclide=nuclide, engine="montecarlo", settings=ROUGH)
    middle = np.s_[6:9, 6:9, 6:9]
    energy = chain_emissions(nuclide)
    whole_gy = (energy.local_mev + energy.photon_mev) * JOULE_PER_MEV * DECAYS_PER_MBQ_H * 1e3
    assert found.dose.data[middle].mean() == pytest.approx(whole_gy, rel=0.02)
    assert 0.0 < found.u_dose.data[middle].mean() < 0.15 * whole_gy


@pytest.mark.parametrize("nuclide", ["I-131", "Y-90"])
def test_what_is_emitted_is_deposited_or_leaves(nuclide, few):
    """The energy in the field of view and the share that left it are the energy of the decays."""
    tia = block((24, 24, 24), np.s_[10:14, 10:14, 10:14], 5.0)
    found = absorbed_dose(tia, nuclide=nuclide, engine="montecarlo", settings=ROUGH)
    energy, decays = chain_emissions(nuclide), tia.data.sum(dtype=float) * 0.125 * 3600.0
    emitted_j = decays * (energy.local_mev + energy.photon_mev) * JOULE_PER_MEV
    deposited_j = found.dose.data.sum(dtype=float) * 0.125e-3
    assert deposited_j / emitted_j + found.left_the_field == pytest.approx(1.0, abs=2e-3)
    assert found.left_the_field == pytest.approx(
        absorbed_dose(tia, nuclide=nuclide, engine="kernel").left_the_field, abs=5e-3
    )


ORGANS = {"self": np.s_[8:16, 10:20, 10:22], "near": np.s_[17:24, 10:20, 10:22], "far": np.s_[26:36, 6:26, 6:28]}


@pytest.mark.parametrize(
    ("nuclide", "percent"),
    [
        ("Lu-177", 2.5),
        pytest.param("I-131", 1.0, marks=pytest.mark.slow),
        pytest.param("Lu-177", 1.0, marks=pytest.mark.slow),
    ],
)
def test_water_gives_the_dose_of_the_kernels(nuclide, percent):
    """In organs within 1.5 %; in voxels within statistics: nine tenths of the differences below two standard errors."""
    tia = block((40, 32, 34), ORGANS["self"], 5.0)
    settings = DoseSettings(statistical_percent=percent)
    found = absorbed_dose(tia, nuclide=nuclide, engine="montecarlo", settings=settings)
    expected = absorbed_dose(tia, nuclide=nuclide, engine="kernel").dose.data
    for organ, where in ORGANS.items():
        assert found.dose.data[where].mean() == pytest.approx(expected[where].mean(), rel=0.015), organ
    far = np.s_[18:38, 4:28, 4:30]
    off = (found.dose.data[far] - expected[far]) / found.u_dose.data[far]
    assert (abs(off) < 2.0).mean() > 0.88
    assert found.statistical_percent <= percent


def test_the_seed_decides_and_the_number_of_threads_does_not(few):
    tia = block((16, 14, 12), np.s_[5:9, 5:9, 4:8], 6.0)
    threads = numba.get_num_threads()

    def dose(seed):
        return absorbed_dose(tia, nuclide="I-131", engine="montecarlo", settings=ROUGH, seed=seed).dose.data

    first = dose(3)
    try:
        numba.set_num_threads(1)
        alone = dose(3)
    finally:
        numba.set_num_threads(threads)
    np.testing.assert_array_equal(alone, first)
    other = dose(4)
    assert (other != first).any()
    assert other.sum() == pytest.approx(first.sum(), rel=0.01)


def test_the_stated_error_is_the_scatter_between_seeds(few):
    tia = block((14, 14, 14), np.s_[5:9, 5:9, 5:9], 8.0)
    runs = [absorbed_dose(tia, nuclide="Lu-177", engine="montecarlo", settings=ROUGH, seed=seed) for seed in range(4)]
    scatter = np.std([run.dose.data for run in runs], axis=0, ddof=1)
    stated = np.sqrt(np.mean([run.u_dose.data**2 for run in runs], axis=0))
    assert np.sqrt((scatter**2).mean()) == pytest.approx(np.sqrt((stated**2).mean()), rel=0.25)


def test_electrons_in_lung_go_as_far_as_their_mass_allows(monkeypatch):
    """Y-90 in voxels four times as wide at a quarter of the density: the same dose times density, voxel by voxel."""
    monkeypatch.setattr("dosimetry.dose.montecarlo._HISTORIES", 8000)
    where = np.s_[10:18, 6:18, 6:18]
    doses = []
    for side_mm, g_ml in ((2.0, 1.0), (8.0, 0.25)):
        tia = block((28, 24, 24), where, side_mm)
        settings = ROUGH.model_copy(update={"density_without_ct_g_ml": g_ml})
        found = absorbed_dose(tia, nuclide="Y-90", engine="montecarlo", settings=settings)
        doses.append(found.dose.data[:, 8:16, 8:16].mean(axis=(1, 2)) * g_ml)
    water = doses[0]
    np.testing.assert_allclose(doses[1], water, rtol=0.03, atol=0.012 * water.max())


def test_slabs_of_bone_lung_and_air_take_what_their_tissue_takes(few):
    """Photons of I-131 behind soft tissue: bone takes more and shades what is behind, lung is not divided by mass."""
    shape = (40, 20, 20)
    tia = block(shape, np.s_[0:8], 5.0)
    hu = np.full(shape, 30.0, np.float32)
    plain = absorbed_dose(tia, nuclide="I-131", engine="montecarlo", ct=from_hu(tia, hu), settings=ROUGH).dose.data
    hu[14:20], hu[24:32], hu[36:] = 1000.0, -750.0, -1000.0
    slabs = absorbed_dose(tia, nuclide="I-131", engine="montecarlo", ct=from_hu(tia, hu), settings=ROUGH).dose.data
    assert (slabs[36:] == 0.0).all()
    assert 1.0 < slabs[14:16].mean() / plain[14:16].mean() < 1.25
    assert slabs[20:24].mean() < 0.97 * plain[20:24].mean()
    assert 0.6 < slabs[26:30].mean() / plain[26:30].mean() < 1.1


def test_negative_activity_is_carried_and_what_is_no_number_stays_in_its_voxel(few):
    tia = block((10, 10, 10), np.s_[4:6, 4:6, 4:6], 5.0)
    found = absorbed_dose(tia, nuclide="Lu-177", engine="montecarlo", settings=ROUGH).dose.data
    minus = absorbed_dose(tia.with_data(-tia.data), nuclide="Lu-177", engine="montecarlo", settings=ROUGH).dose.data
    np.testing.assert_allclose(minus, -found, rtol=1e-5)
    holed = tia.data.copy()
    holed[0, 0, 0] = np.nan
    found = absorbed_dose(tia.with_data(holed), nuclide="Lu-177", engine="montecarlo", settings=ROUGH).dose.data
    assert np.isnan(found[0, 0, 0])
    assert np.isfinite(found.ravel()[1:]).all()
    nothing = absorbed_dose(tia.with_data(0 * tia.data), nuclide="Lu-177", engine="montecarlo", settings=ROUGH)
    assert (nothing.dose.data == 0.0).all()


def test_a_time_budget_ends_it_and_says_so(caplog, few):
    tia = block((12, 12, 12), np.s_[4:8, 4:8, 4:8], 8.0)
    settings = DoseSettings(statistical_percent=0.05, time_budget_s=0.1)
    shares = []
    found = absorbed_dose(tia, nuclide="I-131", engine="montecarlo", settings=settings, on_progress=shares.append)
    assert found.statistical_percent > 0.05
    assert "time for transport was over" in caplog.text
    assert shares[-1] == 1.0


def test_both_errors_count(few):
    """The error of the activities, as the kernels carry it, and the engine's own."""
    tia = block((14, 14, 14), np.s_[5:9, 5:9, 5:9], 5.0)
    u_tia = tia.with_data(tia.data * np.float32(0.1))
    own = absorbed_dose(tia, nuclide="Lu-177", engine="montecarlo", settings=ROUGH).u_dose.data
    carried = absorbed_dose(tia, nuclide="Lu-177", engine="kernel", u_tia=u_tia).u_dose.data
    both = absorbed_dose(tia, nuclide="Lu-177", engine="montecarlo", settings=ROUGH, u_tia=u_tia).u_dose.data
    np.testing.assert_allclose(both, np.hypot(own, carried), rtol=1e-4)


def test_a_ct_elsewhere_is_refused_and_a_short_one_is_continued():
    """Beyond the CT soft tissue of the stated density; padding far below air counts as air."""
    tia = block((12, 12, 12), np.s_[4:8, 4:8, 4:8], 5.0)
    away = Grid.from_spacing((12, 12, 12), (5.0, 5.0, 5.0), centre_mm=(500.0, 0.0, 0.0))
    hu = np.full((12, 12, 12), 40.0, np.float32)
    with pytest.raises(InputError, match="covers no voxel"):
        absorbed_dose(tia, nuclide="Lu-177", ct=Volume(hu, away, Quantity.HU))
    short = Grid.from_spacing((12, 12, 6), (5.0, 5.0, 5.0), centre_mm=(0.0, 0.0, -15.0))
    hu[0, 0, 0] = -3024.0
    found = prepare_anatomy(Volume(hu[..., :6].copy(), short, Quantity.HU), tia.grid)
    assert (found.tissue[..., 8:] == SOFT_TISSUE).all()
    assert (found.density.data[..., 8:] == 1.0).all()
    assert found.takes_dose[..., 8:].all()
