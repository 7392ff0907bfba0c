"""Judging registrations: folding that central differences miss, known errors, known changes of activity."""

import numpy as np
import pytest
from scipy.spatial import KDTree

from nufitdose.grid import Grid
from nufitdose.registration.field import DisplacementField
from nufitdose.registration.quality import (
    activity_change_percent,
    registration_quality,
    target_registration_error_mm,
    undone_mm,
)
from nufitdose.registration.structure_quality import dice, hd95_mm, structure_agreement, structure_transport
from nufitdose.study import Structures, TimePoint
from nufitdose.volume import Quantity, Volume

GRID = Grid.from_spacing((30, 28, 26), (4.0, 4.0, 5.0), centre_mm=(10.0, -20.0, 300.0))


def world(grid: Grid) -> np.ndarray:
    return grid.world(np.moveaxis(np.indices(grid.shape), 0, -1).astype(float))


def shift(*mm: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = mm
    return matrix


def blobs(grid: Grid, moved_mm=(0.0, 0.0, 0.0), factor: float = 1.0) -> Volume:
    points = world(grid) - (10.0, -20.0, 300.0) - np.array(moved_mm)
    body = 1e4 / (1 + np.exp((np.linalg.norm(points / (45, 40, 50), axis=-1) - 1) * 20))
    hot = sum(
        2e5 * np.exp(-0.5 * (np.linalg.norm(points - centre, axis=-1) / 9) ** 2)
        for centre in ((15.0, 0.0, 10.0), (-20.0, 10.0, -15.0), (0.0, -15.0, 25.0))
    )
    return Volume((factor * (body + hot)).astype(np.float32), grid, Quantity.ACTIVITY)


def checkerboard(amplitude_voxels: float) -> DisplacementField:
    """Neighbouring voxels moved against each other along i: central differences do not see it."""
    sign = np.where(np.indices(GRID.shape).sum(axis=0) % 2, 1.0, -1.0)
    data = np.zeros((3, *GRID.shape), np.float32)
    data[0] = amplitude_voxels * GRID.spacing_mm[0] * sign
    return DisplacementField(data, GRID)


def test_identity_has_no_folding():
    statistics = DisplacementField.identity(GRID).jacobian_statistics()
    assert (statistics.folding_percent, statistics.ndv_percent) == (0, 0)
    assert statistics.minimum == pytest.approx(1, abs=1e-9)
    assert statistics.sd_log == pytest.approx(0, abs=1e-9)


def test_a_checkerboard_folds_where_central_differences_see_nothing():
    statistics = checkerboard(0.8).jacobian_statistics()
    assert statistics.folding_percent == 0
    assert statistics.minimum == pytest.approx(1, abs=1e-5)
    # forward and backward differences along i are 1 + 1.6 at one half of the voxels and 1 - 1.6 at the other, where
    # the rest of the gradient cancels out of the triangular determinant: eight of -0.6. The two tetrahedra stay 2.
    assert statistics.ndv_percent == pytest.approx(100 * 0.5 / 6 * 8 * 0.6 * 0.5, rel=0.05)
    assert checkerboard(0.4).jacobian_statistics().ndv_percent == 0


def test_ten_determinants_against_plain_numpy():
    """The published sum, written out with shifted arrays on an oblique anisotropic grid."""
    turned = np.array(GRID.affine)
    angle = np.radians(25)
    turned[:2, :3] = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ turned[:2, :3]
    grid = Grid(GRID.shape, turned)
    data = np.random.default_rng(0).normal(0, 2.5, (3, *grid.shape)).astype(np.float32)
    index = np.indices(grid.shape) + np.einsum("ab,bijk->aijk", grid.inverse_affine[:3, :3], data)

    def at(i, j, k):
        inner = [slice(1 + step, n - 1 + step) for step, n in zip((i, j, k), grid.shape, strict=True)]
        return index[(slice(None), *inner)]

    def determinant(*steps):
        rows = np.stack([at(*step) - at(0, 0, 0) for step in steps])
        return np.linalg.det(np.moveaxis(rows, (0, 1), (-2, -1)))

    negative = np.zeros(tuple(n - 2 for n in grid.shape))
    for i in (1, -1):
        for j in (1, -1):
            for k in (1, -1):
                negative += np.minimum(i * j * k * determinant((i, 0, 0), (0, j, 0), (0, 0, k)), 0)
    negative += np.minimum(determinant((-1, -1, 0), (-1, 0, -1), (0, -1, -1)), 0)
    negative += np.minimum(determinant((1, 1, 0), (0, 1, 1), (1, 0, 1)), 0)
    statistics = DisplacementField(data, grid).jacobian_statistics()
    assert negative.min() < -0.5
    assert statistics.ndv_percent == pytest.approx(-100 * negative.mean() / 12, rel=1e-4)


def test_a_mirror_folds_everywhere():
    mirror = np.diag([-1.0, 1.0, 1.0, 1.0])
    statistics = DisplacementField.from_affine(mirror, GRID).jacobian_statistics()
    assert statistics.folding_percent == 100
    assert statistics.minimum == pytest.approx(-1, abs=1e-4)
    assert statistics.ndv_percent == pytest.approx(100, rel=1e-4)  # (8 · 1 + 2 · 2) / 12 of every voxel


def test_folding_is_counted_in_the_mask():
    data = np.zeros((3, *GRID.shape), np.float32)
    data[2, 10, 10, 11], data[2, 10, 10, 9] = -12.0, 12.0  # passes its neighbour
    field, mask = DisplacementField(data, GRID), np.zeros(GRID.shape, bool)
    mask[10, 10, 10] = True
    assert field.jacobian_statistics(mask).folding_percent == 100
    assert field.jacobian_statistics(~mask).folding_percent == 0
    assert np.isnan(field.jacobian_statistics(np.zeros(GRID.shape, bool)).minimum)


def test_landmarks_have_the_error_they_were_given():
    fixed = GRID.world(np.random.default_rng(0).uniform(2, 20, (50, 3)))
    field = DisplacementField.from_affine(shift(5.0, -3.0, 2.0), GRID)
    moving = fixed + np.array([5.0 + 3.0, -3.0 + 4.0, 2.0])
    np.testing.assert_allclose(target_registration_error_mm(field, fixed, moving), 5.0, atol=1e-4)


def test_a_good_field_is_told_from_none():
    fixed = TimePoint.of("a", 1.0, blobs(GRID))
    moving = TimePoint.of("b", 2.0, blobs(GRID, (8.0, -6.0, 5.0), factor=0.3))
    points = GRID.world(np.random.default_rng(0).uniform(5, 20, (9, 3)))
    landmarks = (points, points + np.array([8.0, -6.0, 5.0]))
    good = DisplacementField.from_affine(shift(8.0, -6.0, 5.0), GRID)
    after = registration_quality(fixed, moving, good, landmarks_mm=landmarks)
    before = registration_quality(fixed, moving, DisplacementField.identity(GRID), landmarks_mm=landmarks)
    for name in ("ssim", "wssim", "lncc", "mi"):
        assert getattr(after, name) > getattr(before, name) + 0.05
    assert min(after.ssim, after.wssim, after.lncc) > 0.95  # although the activity fell to 30 %
    assert after.tre_mm == pytest.approx(0, abs=1e-3)
    assert before.tre_mm == pytest.approx(np.sqrt(125), abs=1e-3)
    assert after.displacement_max_mm == pytest.approx(np.sqrt(125), abs=1e-3)
    assert after.folding_percent == after.ndv_percent == before.displacement_max_mm == 0
    assert after.activity_change_percent == pytest.approx(0, abs=0.01)
    assert np.isnan(registration_quality(fixed, moving, good).tre_mm)


def test_perfect_agreement_is_one():
    fixed = TimePoint.of("a", 1.0, blobs(GRID))
    quality = registration_quality(fixed, fixed, DisplacementField.identity(GRID))
    assert quality.ssim == quality.wssim == pytest.approx(1, abs=1e-5)
    assert 0.9 < quality.lncc < 1  # flat windows count as unlike


def test_scans_that_do_not_meet_have_no_similarity():
    far = Grid.from_spacing(GRID.shape, GRID.spacing_mm, centre_mm=(9e3, 0.0, 0.0))
    fixed, moving = (
        TimePoint.of("a", 1.0, blobs(GRID)),
        TimePoint.of("b", 2.0, Volume(blobs(GRID).data, far, Quantity.ACTIVITY)),
    )
    quality = registration_quality(fixed, moving, DisplacementField.identity(GRID))
    assert np.isnan([quality.ssim, quality.wssim, quality.lncc, quality.mi, quality.activity_change_percent]).all()
    assert quality.jacobian_min == pytest.approx(1, abs=1e-9)


def test_transported_concentration_changes_the_total_by_the_volume():
    """Everything shrinks by 0.9 along each axis on its way to the fixed scan: the total falls to 0.9³."""
    matrix = np.diag([1 / 0.9, 1 / 0.9, 1 / 0.9, 1.0])
    matrix[:3, 3] = GRID.centre_mm * (1 - 1 / 0.9)
    field = DisplacementField.from_affine(matrix, GRID)
    warped = field.warp(blobs(GRID)).data
    assert activity_change_percent(warped, field.jacobian_determinant()) == pytest.approx(100 * (0.9**3 - 1), abs=0.01)
    conserved = float((warped * field.jacobian_determinant()).sum())
    assert conserved == pytest.approx(float(blobs(GRID).data.sum()), rel=5e-3)
    fixed = TimePoint.of("a", 1.0, blobs(GRID))
    quality = registration_quality(fixed, fixed, field)
    assert quality.activity_change_percent == pytest.approx(100 * (0.9**3 - 1), abs=0.01)
    assert np.isnan(activity_change_percent(np.zeros_like(warped), warped))


def boxes(grid: Grid, places: dict[int, tuple[float, float, float]], names: dict[int, str]) -> Structures:
    labels = np.zeros(grid.shape, np.uint8)
    for label, centre in places.items():
        labels[(np.abs(world(grid) - centre) < 13).all(axis=-1)] = label
    return Structures((Volume(labels, grid, Quantity.LABELS),), names)


def test_structures_known_on_both_scans_are_compared():
    fixed = boxes(
        GRID,
        {1: (20.0, -20.0, 300.0), 2: (-14.0, -32.0, 280.0), 3: (22.0, 12.0, 320.0)},
        {1: "liver", 2: "tumour", 3: "spleen"},
    )
    other = Grid.from_spacing((40, 40, 40), (3.0, 3.0, 3.0), centre_mm=(18.0, -26.0, 305.0))
    moved = boxes(other, {7: (28.0, -26.0, 305.0), 4: (-6.0, -38.0, 285.0)}, {7: "liver", 4: "tumour", 9: "kidney"})
    rows = structure_agreement(fixed, moved, DisplacementField.from_affine(shift(8.0, -6.0, 5.0), GRID))
    assert [row.structure for row in rows] == ["liver", "tumour"]
    for row in rows:
        assert row.centroid_before_mm == pytest.approx(np.sqrt(125), abs=2.5)
        assert row.centroid_after_mm < 2.5
        assert row.dice_before < 0.6
        assert row.dice_after > 0.75


def test_dice_of_halves():
    a, b = np.zeros((2, 4, 4, 4), bool)
    a[:2], b[1:3] = True, True
    assert dice(a, b) == 0.5
    assert dice(a, a) == 1
    assert np.isnan(dice(a & ~a, b & ~b))


def test_surfaces_lie_as_far_apart_as_they_were_put():
    """Two equal boxes shifted by three voxels along k: the farthest surfaces are three voxels of 5 mm apart."""
    a, b = np.zeros((2, *GRID.shape), bool)
    a[8:16, 8:16, 6:12] = True
    b[8:16, 8:16, 9:15] = True
    assert hd95_mm(a, b, GRID) == pytest.approx(15.0)
    assert hd95_mm(a, a, GRID) == 0
    assert np.isnan(hd95_mm(a, a & ~a, GRID))


def test_surfaces_against_nearest_points():
    """The same by nearest neighbours among the surface voxels, found in their positions in mm."""
    chance = np.random.default_rng(3)
    a = np.linalg.norm(world(GRID) - (10, -20, 300), axis=-1) < 30
    b = np.linalg.norm((world(GRID) - (16, -24, 309)) / (1.0, 0.8, 1.2), axis=-1) < 30
    b &= chance.uniform(size=b.shape) > 0.02
    surfaces = []
    for mask in (a, b):
        inner = mask.copy()
        for axis in range(3):
            for step in (1, -1):
                inner &= np.roll(mask, step, axis)
        surfaces.append(world(GRID)[mask & ~inner])
    there, back = (KDTree(surfaces[1 - n]).query(surfaces[n])[0] for n in (0, 1))
    assert hd95_mm(a, b, GRID) == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)), rel=1e-6)


