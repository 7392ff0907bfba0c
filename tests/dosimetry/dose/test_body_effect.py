"""Photons of the engine `kernel` in a body: as transport has them, in lung, bone and beside air."""

import numba
import numpy as np
import pytest

from dosimetry.config import DoseSettings
from dosimetry.dose import absorbed_dose
from dosimetry.dose.body_effect import Surroundings, body_effect
from dosimetry.dose.transport.photon_tables import WATER, energy_grid, photon_tables
from dosimetry.dose.transport.tissue_parts import scoring_water, tissue_parts
from dosimetry.dose.transport.tissues import energy_absorption, tissue_tables
from nufitdose.anatomy.composition import SCHNEIDER_PERCENT, mass_fractions, tissue_of_hu
from nufitdose.anatomy.density import mass_density_g_ml
from nufitdose.anatomy.prepared import PreparedAnatomy
from nufitdose.grid import Grid
from nufitdose.volume import Quantity, Volume

SHAPE, SIDE_MM = (34, 26, 26), 8.0
SLABS = {"source": np.s_[12:16], "lung": np.s_[5:11], "behind lung": np.s_[1:4], "bone": np.s_[18:21]}
SLABS |= {"behind bone": np.s_[22:27], "surface": np.s_[29:31]}

BONE = 9  # the first of Schneider's rows that holds calcium in quantity


def slabs():
    """Lung on one side of the source, bone and then air on the other; no air at the other faces."""
    hu = np.full(SHAPE, 40.0, np.float32)
    hu[4:12], hu[18:21], hu[31:] = -750.0, 900.0, -1000.0
    grid = Grid.from_spacing(SHAPE, (SIDE_MM,) * 3)
    body = hu > -900.0
    density = Volume(mass_density_g_ml(hu), grid, Quantity.DENSITY)
    activity = np.zeros(SHAPE, np.float32)
    activity[12:16, 8:18, 8:18] = 1e6
    return Volume(activity, grid, Quantity.TIA), PreparedAnatomy(
        body.astype(np.float32), body, density, tissue_of_hu(hu)
    )


@pytest.mark.parametrize("nuclide", ["Lu-177", "I-131"])
def test_kernels_give_the_dose_of_transport_in_slabs(nuclide):
    """The bar of the engine, where transport knows the mean of a slab to 0.7 %; behind lung and beside air 3 %."""
    tia, anatomy = slabs()
    settings = DoseSettings(statistical_percent=3.0)
    kernel, transport = (
        absorbed_dose(tia, nuclide=nuclide, ct=anatomy, engine=engine, settings=settings).dose.data
        for engine in ("kernel", "montecarlo")
    )
    middle = np.s_[6:20, 6:20]
    off = {
        name: 100.0 * (kernel[at][:, *middle].mean() / transport[at][:, *middle].mean() - 1)
        for name, at in SLABS.items()
    }
    for name, percent in off.items():
        assert abs(percent) < (3.0 if name in ("behind lung", "surface") else 2.0), off


def test_water_all_around_changes_nothing():
    """The mean over a box of the ratio to the kernel of water is one."""
    shape = (20, 20, 20)
    activity = np.zeros(shape, np.float32)
    activity[8:12, 8:12, 8:12] = 1.0
    around = Surroundings(np.ones(shape, np.float32))
    effect = body_effect(activity, "I-131", (9.0, 9.0, 9.0), 1.0, around)
    share = effect.to_tissue(None)
    assert share[6:14, 6:14, 6:14].mean() == pytest.approx(1.0, abs=0.01)
    assert abs(share - 1.0).max() < 0.1
    assert 0.0 < effect.photo.mean() < 0.1


def test_threads_do_not_change_the_effect():
    tia, anatomy = slabs()
    threads, found = numba.get_num_threads(), []
    for count in (1, 2):
        numba.set_num_threads(min(count, threads))
        around = Surroundings(anatomy.density.data, anatomy.tissue)
        found.append(body_effect(tia.data, "Lu-177", (SIDE_MM,) * 3, 1.0, around).to_tissue(anatomy.tissue))
    numba.set_num_threads(threads)
    np.testing.assert_array_equal(*found)


def test_tissues_are_water_with_other_shares_of_two_processes():
    """μ_tr/ρ of Schneider's tissues is α Compton + β photoelectric of water from 0.05 to 1 MeV, least so in bone."""
    energy_mev = energy_grid()
    at = (energy_mev > 0.05) & (energy_mev < 1.0)
    compton, photo = (tables.absorbed[:, 0] for tables in scoring_water(tissue_tables([WATER])))
    np.testing.assert_allclose(compton + photo, energy_absorption(photon_tables(WATER)))
    for row, alpha, beta in zip(range(len(SCHNEIDER_PERCENT)), *tissue_parts(), strict=True):
        exact = energy_absorption(photon_tables(mass_fractions(row)))
        within = 0.004 if row < BONE else 0.05
        np.testing.assert_allclose((alpha * compton + beta * photo)[at], exact[at], rtol=within)
