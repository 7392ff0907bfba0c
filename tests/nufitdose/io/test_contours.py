"""Contours to voxels: point-in-polygon as others compute it, volumes as geometry gives them."""

import math

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Polygon

from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.io.contours import rasterise
from nufitdose.io.lps import RAS_LPS

UNIT = Grid((40, 30, 20), np.eye(4))


def oblique_grid(shape=(60, 50, 30), spacing=(1.5, 2.0, 3.0)) -> Grid:
    a, b = 0.3, -0.2
    turn = np.array([[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]]) @ np.array(
        [[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]]
    )
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(spacing) @ np.diag([-1, 1, 1])
    affine[:3, 3] = (40.0, -70.0, 15.0)
    return Grid(shape, affine)


def flat(points, k: float, grid: Grid = UNIT) -> np.ndarray:
    """In-plane voxel coordinates at slice k, in mm."""
    return grid.world(np.column_stack([np.asarray(points, dtype=float), np.full(len(points), float(k))]))


def square(low: float, high: float) -> list[tuple[float, float]]:
    return [(low, low), (high, low), (high, high), (low, high)]


def sphere(grid: Grid, centre, radius_mm: float, planes, points: int = 90) -> list[np.ndarray]:
    """Circles where a sphere around a voxel position meets the planes k."""
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    found = []
    for k in planes:
        height = (k - centre[2]) * grid.spacing_mm[2]
        if abs(height) < radius_mm:
            r = math.sqrt(radius_mm**2 - height**2) / np.array(grid.spacing_mm[:2])
            found.append(flat(np.column_stack([np.cos(angle), np.sin(angle)]) * r + centre[:2], k, grid))
    return found


def whole(found, grid: Grid) -> np.ndarray:
    mask = np.zeros(grid.shape, dtype=bool)
    mask[found.box] = found.mask
    return mask


def test_a_box_has_its_voxels_and_its_volume():
    found = rasterise([flat(square(2.5, 7.5), k) for k in range(4, 8)], UNIT)
    expected = np.zeros(UNIT.shape, dtype=bool)
    expected[3:8, 3:8, 4:8] = True
    np.testing.assert_array_equal(whole(found, UNIT), expected)
    assert found.contours_ml == pytest.approx(0.1, rel=1e-9)
    assert found.inside_ml == pytest.approx(0.1, rel=1e-9)
    assert found.voxels_ml == pytest.approx(0.1, rel=1e-9)
    assert found.spacing_mm == pytest.approx(1.0)
    assert found.empty_slices == 0


def test_edges_through_voxel_centres_are_counted_once():
    """Unbiased: a square whose edges run through centres has as many voxels as it has area."""
    left = rasterise([flat([(5, 5), (10, 5), (10, 15), (5, 15)], 3)], UNIT)
    right = rasterise([flat([(10, 5), (20, 5), (20, 15), (10, 15)], 3)], UNIT)
    both = rasterise([flat([(5, 5), (20, 5), (20, 15), (5, 15)], 3)], UNIT)
    assert left.mask.sum() == 50
    assert right.mask.sum() == 100
    assert not (whole(left, UNIT) & whole(right, UNIT)).any()
    np.testing.assert_array_equal(whole(left, UNIT) | whole(right, UNIT), whole(both, UNIT))


def test_decimals_of_the_file_do_not_decide_a_tie():
    exact = rasterise([flat(square(5, 15), 3)], UNIT)
    rng = np.random.default_rng(3)
    for _ in range(5):
        shaken = flat(square(5, 15), 3) + rng.uniform(-1e-8, 1e-8, (4, 3))
        np.testing.assert_array_equal(whole(rasterise([shaken], UNIT), UNIT), whole(exact, UNIT))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_agrees_with_point_in_polygon_of_matplotlib(seed):
    rng = np.random.default_rng(seed)
    grid = oblique_grid((160, 150, 3))
    angle = np.sort(rng.uniform(0, 2 * np.pi, 40))
    radius = rng.uniform(45, 70, 40)
    polygon = np.column_stack([80 + radius * np.cos(angle), 75 + radius * np.sin(angle)])
    found = rasterise([flat(polygon, 1, grid)], grid)
    i, j = np.meshgrid(np.arange(160), np.arange(150), indexing="ij")
    expected = Polygon(polygon).contains_points(np.column_stack([i.ravel(), j.ravel()])).reshape(160, 150)
    np.testing.assert_array_equal(whole(found, grid)[:, :, 1], expected)
    x, y = polygon.T
    shoelace = abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
    assert found.contours_ml == pytest.approx(shoelace * grid.voxel_volume_ml, rel=1e-4)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), turn=st.integers(0, 11), backwards=st.booleans(), closed=st.booleans())
