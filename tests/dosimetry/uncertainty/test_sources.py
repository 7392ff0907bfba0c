"""Whose activity a dose is from, against the dose of the structure's own activity alone."""

import numpy as np
import pytest

from dosimetry.config import DoseSettings
from dosimetry.dose import absorbed_dose
from dosimetry.uncertainty.sources import Sources, own_shares
from nufitdose.anatomy.regions import Region
from nufitdose.grid import Grid
from nufitdose.volume import Quantity, Volume

GRID = Grid.from_spacing((36, 24, 24), (4.0, 4.0, 4.0))


def ball_at(centre_mm, radius_mm=18.0):
    index = np.stack(np.meshgrid(*[np.arange(float(n)) for n in GRID.shape], indexing="ij"), -1)
    distance = np.linalg.norm(GRID.world(index) - GRID.centre_mm - centre_mm, axis=-1)
    return (distance < radius_mm).astype(np.float32)


def shares(dose, tia, mask, **settings):
    index = np.flatnonzero(mask)
    region = Region(index, np.full(index.size, GRID.voxel_volume_ml), 0.0)
    tia_mbq_h = {"ball": 1e-6 * region.integral(tia)}
    return own_shares("I-131", tia_mbq_h, {"ball": region}, dose, None, DoseSettings(**settings))["ball"]


def dose_of(tia):
    return absorbed_dose(tia, nuclide="I-131").dose


@pytest.mark.parametrize("others", [0.0, 1.0, 10.0])
def test_the_share_is_that_of_the_own_activity_alone(others):
    ball, neighbour = ball_at((-30.0, 0.0, 0.0)), ball_at((20.0, 0.0, 0.0), 28.0)
    own, both = (Volume(1e9 * tia, GRID, Quantity.TIA) for tia in (ball, ball + others * neighbour))
    dose = dose_of(both)
    true = float((dose_of(own).data * ball).sum() / (dose.data * ball).sum())
    assert (true > 0.99) == (others == 0.0)
    assert shares(dose, both, ball) == pytest.approx(true, rel=0.03)


def test_energy_that_stays_is_the_structures_own():
    ball = ball_at((0.0, 0.0, 0.0))
    tia = Volume(1e9 * ball, GRID, Quantity.TIA)
    assert shares(tia.with_data(100.0 * tia.data), tia, ball, engine="local") == 1.0


def test_others_count_by_what_they_give():
    part = Sources(own_share=0.7, u_elsewhere=0.05).part
    assert (part.tia, part.dose) == (0.0, pytest.approx(0.015))
