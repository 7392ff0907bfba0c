"""The body as a CT shows it, wherever the scan ends: lungs that are cut on any side still belong to it."""

import numpy as np
import pytest

from nufitdose.anatomy.body import body_mask_from_ct
from nufitdose.grid import Grid
from nufitdose.io.nifti import load_volume
from nufitdose.volume import Quantity, Volume

ALL = slice(None)


def crop(volume: Volume, *where: slice) -> Volume:
    data = np.ascontiguousarray(volume.data[where])
    affine = volume.grid.affine.copy()
    affine[:3, 3] = volume.grid.world(
        np.array([s.indices(n)[0] for s, n in zip(where, volume.data.shape, strict=True)])
    )
    return Volume(data, Grid(data.shape, affine), volume.quantity)


def overlap(cut: Volume, whole: Volume) -> float:
    """Dice of the mask of a cut CT and that part of the mask of the whole one."""
    found = body_mask_from_ct(cut)
    a, b = found.data > 0.5, body_mask_from_ct(whole).resampled_to(found.grid).data > 0.5
    return 2.0 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.fixture(scope="module")
def thorax() -> Volume:
    """An ellipse with two lungs, a heart between them, air around and a thin couch of foam below; 4 mm."""
    grid = Grid.from_spacing((90, 70, 40), (4.0, 4.0, 4.0))
    x, y, z = np.moveaxis(grid.world(np.moveaxis(np.indices(grid.shape), 0, -1).astype(float)), -1, 0)
    hu = np.full(grid.shape, -1000.0, dtype=np.float32)
    hu[(x / 150) ** 2 + (y / 100) ** 2 < 1] = 20.0
    for side in (-1, 1):
        hu[((x - side * 75) / 50) ** 2 + (y / 75) ** 2 + (z / 90) ** 2 < 1] = -800.0
    couch = (y < -108) & (y > -132)
    hu[couch] = -940.0
    hu[couch & ((y > -112) | (y < -128))] = -150.0
    hu += np.random.default_rng(0).normal(0, 10, hu.shape).astype(np.float32)
    return Volume(hu, grid, Quantity.HU)


@pytest.mark.parametrize(
    "where",
    [
        (slice(0, 25), ALL, ALL),  # through a lung, its outer part kept
        (slice(18, 45), ALL, ALL),  # through a lung and the heart
        (slice(20, 70), slice(25, 50), ALL),  # the heart and parts of both lungs
        (slice(0, 25), ALL, slice(0, 18)),  # two cuts
        (ALL, slice(35, None), ALL),  # lengthwise
    ],
)
def test_lungs_belong_to_the_body_wherever_the_scan_cuts_them(thorax, where):
    assert overlap(crop(thorax, *where), thorax) > 0.97


def test_air_and_couch_stay_outside(thorax):
    found = body_mask_from_ct(thorax)
    x, y, _ = np.moveaxis(found.grid.world(np.moveaxis(np.indices(found.grid.shape), 0, -1).astype(float)), -1, 0)
    true = (x / 150) ** 2 + (y / 100) ** 2 < 1
    assert np.count_nonzero((found.data > 0.5) != true) < 0.03 * np.count_nonzero(true)


@pytest.mark.parametrize("where", [(slice(0, 70), ALL, ALL), (slice(60, 180), slice(30, 120), slice(40, 140))])
def test_a_real_chest_cut_sideways_keeps_its_lungs(real_data, where):
    whole = load_volume(real_data("totalseg_ct") / "thorax_ct_1p5mm.nii.gz", Quantity.HU)
    assert overlap(crop(whole, *where), whole) > 0.99
