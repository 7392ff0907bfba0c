"""What is measured on images: outlines, shifts, noise, and what of Ã hangs on each point; against closed forms."""

import numpy as np
import pytest
from scipy import ndimage

from dosimetry.config import UncertaintySettings
from dosimetry.curves.fits import organ_by_average, representative_fit
from dosimetry.curves.points import OrganPoints
from dosimetry.curves.structures import StructureCurve
from dosimetry.kinetics import fit_organ
from dosimetry.recovery.partition import partition
from dosimetry.recovery.point_spread import PointSpread
from dosimetry.recovery.transfer import transfer_matrix
from dosimetry.uncertainty.counting import measure_noise
from dosimetry.uncertainty.displacement import relative_change_of_stretch, relative_u_of_shift
from dosimetry.uncertainty.outline import Outline, relative_u_of_rounding
from dosimetry.uncertainty.points import point_errors
from dosimetry.uncertainty.sensitivity import sensitivities
from nufitdose.anatomy.regions import Region
from nufitdose.grid import Grid
from nufitdose.psf import blur
from nufitdose.registration.series import Frame
from nufitdose.registration.structure_quality import StructureTransport
from nufitdose.volume import Quantity, Volume

LU177_H = 159.528
GRID = Grid.from_spacing((40, 40, 40), (2.0, 2.0, 2.0))
R_MM = 20.0


def distance_mm(grid=GRID):
    index = np.stack(np.meshgrid(*[np.arange(float(n)) for n in grid.shape], indexing="ij"), -1)
    return np.linalg.norm(grid.world(index) - grid.centre_mm, axis=-1)


def ball(radius_mm=R_MM, grid=GRID):
    """A ball with soft edges, as shares of voxels."""
    share = np.clip((radius_mm - distance_mm(grid)) / grid.spacing_mm[0] + 0.5, 0.0, 1.0).reshape(-1)
    index = np.flatnonzero(share > 0)
    return Region(index, share[index] * grid.voxel_volume_ml, 0.0)


def image(values, grid=GRID):
    return Volume(np.asarray(values, dtype=np.float32), grid, Quantity.ACTIVITY)


def test_the_surface_of_a_ball_is_its_own():
    outline = Outline.of(ball(), GRID)
    assert outline.area_mm2 == pytest.approx(4 * np.pi * R_MM**2, rel=0.1)  # voxels make a surface a little rough
    assert outline.volume_per_mm == pytest.approx(3 / R_MM, rel=0.1)


def test_the_edge_of_an_even_image_is_its_mean_and_of_a_hot_core_is_less():
    region, outline = ball(), Outline.of(ball(), GRID)
    assert outline.edge(image(np.full(GRID.shape, 7.0)), region) == pytest.approx(1.0, rel=1e-6)
    cone = image(np.maximum(0.0, 2 * R_MM - distance_mm()))  # 2R - r: mean 5R/4 within, R at the edge
    assert outline.edge(cone, region) == pytest.approx(0.8, rel=0.02)


def test_rounding_to_voxels_scatters_volumes_as_predicted():
    random, volumes = np.random.default_rng(4), []
    coarse = Grid.from_spacing((16, 16, 16), (4.0, 4.0, 4.0))
    index = np.stack(np.meshgrid(*[np.arange(16.0)] * 3, indexing="ij"), -1)
    for _ in range(200):
        centre = coarse.centre_mm + random.uniform(-2.0, 2.0, 3)
        volumes.append((np.linalg.norm(coarse.world(index) - centre, axis=-1) < 12.0).sum() * coarse.voxel_volume_ml)
    predicted = relative_u_of_rounding(Outline.of(ball(12.0, coarse), coarse), coarse.voxel_volume_ml)
    assert np.std(volumes) / np.mean(volumes) == pytest.approx(predicted, rel=0.5)


def test_a_shift_on_a_slope_changes_activity_as_the_slope_says():
    region = ball()
    x_mm = GRID.world(np.stack(np.meshgrid(*[np.arange(40.0)] * 3, indexing="ij"), -1))[..., 0]
    ramp = image(1000.0 + 10.0 * (x_mm - GRID.centre_mm[0]))
    assert relative_u_of_shift(region, ramp, 1.5) == pytest.approx(10.0 * 1.5 / 1000.0, rel=0.01)
    assert relative_u_of_shift(region, image(np.full(GRID.shape, 5.0)), 3.0) == pytest.approx(0.0, abs=1e-6)
    assert relative_u_of_shift(region, ramp, 0.0) == 0.0


