import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosimetry.config import DoseSettings, load_settings
from dosimetry.dose import ENGINES, absorbed_dose, density_from_ct, mass_density_g_ml
from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.volume import Quantity, Volume


@pytest.mark.parametrize(
    ("hu", "g_ml"),
    [(-1000, 0.00121), (-500, 0.51606), (0, 1.01745), (50, 1.06217), (100, 1.1199), (101, 1.0762), (300, 1.19409),
     (1000, 1.60876), (2000, 2.203), (3000, 2.8), (5000, 2.8), (-3024, 0.00121)],
)  # fmt: skip
def test_density_of_ct_numbers_is_schneiders(hu, g_ml):
    assert mass_density_g_ml(hu) == pytest.approx(g_ml, rel=1e-4)


def test_mass_is_kept_when_a_fine_ct_meets_a_coarse_dose_grid():
    fine = Grid.from_spacing((96, 96, 60), (1.0, 1.0, 1.5))
    hu = np.full(fine.shape, -1000, np.float32)
    hu[20:75, 25:70, 12:50] = 30.0
    hu[40:50, 40:50, 20:40] = 900.0
    coarse = Grid.from_spacing((20, 20, 18), (4.8, 4.8, 5.0))
    density = density_from_ct(Volume(hu, fine, Quantity.HU), coarse)
    mass = float(mass_density_g_ml(hu).sum()) * fine.voxel_volume_ml
    assert density.data.sum() * coarse.voxel_volume_ml == pytest.approx(mass, rel=1e-5)


def test_one_megabecquerel_hour_of_lutetium_in_soft_tissue():
    grid = Grid.from_spacing((4, 4, 4), (4.8, 4.8, 4.8))
    tia = Volume(np.full(grid.shape, 1e6, np.float32), grid, Quantity.TIA)
    dose = absorbed_dose(
        tia, nuclide="Lu-177", engine="local", settings=DoseSettings(density_without_ct_g_ml=1.04)
    ).dose
    np.testing.assert_allclose(dose.data, 0.082038, rtol=1e-4)
    assert dose.quantity is Quantity.DOSE


def test_energy_of_yttrium_90_per_gigabecquerel():
    """Y-90 releases 49.77 J/GBq: all of it must be found as dose times mass (electrons, no photons)."""
    grid = Grid.from_spacing((10, 10, 10), (4.0, 4.0, 4.0))
    decays_mbq_h = 1e3 * 64.1 / np.log(2)
    tia = Volume(np.full(grid.shape, decays_mbq_h * 1e6 / 64.0, np.float32), grid, Quantity.TIA)
    dose = absorbed_dose(tia, nuclide="Y-90", engine="local").dose
    assert dose.data.mean() * 0.064 == pytest.approx(49.77, rel=2e-3)


@given(st.floats(0.1, 50.0), st.floats(0.5, 2.0))
def test_dose_is_linear_in_activity_and_inverse_in_density(scale, density):
    grid = Grid.from_spacing((3, 3, 3), (2.0, 2.0, 2.0))
    tia = Volume(np.linspace(1e4, 1e6, 27, dtype=np.float32).reshape(3, 3, 3), grid, Quantity.TIA)
    once = absorbed_dose(tia, nuclide="I-131", engine="local").dose
    settings = DoseSettings(density_without_ct_g_ml=density)
    scaled = absorbed_dose(
        tia.with_data(tia.data * np.float32(scale)), nuclide="I-131", engine="local", settings=settings
    ).dose
    np.testing.assert_allclose(scaled.data, once.data * scale / density, rtol=1e-5)