def test_start_direction_and_closing_point_do_not_matter(seed, turn, backwards, closed):
    rng = np.random.default_rng(seed)
    polygon = flat(rng.uniform(3, 27, (12, 2)), 5)  # crosses itself
    other = np.roll(polygon, turn, axis=0)
    other = other[::-1] if backwards else other
    other = np.concatenate([other, other[:1]]) if closed else other
    first, second = rasterise([polygon], UNIT), rasterise([other], UNIT)
    np.testing.assert_array_equal(whole(first, UNIT), whole(second, UNIT))
    assert first.contours_ml == pytest.approx(second.contours_ml, rel=1e-9)


def test_holes_by_a_second_contour_and_by_a_keyhole_are_the_same():
    outer, inner = square(4, 25), square(10, 18)
    nested = rasterise([flat(outer, 5), flat(inner, 5)], UNIT)
    keyhole = [outer[0], outer[1], outer[2], outer[3], outer[0], inner[0], inner[3], inner[2], inner[1], inner[0]]
    by_keyhole = rasterise([flat(keyhole, 5)], UNIT)
    np.testing.assert_array_equal(whole(nested, UNIT), whole(by_keyhole, UNIT))
    assert nested.mask.sum() == 21**2 - 8**2
    assert nested.contours_ml == pytest.approx((21**2 - 8**2) / 1000)
    assert by_keyhole.contours_ml == pytest.approx(nested.contours_ml, rel=1e-9)


def test_an_island_in_a_hole_counts_again():
    found = rasterise([flat(square(2, 26), 5), flat(square(6, 22), 5), flat(square(10, 14), 5)], UNIT)
    assert found.mask.sum() == 24**2 - 16**2 + 4**2


@pytest.mark.parametrize("step", [0.25, 0.4, 0.5, 1.0, 1.25, 2.0, 3.0])
@pytest.mark.parametrize("start", [4.0, 4.3])
def test_contours_between_slices_fill_slabs(step, start):
    """A prism keeps its volume whatever the contour spacing is against the slices."""
    planes = start + step * np.arange(round(10 / step))
    found = rasterise([flat(square(5.5, 15.5), k) for k in planes], UNIT)
    assert found.contours_ml == pytest.approx(len(planes) * step * 0.1)
    assert found.spacing_mm == pytest.approx(step)
    assert found.empty_slices == 0
    assert found.voxels_ml == pytest.approx(found.contours_ml, rel=0.011)
    filled = np.flatnonzero(whole(found, UNIT).any(axis=(0, 1)))
    np.testing.assert_array_equal(filled, np.arange(filled[0], filled[-1] + 1))
    assert abs((filled[0] + filled[-1]) / 2 - (planes[0] + planes[-1]) / 2) <= 0.5


def test_each_slice_takes_the_nearest_plane():
    small, large = square(5.5, 9.5), square(5.5, 15.5)
    found = rasterise([flat(small if n < 4 else large, 4.1 + 1.25 * n) for n in range(8)], UNIT)
    sizes = whole(found, UNIT).sum(axis=(0, 1))
    assert np.count_nonzero(sizes) == 10
    planes = 4.1 + 1.25 * np.arange(8)
    for k in np.flatnonzero(sizes):
        nearest = int(np.argmin(np.abs(planes - k)))
        assert sizes[k] == (16 if nearest < 4 else 100)


def test_a_gap_between_contours_stays_empty_and_is_counted():
    planes = [4, 5, 6, 7, 11, 12, 13, 14]
    found = rasterise([flat(square(5.5, 15.5), k) for k in planes], UNIT)
    np.testing.assert_array_equal(np.flatnonzero(whole(found, UNIT).any(axis=(0, 1))), planes)
    assert found.empty_slices == 3


def test_one_contour_fills_one_slice():
    found = rasterise([flat(square(5.5, 15.5), 7.2)], UNIT)
    np.testing.assert_array_equal(np.flatnonzero(whole(found, UNIT).any(axis=(0, 1))), [7])
    assert found.contours_ml == pytest.approx(0.1)


def test_two_contours_far_apart_do_not_fill_what_lies_between():
    found = rasterise([flat(square(5.5, 15.5), k) for k in (3, 15)], UNIT)
    np.testing.assert_array_equal(np.flatnonzero(whole(found, UNIT).any(axis=(0, 1))), [3, 15])
    assert found.empty_slices == 11