def test_a_field_and_its_way_back():
    smooth = np.zeros((3, *GRID.shape), np.float32)
    smooth[0] = 8 * np.exp(-(((world(GRID) - (10, -20, 300)) / 30) ** 2).sum(axis=-1))
    where = np.ones(GRID.shape, bool)
    assert undone_mm(DisplacementField(smooth, GRID), where) < 0.1
    assert undone_mm(checkerboard(0.8), where) > 0.5
    assert undone_mm(DisplacementField.identity(GRID), where) == 0
    assert np.isnan(undone_mm(DisplacementField.identity(GRID), ~where))


def test_a_stretch_shows_in_the_spread_and_the_bounds():
    field = DisplacementField.from_affine(np.diag([2.5, 1.0, 1.0, 1.0]), GRID)
    statistics = field.jacobian_statistics()
    assert statistics.maximum == pytest.approx(2.5, rel=1e-5)
    assert statistics.beyond_percent == 100
    data = np.zeros((3, *GRID.shape), np.float32)
    data[0, 15:] = 3.6 * np.arange(15)[:, None, None]  # one half at rest, the other stretched to 1.9 times its length
    spread = DisplacementField(data, GRID).jacobian_statistics()
    assert spread.sd_log == pytest.approx(np.log(1.9) / 2, rel=0.1)
    assert spread.beyond_percent == 0


