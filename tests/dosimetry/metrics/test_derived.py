"""Derived structures against the volumes that geometry gives them."""

import math

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.spatial.transform import Rotation

from dosimetry.config import DerivedSettings
from dosimetry.metrics.derived import derive_region
from nufitdose.grid import Grid
from nufitdose.study import Structures
from nufitdose.volume import Quantity, Volume

TURN = Rotation.from_euler("xyz", [20.0, -35.0, 50.0], degrees=True).as_matrix()


def oblique(shape, spacing_mm, centre_mm=(3.0, -7.0, 11.0)):
    """A turned, anisotropic grid around a point."""
    affine = np.eye(4)
    affine[:3, :3] = TURN * np.asarray(spacing_mm)
    affine[:3, 3] = np.asarray(centre_mm) - affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    return Grid(shape, affine)


FINE = oblique((60, 56, 40), (2.0, 2.0, 3.0))
COARSE = Grid.from_spacing((40, 40, 40), (4.0, 4.8, 4.4), centre_mm=(3.0, -7.0, 11.0))


def drawn(**masks):
    """Structures of boxes `(low, high)` in voxels of the fine grid, one layer each."""
    layers, names = [], {}
    for label, (name, (low, high)) in enumerate(masks.items(), start=1):
        data = np.zeros(FINE.shape, dtype=np.uint8)
        data[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = label
        layers.append(Volume(data, FINE, Quantity.LABELS))
        names[label] = name
    return Structures(tuple(layers), names)


LIVER, LESION = ((20, 18, 12), (40, 36, 26)), ((30, 30, 20), (44, 34, 23))
TWO = drawn(liver=LIVER, lesion=LESION)


def sides_mm(box):
    return [(b - a) * s for a, b, s in zip(*box, FINE.spacing_mm, strict=True)]


def steiner_ml(box, margin_mm):
    """Volume of all within `margin_mm` of a box: abc + 2(ab + bc + ca) m + π(a + b + c) m² + 4/3 π m³."""
    a, b, c = sides_mm(box)
    m = margin_mm
    return (a * b * c + 2 * (a * b + b * c + c * a) * m + math.pi * (a + b + c) * m**2 + 4 / 3 * math.pi * m**3) / 1e3


def ml(of_what, grid=COARSE, structures=TWO):
    return derive_region(DerivedSettings(**of_what), structures, grid).volume_ml


@pytest.mark.parametrize("grid", [COARSE, FINE], ids=["another grid", "its own grid"])
def test_union_and_difference_count_common_voxels_once(grid):
    liver, lesion = (math.prod(sides_mm(box)) / 1e3 for box in (LIVER, LESION))
    common = 10 * 4 * 3 * FINE.voxel_volume_ml
    close = {"rel": 1e-9}
    assert ml({"of": ["liver"]}, grid) == pytest.approx(liver, **close)
    assert ml({"of": ["liver", "lesion"]}, grid) == pytest.approx(liver + lesion - common, **close)
    assert ml({"of": ["liver"], "without": ["lesion"]}, grid) == pytest.approx(liver - common, **close)
    assert ml({"of": ["lesion"], "without": ["liver"]}, grid) == pytest.approx(lesion - common, **close)
    assert ml({"of": ["lesion"], "without": ["liver", "lesion"]}, grid) == 0.0


@pytest.mark.parametrize("margin_mm", [3.0, 8.5, 15.0])
def test_a_margin_gives_the_volume_of_steiner(margin_mm):
    assert ml({"of": ["liver"], "margin_mm": margin_mm}) == pytest.approx(steiner_ml(LIVER, margin_mm), rel=0.015)


def test_a_negative_margin_takes_it_off_every_side():
    wanted = math.prod(side - 2 * 5.0 for side in sides_mm(LIVER)) / 1e3
    assert ml({"of": ["liver"], "margin_mm": -5.0}) == pytest.approx(wanted, rel=0.02)
    assert ml({"of": ["liver"], "margin_mm": -60.0}) == 0.0


GRIDS = {
    "isotropic": Grid.from_spacing((54, 54, 54), (1.5, 1.5, 1.5), centre_mm=(3.2, -7.1, 11.3)),
    "coarse": Grid.from_spacing((24, 24, 24), (4.0, 4.0, 4.0), centre_mm=(4.1, -6.2, 11.7)),
    "oblique, flat voxels": oblique((44, 44, 20), (2.0, 2.0, 5.0), centre_mm=(3.4, -6.6, 12.0)),
}


def drawn_on(grid, inside):
    """One structure of the voxels whose centres lie inside."""
    centres = grid.world(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1).reshape(-1, 3))
    data = inside(centres.astype(float) - (3.0, -7.0, 11.0)).reshape(grid.shape).astype(np.uint8)
    return Structures((Volume(data, grid, Quantity.LABELS),), {1: "body"})


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_a_drawn_ball_grows_and_shrinks_to_balls(grid):
    """Grown to 2 % of the volume, its shell to 4 %; shrunk to a tenth of the longest side of a voxel in radius."""
    body = drawn_on(grid, lambda x: np.linalg.norm(x, axis=1) <= 20.0)
    volume_ml = lambda r: 4 / 3 * math.pi * r**3 / 1e3  # noqa: E731
    drawn_ml = body.volume_ml("body") / volume_ml(20.0)
    for margin_mm in (3.0, 10.0):
        found_ml = ml({"of": ["body"], "margin_mm": margin_mm}, COARSE, body) / drawn_ml
        assert found_ml == pytest.approx(volume_ml(20.0 + margin_mm), rel=0.02), margin_mm
    shell_ml = ml({"of": ["body"], "shell_mm": [0.0, 5.0]}, COARSE, body) / drawn_ml
    assert shell_ml == pytest.approx(volume_ml(25.0) - volume_ml(20.0), rel=0.04)
    for margin_mm in (-5.0, -10.0):
        left_ml = ml({"of": ["body"], "margin_mm": margin_mm}, COARSE, body) / drawn_ml
        radius_mm = (3 / 4 / math.pi * left_ml * 1e3) ** (1 / 3)
        assert radius_mm == pytest.approx(20.0 + margin_mm, abs=0.1 * max(grid.spacing_mm)), margin_mm