def test_contours_on_one_plane_up_to_rounding_are_one_plane():
    found = rasterise([flat(square(5.5, 15.5), 7.0), flat(square(8.5, 12.5), 7.004)], UNIT)
    assert found.mask.sum() == 100 - 16


def test_contours_across_the_slices_are_refused():
    tilted = flat(square(5, 15), 5)
    tilted[:, 2] += 0.2 * tilted[:, 0]
    with pytest.raises(InputError, match=r"spans 2\.00 mm across slices 1\.00 mm apart.*Export"):
        rasterise([tilted], UNIT)


def test_what_lies_outside_the_field_of_view_is_cut_and_told():
    found = rasterise([flat([(-10.5, 4.5), (9.5, 4.5), (9.5, 14.5), (-10.5, 14.5)], k) for k in (-1, 0, 1)], UNIT)
    assert found.contours_ml == pytest.approx(0.6)
    assert found.inside_ml == pytest.approx(0.2)
    assert found.voxels_ml == pytest.approx(0.2)
    gone = rasterise([flat(square(100, 120), 5)], UNIT)
    assert gone.mask.size == 0
    assert gone.inside_ml == 0.0
    assert gone.voxels_ml == 0.0


@settings(max_examples=60, deadline=None)
@given(
    offset=st.tuples(*[st.floats(-0.5, 0.5)] * 3),
    radius_mm=st.floats(3.0, 25.0),
    contour_step=st.sampled_from([0.3, 0.5, 0.7, 1.0]),
)
def test_small_structures_keep_their_volume(offset, radius_mm, contour_step):
    """As many voxels as the contours enclose: to 1 %, or to half a voxel where that is more."""
    grid = oblique_grid((30, 24, 22), (2.4, 3.0, 4.0))
    centre = np.array([15.0, 12.0, 11.0]) + offset
    planes = np.arange(0, 22, contour_step)
    contours = sphere(grid, centre, radius_mm, planes)
    found = rasterise(contours, grid)
    assert abs(found.voxels_ml - found.inside_ml) <= max(0.0101 * found.inside_ml, 0.501 * grid.voxel_volume_ml)
    if len(contours) > 8:
        assert found.contours_ml == pytest.approx(4 / 3 * np.pi * radius_mm**3 / 1000, rel=0.02)
    if found.voxels_ml > 2.0:
        place = np.argwhere(whole(found, grid)).mean(axis=0)
        assert np.abs((place - centre) * grid.spacing_mm).max() < 0.5 * max(grid.spacing_mm)


# polygon volumes as the README of the data gives them; Lt Lung: even-odd on the dose grid
BREAST_PLAN_ML = {
    "BODY": 14880.74,
    "Borders": 1.29,
    "Breast": 400.05,
    "Heart": 439.70,
    "Lt Lung": 2004.53,
    "Nodes": 0.67,
    "Scar": 0.51,
    "Tumor Bed": 13.16,
    "Tumor Bed Block": 63.83,
}


def dose_grid() -> Grid:
    lps = np.diag([2.5, 2.5, 3.0, 1.0])
    lps[:3, 3] = (-228.6541915, -419.2444776, -122.4407)
    return Grid((194, 129, 98), RAS_LPS @ lps)


def breast_plan(folder) -> dict[str, list[np.ndarray]]:
    file = pydicom.dcmread(folder / "breast_plan" / "rtss.dcm")
    names = {roi.ROINumber: roi.ROIName for roi in file.StructureSetROISequence}
    return {
        names[roi.ReferencedROINumber]: [
            np.array(contour.ContourData, dtype=float).reshape(-1, 3) * (-1, -1, 1) for contour in roi.ContourSequence
        ]
        for roi in file.ROIContourSequence
        if roi.get("ContourSequence")
    }


def test_the_breast_plan_has_its_volumes(real_data):
    contours = breast_plan(real_data("rt_dicom"))
    found = {name: rasterise(polygons, dose_grid()) for name, polygons in contours.items()}
    for name, volume_ml in BREAST_PLAN_ML.items():
        assert found[name].contours_ml == pytest.approx(volume_ml, rel=5e-4, abs=0.006), name
        if volume_ml > 2.0:
            assert found[name].voxels_ml == pytest.approx(volume_ml, rel=0.01), name
    assert found["Lt Lung"].voxels_ml == pytest.approx(2004.53, rel=1e-4)
    assert len(contours["Lt Lung"]) == 165  # up to seven on a slice, nested ones included