def test_a_shift_of_a_hot_ball_loses_what_moves_out():
    """A uniform ball shifted by d keeps 1 - 3d/4R + d³/16R³ of itself; each of three axes loses as much."""
    fine = Grid.from_spacing((64, 64, 64), (1.0, 1.0, 1.0))
    region, hot = ball(R_MM, fine), np.zeros(fine.shape)
    hot.reshape(-1)[region.index] = region.part_ml / fine.voxel_volume_ml
    d = 8.0  # many voxels: shares at the edge make the first of them lose less
    lost = 0.75 * d / R_MM - d**3 / (16 * R_MM**3)
    assert relative_u_of_shift(region, image(hot, fine), d) == pytest.approx(np.sqrt(3) * lost, rel=0.07)


@pytest.mark.parametrize("blur_mm", [6.0, 12.0])
def test_a_stretched_image_loses_what_leaves_through_the_outline(blur_mm):
    """A blurred ball, stretched by 6 % in volume about its centre, loses less than a flat surface does, a half."""
    region, change = ball(), 0.06
    hot = np.where(distance_mm() < R_MM, 100.0, 0.0)
    hot = ndimage.gaussian_filter(hot, blur_mm / (2.35482 * GRID.spacing_mm[0]))
    index = np.stack(np.meshgrid(*[np.arange(40.0)] * 3, indexing="ij"))
    stretched = ndimage.map_coordinates(hot, 19.5 + (index - 19.5) * (1 + change) ** (-1 / 3), order=1, mode="nearest")
    change_of_activity = region.integral(image(stretched)) / region.integral(image(hot)) - 1.0
    rows = (StructureTransport("ball", 1.0, 1.0, 100.0 * change, float("nan")),)
    frames = [Frame("tp1", 4.0, image(hot), 1.0), Frame("tp2", 24.0, image(stretched), 1.0, transport=rows)]
    still, moved = point_errors(frames, {"ball": region}, UncertaintySettings())["ball"].registration
    assert still == 0.0
    assert change_of_activity < moved < 1.6 * change_of_activity


def hot_and_warm():
    """A warm ball of 60 % beside one of 5 times its activity, the scanner's 12 mm, and the matrix that undoes them."""
    warm, hot = ball(14.0), ball_at(14.0, (30.0, 0.0, 0.0))
    true = np.full(GRID.size, 1.0)
    true[warm.index] += 19.0 * warm.part_ml / GRID.voxel_volume_ml
    true[hot.index] += 99.0 * hot.part_ml / GRID.voxel_volume_ml
    seen = blur(true.reshape(GRID.shape).astype(np.float32), (12.0,) * 3, GRID.spacing_mm, extend=True)
    parts = partition({"warm": warm, "hot": hot}, np.ones(GRID.shape, dtype=np.float32), GRID, 12.0)
    return warm, image(seen), transfer_matrix(parts, PointSpread((12.0,) * 3))


def ball_at(radius_mm, centre_mm):
    index = np.stack(np.meshgrid(*[np.arange(float(n)) for n in GRID.shape], indexing="ij"), -1)
    away_mm = np.linalg.norm(GRID.world(index) - GRID.centre_mm - np.array(centre_mm), axis=-1)
    share = np.clip((radius_mm - away_mm) / GRID.spacing_mm[0] + 0.5, 0.0, 1.0).reshape(-1)
    index = np.flatnonzero(share > 0)
    return Region(index, share[index] * GRID.voxel_volume_ml, 0.0)


def test_a_shift_beside_a_hot_neighbour_counts_by_what_the_correction_makes_of_it():
    """The image laid off by u, then corrected again; the plain sum over the structure changes by something else."""
    warm, seen, matrix = hot_and_warm()
    u_mm = 2.0
    corrected_bq = warm.integral(image(matrix.deblur(seen.data)))
    read = matrix.reading("warm", warm, seen.data)
    assert read.activity_bq == pytest.approx(corrected_bq, rel=1e-4)
    variance = 0.0
    for axis in range(3):
        for sign in (1.0, -1.0):
            step = [sign * u_mm / GRID.spacing_mm[0] if n == axis else 0.0 for n in range(3)]
            moved = ndimage.shift(seen.data.astype(np.float64), step, order=3, mode="nearest").astype(np.float32)
            again_bq = warm.integral(image(matrix.deblur(moved)))
            variance += 0.5 * (again_bq / corrected_bq - 1.0) ** 2
    found = relative_u_of_shift(warm, seen, u_mm, read)
    assert found == pytest.approx(np.sqrt(variance), rel=0.05)
    assert found != pytest.approx(relative_u_of_shift(warm, seen, u_mm), rel=0.1)


