"""The engine `kernel`: the energy of every decay is found again, errors are bounds, and the body has an outline."""

import numpy as np
import pytest

from dosimetry.config import DoseSettings
from dosimetry.dose import absorbed_dose, find_dose_engine, sphere_s_value, voxel_kernel
from dosimetry.dose.kernels.radial import radial_kernel
from nufitdose.anatomy.prepared import PreparedAnatomy
from nufitdose.grid import Grid
from nufitdose.nuclides import DECAYS_PER_MBQ_H, JOULE_PER_MEV, chain_emissions
from nufitdose.volume import Quantity, Volume


def tia_of(values, side_mm):
    return Volume(np.asarray(values, np.float32), Grid.from_spacing(values.shape, (side_mm,) * 3), Quantity.TIA)


def point(n, side_mm, bq_h_ml=1e6):
    values = np.zeros((n, n, n), np.float32)
    values[n // 2, n // 2, n // 2] = bq_h_ml
    return tia_of(values, side_mm)


def prepared(tia, inside, density):
    share = inside.astype(np.float32)
    return PreparedAnatomy(share, inside, tia.with_data(density.astype(np.float32), Quantity.DENSITY))


@pytest.mark.parametrize(("nuclide", "n", "side_mm"), [("Lu-177", 81, 20.0), ("I-131", 201, 10.0)])
def test_a_large_uniform_medium_reaches_the_whole_energy_of_a_decay(nuclide, n, side_mm):
    """D = c̃ Δ/ρ, photons included, in the middle: beyond the borders lie 1e-4 of Lu-177's energy, 2e-4 of I-131's."""
    tia = tia_of(np.full((n, n, n), 1e6, np.float32), side_mm)
    settings = DoseSettings(density_without_ct_g_ml=1.2)
    found = absorbed_dose(tia, nuclide=nuclide, engine="kernel", settings=settings).dose.data
    dose = found[n // 2, n // 2, n // 2]
    energy = chain_emissions(nuclide)
    whole_gy = (energy.local_mev + energy.photon_mev) * JOULE_PER_MEV * DECAYS_PER_MBQ_H * 1e3 / 1.2
    assert dose == pytest.approx(whole_gy, rel=2e-3)


@pytest.mark.parametrize("nuclide", ["P-32", "Y-90"])
def test_without_photons_the_energy_is_that_of_local_deposition(nuclide):
    """A voxel's energy spreads and none is lost, but for bremsstrahlung that leaves (less than 0.5 %)."""
    tia = point(21, 4.0)
    spread, local = (absorbed_dose(tia, nuclide=nuclide, engine=name).dose.data for name in ("kernel", "local"))
    kernel = radial_kernel(nuclide)
    radiated = kernel.photon_mev.sum() / kernel.emitted_mev
    assert radiated < 5e-3
    assert spread.max() < 0.8 * local.max()
    assert 1.0 - radiated - 1e-4 < spread.sum(dtype=float) / local.sum(dtype=float) < 1.0 + 1e-4


@pytest.mark.parametrize("nuclide", ["Y-90", "Lu-177", "I-131"])
def test_what_is_emitted_is_deposited_or_has_left(nuclide):
    """Deposited is summed here from the voxel kernel of all radiations, another sum than the engine's."""
    n, side_mm = 41, 4.0
    tia = point(n, side_mm)
    found = absorbed_dose(tia, nuclide=nuclide, engine="kernel")
    whole = voxel_kernel(nuclide, (side_mm,) * 3, reach_mm=n // 2 * side_mm)
    middle = tuple(slice(size // 2 - n // 2, size // 2 + n // 2 + 1) for size in whole.shape)
    voxel_kg = side_mm**3 * 1e-6
    deposited = whole[middle].sum(dtype=float) * 1e-9 * voxel_kg / JOULE_PER_MEV / radial_kernel(nuclide).emitted_mev
    assert deposited + found.left_the_field == pytest.approx(1.0, abs=1e-3)
    decays = 1e6 * 3600.0 * side_mm**3 * 1e-3
    emitted_j = decays * radial_kernel(nuclide).emitted_mev * JOULE_PER_MEV
    assert found.dose.data.sum(dtype=float) * voxel_kg == pytest.approx(deposited * emitted_j, rel=1e-3)


def test_a_ball_in_voxels_gets_the_self_dose_of_the_sphere():
    """Mean over the voxels of a ball of 65 g, whose staircase outline costs a per mille or two."""
    n, side_mm = 33, 2.0
    offset = np.stack(np.meshgrid(*[np.arange(n) - n // 2] * 3, indexing="ij"), -1)
    ball = np.linalg.norm(offset, axis=-1) * side_mm < 25.0
    tia = tia_of(np.where(ball, 1e6, 0.0), side_mm)
    dose = absorbed_dose(tia, nuclide="Y-90", engine="kernel").dose.data
    mass_g = ball.sum() * side_mm**3 * 1e-3
    expected = sphere_s_value("Y-90", mass_g) * 1e6 * mass_g * 3600.0
    assert dose[ball].mean(dtype=float) == pytest.approx(expected, rel=1e-2)


def test_air_outside_the_body_gets_no_dose_and_thin_tissue_is_floored():
    tia = point(15, 4.0)
    inside = np.zeros(tia.data.shape, bool)
    inside[3:12, 3:12, 3:12] = True
    density = np.where(inside, 1.0, 1e-3)
    density[7, 7, 7] = 0.05
    thin = absorbed_dose(tia, nuclide="Lu-177", ct=prepared(tia, inside, density), engine="kernel").dose.data
    density[7, 7, 7] = 1.0
    water = absorbed_dose(tia, nuclide="Lu-177", ct=prepared(tia, inside, density), engine="kernel").dose.data
    assert (thin[~inside] == 0.0).all()
    assert (thin[inside] > 0.0).all()
    assert thin[7, 7, 7] == pytest.approx(water[7, 7, 7] / 0.2, rel=0.02)  # photons, 1 % there, are not divided
    assert thin[7, 7, 8] == pytest.approx(water[7, 7, 8], rel=0.02)


def test_the_error_is_the_bound_of_errors_that_all_point_the_same_way():
    """Activities wrong by the same part have doses wrong by that part; independent ones by √ΣK² in place of ΣK."""
    rng = np.random.default_rng(3)
    tia = tia_of(np.full((14, 14, 14), 1e6), 4.8)
    tenth = tia.with_data(tia.data * np.float32(0.1))
    found = absorbed_dose(tia, nuclide="Y-90", engine="kernel", u_tia=tenth)
    np.testing.assert_allclose(found.u_dose.data, 0.1 * found.dose.data, rtol=1e-4)
    drawn = []
    for _ in range(8):
        other = tia.with_data(tia.data + tenth.data * rng.standard_normal(tia.data.shape).astype(np.float32))
        drawn.append(absorbed_dose(other, nuclide="Y-90", engine="kernel").dose.data)
    inner = (slice(3, -3),) * 3
    scatter = np.sqrt(np.var(drawn, axis=0, ddof=1)[inner].mean())
    K = voxel_kernel("Y-90", (4.8,) * 3, reach_mm=15.0)
    assert scatter / found.u_dose.data[inner].mean() == pytest.approx(np.sqrt((K**2).sum()) / K.sum(), rel=0.1)
    assert absorbed_dose(tia, nuclide="Y-90", engine="kernel").u_dose is None


def test_an_error_is_unknown_where_activity_of_unknown_error_matters():
    tia = tia_of(np.full((31, 5, 5), 1e6), 4.8)
    u = tia.with_data(np.full(tia.data.shape, 1e5, np.float32))
    u.data[0, 2, 2] = np.nan
    found = absorbed_dose(tia, nuclide="Lu-177", engine="kernel", u_tia=u).u_dose.data
    assert np.isnan(found[0, 2, 2])
    assert np.isfinite(found[20:]).all()
    none_known = tia.with_data(np.full(tia.data.shape, np.nan, np.float32))
    assert np.isnan(absorbed_dose(tia, nuclide="Lu-177", engine="kernel", u_tia=none_known).u_dose.data).all()


def test_negative_activity_is_carried_and_what_is_no_number_stays_in_its_voxel():
    """As in local deposition: dose is linear in activity, and an unknown activity makes its own dose unknown."""
    tia = point(9, 4.0)
    dose = absorbed_dose(tia, nuclide="Lu-177", engine="kernel").dose.data
    minus = absorbed_dose(tia.with_data(-tia.data), nuclide="Lu-177", engine="kernel").dose.data
    np.testing.assert_allclose(minus, -dose, rtol=1e-6)
    holed = tia.data.copy()
    holed[0, 0, 0] = np.nan
    found = absorbed_dose(tia.with_data(holed), nuclide="Lu-177", engine="kernel").dose.data
    assert np.isnan(found[0, 0, 0])
    np.testing.assert_allclose(found.ravel()[1:], dose.ravel()[1:], rtol=1e-6)


def test_the_departure_from_transport_is_that_of_the_tissue():
    """Lungs and bones depart more than soft tissue, small structures most; engines that are transport not at all."""
    soft, lung, bone, small = (
        find_dose_engine("kernel").departure(*of) for of in ((1.04, 500.0), (0.3, 2000.0), (1.3, 90.0), (1.04, 5.0))
    )
    assert 0.0 < soft < lung == bone < small < 0.05
    assert find_dose_engine("montecarlo").departure(1.04, 5.0) == 0.0