def test_air_gets_no_dose_and_thin_tissue_is_floored():
    grid = Grid.from_spacing((40, 40, 40), (4.0, 4.0, 4.0))
    distance = np.linalg.norm(np.stack(np.meshgrid(*[np.arange(40) - 19.5] * 3, indexing="ij"), -1), axis=-1)
    hu = np.where(distance < 15, 30.0, -1000.0).astype(np.float32)
    hu[distance < 6] = -950.0
    tia = Volume(np.full(grid.shape, 1e6, np.float32), grid, Quantity.TIA)
    dose = absorbed_dose(tia, nuclide="Lu-177", engine="local", ct=Volume(hu, grid, Quantity.HU)).dose.data
    assert (dose[distance > 17] == 0).all()
    np.testing.assert_allclose(dose[distance < 5], 0.085320 / 0.2, rtol=1e-4)
    assert dose[(distance > 8) & (distance < 13)].mean() == pytest.approx(0.08532 / mass_density_g_ml(30.0), rel=1e-3)


def test_dose_wants_time_integrated_activity():
    grid = Grid.from_spacing((2, 2, 2), (1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="Bq·h/mL"):
        absorbed_dose(Volume(np.ones((2, 2, 2), np.float32), grid, Quantity.ACTIVITY), nuclide="Lu-177", engine="local")


def test_the_local_error_is_that_of_each_voxel_s_own_activity():
    """D = k c̃/ρ voxel by voxel, so u(D) = k u(c̃)/ρ: NaN where u(c̃) is not known, 0 where there is nothing."""
    grid = Grid.from_spacing((2, 2, 1), (3.0, 3.0, 3.0))
    values, errors = [[1e6, 2e6], [0.0, 3e6]], [[1e5, 5e5], [np.nan, np.nan]]
    tia, u_tia = (Volume(np.array(x, np.float32)[..., None], grid, Quantity.TIA) for x in (values, errors))
    found = absorbed_dose(tia, nuclide="Lu-177", engine="local", u_tia=u_tia)
    one = absorbed_dose(tia.with_data(u_tia.data), nuclide="Lu-177", engine="local").dose.data
    assert found.u_dose.quantity is Quantity.DOSE
    np.testing.assert_allclose(found.u_dose.data[0], one[0], rtol=1e-6)
    assert found.u_dose.data[1, 0, 0] == 0.0
    assert np.isnan(found.u_dose.data[1, 1, 0])
    assert absorbed_dose(tia, nuclide="Lu-177", engine="local").u_dose is None


def test_no_nuclide_is_assumed_and_engines_go_by_name():
    grid = Grid.from_spacing((2, 2, 2), (1.0, 1.0, 1.0))
    tia = Volume(np.ones((2, 2, 2), np.float32), grid, Quantity.TIA)
    with pytest.raises(TypeError, match="nuclide"):
        absorbed_dose(tia)
    with pytest.raises(InputError, match="unknown") as refusal:
        absorbed_dose(tia, nuclide="Lu-177", engine="locl")
    assert "Did you mean 'local'" in refusal.value.remedy
    with pytest.raises(InputError, match=r"'dose\.engine'.*Did you mean 'local'"):
        load_settings(None, ["dose.engine=locl"])
    with pytest.raises(InputError, match=r"'dose\.engine'.*Did you mean 'kernel'"):
        load_settings(None, ["dose.engine=kernels"])
    assert DoseSettings().engine in ENGINES


def test_an_engine_that_needs_a_ct_says_so(monkeypatch):
    grid = Grid.from_spacing((2, 2, 2), (1.0, 1.0, 1.0))
    tia = Volume(np.ones((2, 2, 2), np.float32), grid, Quantity.TIA)
    demanding = dataclasses.replace(ENGINES["local"], needs_ct=True)
    monkeypatch.setattr("dosimetry.dose.registry.ENGINES", {"transport": demanding})
    with pytest.raises(InputError, match="needs a CT"):
        absorbed_dose(tia, nuclide="Lu-177", engine="transport")
    hu = Volume(np.zeros((2, 2, 2), np.float32), grid, Quantity.HU)
    assert absorbed_dose(tia, nuclide="Lu-177", ct=hu, engine="transport").dose.data.shape == (2, 2, 2)