@pytest.mark.parametrize("change", [0.06, -0.06])
def test_a_stretch_beside_a_hot_neighbour_counts_by_what_the_correction_makes_of_it(change):
    warm, seen, matrix = hot_and_warm()
    index = np.stack(np.meshgrid(*[np.arange(40.0)] * 3, indexing="ij"))
    at = 19.5 + (index - 19.5) * (1 + change) ** (-1 / 3)
    stretched = ndimage.map_coordinates(seen.data.astype(np.float64), at, order=3, mode="nearest").astype(np.float32)
    expected = warm.integral(image(matrix.deblur(stretched))) / warm.integral(image(matrix.deblur(seen.data))) - 1.0
    found = relative_change_of_stretch(warm, seen, change, matrix.reading("warm", warm, seen.data))
    assert found == pytest.approx(expected, rel=0.15, abs=0.003)


def test_filtered_noise_in_a_region_is_as_scattered_as_it_is_said_to_be():
    random, region, times_h = np.random.default_rng(2), ball(16.0), (4.0, 24.0, 72.0, 168.0)
    s_mm, sums = 3.0, []

    def frame(number, time_h):
        clean = 1000.0 * 2.0 ** (-time_h / 60.0)
        white = random.normal(0.0, np.sqrt(clean * 40.0), GRID.shape)
        noisy = clean + ndimage.gaussian_filter(white, s_mm / GRID.spacing_mm[0])
        return Frame(f"tp{number}", time_h, image(noisy), 1.0)

    frames = [frame(n, t) for n, t in enumerate(times_h)]
    noise = measure_noise(frames, [region])
    assert not noise.assumed
    assert noise.filter_mm == pytest.approx((s_mm, s_mm, s_mm), rel=0.1)
    sums = [region.integral(frame(0, 4.0).activity) for _ in range(60)]
    assert noise.u_bq(region, frames[0].activity) == pytest.approx(np.std(sums, ddof=1), rel=0.25)


def test_one_scan_leaves_noise_to_be_assumed():
    frames = [Frame(f"tp{n}", t, image(np.full(GRID.shape, 100.0)), 1.0) for n, t in enumerate((4.0,))]
    assert measure_noise(frames, [ball()]).assumed


TIMES_H = np.array([4.0, 24.0, 72.0, 168.0])


def curve_of(activity, *, averaged):
    u = 0.05 * activity
    if averaged:
        points = OrganPoints(TIMES_H, activity, LU177_H, u_activity_mbq=u)
        found = organ_by_average(points)
        return StructureCurve(TIMES_H, activity, u, representative_fit(found, points), average=found)
    return StructureCurve(TIMES_H, activity, u, fit_organ(TIMES_H, activity, LU177_H, u_activity_mbq=u, model="mono"))


@pytest.mark.parametrize("averaged", [False, True])
def test_sensitivities_tell_how_the_integral_moves(averaged):
    activity = 100.0 * 2.0 ** (-TIMES_H / 50.0)
    weights = sensitivities(curve_of(activity, averaged=averaged), LU177_H)
    assert weights.sum() == pytest.approx(1.0)
    for number in range(TIMES_H.size):
        up, down = activity.copy(), activity.copy()
        up[number] *= 1.04
        down[number] /= 1.04
        moved = [curve_of(a, averaged=averaged).tia_mbq_h for a in (up, down)]
        assert weights[number] == pytest.approx(np.log(moved[0] / moved[1]) / (2 * np.log(1.04)), abs=0.06)


def test_errors_of_the_points_carry_to_the_integral_of_one_exponential():
    """Independent 5 % on four points: the sensitivities give the 2.5002 % of the fit's own covariance."""
    weights = sensitivities(curve_of(100.0 * 2.0 ** (-TIMES_H / 50.0), averaged=False), LU177_H)
    fit = fit_organ(TIMES_H, 100.0 * 2.0 ** (-TIMES_H / 50.0), LU177_H, u_activity_mbq=5.0 * 2.0 ** (-TIMES_H / 50.0))
    assert 0.05 * np.sqrt((weights**2).sum()) == pytest.approx(fit.u_tia_mbq_h / fit.tia_mbq_h, rel=0.02)