def test_a_box_across_the_grid_grows_as_steiner_says():
    """Its edges, which voxels cannot show, are rounded: 3 % of the volume."""
    half = np.array([20.0, 18.0, 21.0])
    across = oblique((50, 50, 34), (2.0, 2.0, 3.0), (3.0, -7.0, 11.0))
    body = drawn_on(across, lambda x: (np.abs(x) <= half).all(axis=1))
    for margin_mm in (3.0, 8.0):
        a, b, c = 2.0 * half
        m = margin_mm
        wanted = a * b * c + 2 * (a * b + b * c + c * a) * m + math.pi * (a + b + c) * m**2 + 4 / 3 * math.pi * m**3
        assert ml({"of": ["body"], "margin_mm": m}, COARSE, body) == pytest.approx(wanted / 1e3, rel=0.03)
    wanted = math.prod(2.0 * half - 10.0) / 1e3
    assert ml({"of": ["body"], "margin_mm": -5.0}, COARSE, body) == pytest.approx(wanted, rel=0.03)


def test_what_is_as_thin_as_a_voxel_is_not_lost():
    """A needle of one voxel and a plate of one voxel, each with 6 mm around: Steiner's volumes, within a quarter."""
    for box in (((20, 20, 14), (21, 21, 26)), ((14, 14, 18), (34, 34, 19))):
        thin = drawn(thin=box)
        assert ml({"of": ["thin"], "margin_mm": 6.0}, COARSE, thin) == pytest.approx(steiner_ml(box, 6.0), rel=0.25)