def test_the_body_that_the_scan_does_not_show_is_told():
    fixed = TimePoint.of("a", 1.0, blobs(GRID))
    half = Grid.from_spacing((15, 28, 26), GRID.spacing_mm, centre_mm=(10.0 - 30.0, -20.0, 300.0))
    moving = TimePoint.of("b", 2.0, blobs(half))
    assert registration_quality(fixed, fixed, DisplacementField.identity(GRID)).overlap_percent == 100
    assert registration_quality(fixed, moving, DisplacementField.identity(GRID)).overlap_percent == pytest.approx(
        50, abs=4
    )


def test_structures_keep_their_activity_or_it_is_told():
    """Everything is shrunk to 0.9 along each axis: concentration transported, the total falls to 0.9³."""
    matrix = np.diag([1 / 0.9, 1 / 0.9, 1 / 0.9, 1.0])
    matrix[:3, 3] = GRID.centre_mm * (1 - 1 / 0.9)
    field = DisplacementField.from_affine(matrix, GRID)
    drawn = boxes(GRID, {1: (20.0, -20.0, 300.0), 2: (-14.0, -32.0, 280.0)}, {1: "liver", 2: "tumour"})
    warped = field.warp(blobs(GRID))
    sure = Volume(np.full(GRID.shape, 1.5, np.float32), GRID, Quantity.SCALAR)
    rows = structure_transport(drawn, warped, field, sure)
    assert [row.structure for row in rows] == ["liver", "tumour"]
    for row in rows:
        mask, _ = drawn.mask(row.structure)
        assert row.activity_mbq == pytest.approx(warped.total_mbq(mask), rel=1e-6)
        assert row.activity_change_percent == pytest.approx(100 * (0.9**3 - 1), abs=0.01)
        assert row.activity_mbq / row.activity_conserved_mbq == pytest.approx(0.9**3, rel=1e-4)
        assert row.u_registration_mm == pytest.approx(1.5)