def test_shells_lie_outside_inside_or_across_the_surface():
    a, b, c = sides_mm(LIVER)
    within = (a * b * c - (a - 8) * (b - 8) * (c - 8)) / 1e3
    around = steiner_ml(LIVER, 10.0) - steiner_ml(LIVER, 5.0)
    assert ml({"of": ["liver"], "shell_mm": [-4.0, 0.0]}) == pytest.approx(within, rel=0.02)
    assert ml({"of": ["liver"], "shell_mm": [5.0, 10.0]}) == pytest.approx(around, rel=0.02)
    across = steiner_ml(LIVER, 4.0) - a * b * c / 1e3 + within
    assert ml({"of": ["liver"], "shell_mm": [-4.0, 4.0]}) == pytest.approx(across, rel=0.02)


@pytest.mark.parametrize("grid", [COARSE, oblique((30, 30, 30), (5.0, 3.0, 6.0))], ids=["along", "oblique"])
def test_balls_have_their_volume_margin_and_shell(grid):
    ball = {"at_mm": (4.0, -6.0, 9.0), "radius_mm": 20.0}
    volume_ml = lambda r: 4 / 3 * math.pi * r**3 / 1e3  # noqa: E731
    assert ml(ball, grid, None) == pytest.approx(volume_ml(20.0), rel=0.005)
    assert ml({**ball, "margin_mm": 5.0}, grid, None) == pytest.approx(volume_ml(25.0), rel=0.005)
    shell = {**ball, "shell_mm": (0.0, 5.0)}
    assert ml(shell, grid, None) == pytest.approx(volume_ml(25.0) - volume_ml(20.0), rel=0.01)


def test_the_middle_of_a_ball_is_where_it_was_put():
    region = derive_region(DerivedSettings(at_mm=(-9.0, 14.0, 20.0), radius_mm=10.0), None, COARSE)
    centres = COARSE.world(np.stack(np.unravel_index(region.index, COARSE.shape), -1))
    np.testing.assert_allclose(region.part_ml @ centres / region.volume_ml, (-9.0, 14.0, 20.0), atol=0.05)


def test_what_lies_beyond_the_grid_is_counted_apart():
    low = COARSE.world(np.array([0.0, 20.0, 20.0])) - (2.0, 0.0, 0.0)  # in the first face, half of it outside
    region = derive_region(DerivedSettings(at_mm=tuple(low), radius_mm=12.0), None, COARSE)
    assert region.volume_ml == pytest.approx(region.outside_ml, rel=0.01)
    assert region.volume_ml + region.outside_ml == pytest.approx(4 / 3 * math.pi * 1.2**3, rel=0.01)


def test_without_may_have_a_margin():
    kept = ml({"of": ["liver"], "without": ["lesion"], "without_margin_mm": 4.0})
    assert kept < ml({"of": ["liver"], "without": ["lesion"]})
    grown = ml({"of": ["lesion"], "margin_mm": 4.0})
    apart = ml({"of": ["lesion"], "margin_mm": 4.0, "without": ["liver"]})
    assert kept == pytest.approx(ml({"of": ["liver"]}) - (grown - apart), rel=0.005)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({}, "either 'of'"),
        ({"of": ["liver"], "at_mm": (0, 0, 0), "radius_mm": 3}, "either 'of'"),
        ({"at_mm": (0, 0, 0)}, "needs both"),
        ({"of": ["liver"], "shell_mm": (5, 5)}, "the smaller first"),
        ({"of": ["liver"], "shell_mm": (0, 5), "margin_mm": 1}, "no margin_mm"),
        ({"of": ["liver"], "without_margin_mm": 1}, "no structure under 'without'"),
    ],
)
def test_what_cannot_be_meant_is_refused(asked, says):
    with pytest.raises(ValidationError, match=says):
        DerivedSettings(**asked)
