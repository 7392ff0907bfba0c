"""Rigid registration of a trunk known in closed form, and of a real patient."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from nufitdose.anatomy.body import body_mask, body_mask_from_ct
from nufitdose.anatomy.pooling import pool
from nufitdose.device import resolve_device
from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.io.importer.planning import plan_import
from nufitdose.registration import DisplacementField, register
from nufitdose.registration.engines.linear import rigid_pose
from nufitdose.registration.engines.translation import best_shift
from nufitdose.registration.intensity import scaled_activity, scaled_ct
from nufitdose.study import TimePoint
from nufitdose.volume import Quantity, Volume

# centre (mm), semi-axes (mm), HU, activity early and late (Bq/mL)
ORGANS = {
    "liver": ((55.0, 5.0, 20.0), (70.0, 60.0, 65.0), 55.0, 3e4, 1.5e4),
    "kidney_right": ((50.0, -50.0, -45.0), (25.0, 22.0, 50.0), 35.0, 2e5, 7e4),
    "kidney_left": ((-52.0, -52.0, -30.0), (24.0, 24.0, 52.0), 35.0, 1.8e5, 8e4),
    "spleen": ((-85.0, -35.0, 30.0), (28.0, 35.0, 42.0), 50.0, 1.2e5, 6e4),
    "lung_right": ((65.0, 0.0, 140.0), (48.0, 65.0, 75.0), -800.0, 3e3, 1e3),
    "lung_left": ((-65.0, 0.0, 145.0), (46.0, 62.0, 70.0), -800.0, 3e3, 1e3),
    "spine": ((0.0, -65.0, 30.0), (18.0, 18.0, 230.0), 300.0, 8e3, 4e3),
    "bladder": ((0.0, 40.0, -150.0), (32.0, 28.0, 30.0), 5.0, 4e5, 5e4),
    "tumour": ((75.0, 25.0, 30.0), (14.0, 14.0, 14.0), 45.0, 3e5, 4e5),
}


def trunk(points_mm: np.ndarray, late: bool) -> tuple[np.ndarray, np.ndarray]:
    """HU and activity of a patient at world points `[..., 3]`; soft edges about 6 mm wide."""

    def within(centre, axes):
        distance = np.sqrt((((points_mm - centre) / axes) ** 2).sum(axis=-1))
        return 1 / (1 + np.exp((distance - 1) * min(axes) / 1.5))

    elliptic = np.sqrt((points_mm[..., 0] / 165.0) ** 2 + (points_mm[..., 1] / 110.0) ** 2)
    shoulders = 1 + 0.12 * np.sin(points_mm[..., 2] / 60.0)
    inside = 1 / (1 + np.exp((elliptic / shoulders - 1) * 60))
    hu, activity = -1000 + 1020 * inside, inside * (3e3 if late else 8e3)
    for centre, axes, organ_hu, early_bq_ml, late_bq_ml in ORGANS.values():
        share = within(np.array(centre), np.array(axes)) * inside
        hu = hu + share * (organ_hu - hu)
        activity = activity + share * ((late_bq_ml if late else early_bq_ml) - activity)
    return hu, activity


def scan(name: str, time_h: float, grid: Grid, pose: np.ndarray, *, ct: bool, seed: int) -> TimePoint:
    """A noisy scan of the trunk moved by `pose` (4x4, from the patient's own frame to this scan's world)."""
    world = grid.world(np.moveaxis(np.indices(grid.shape), 0, -1).astype(float))
    own = (world - pose[:3, 3]) @ pose[:3, :3]
    hu, activity = trunk(own, late=time_h > 12)
    noise = np.random.default_rng(seed)
    counts = noise.poisson(activity / 2e3) * 2e3
    volume = Volume(counts.astype(np.float32), grid, Quantity.ACTIVITY)
    anatomy = Volume((hu + noise.normal(0, 25, grid.shape)).astype(np.float32), grid, Quantity.HU)
    return TimePoint.of(name, time_h, volume, anatomy if ct else None)


def motion(shift_mm, rotation_vector_degrees) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_rotvec(np.radians(rotation_vector_degrees)).as_matrix()
    pose[:3, 3] = shift_mm
    return pose


def errors(found: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Mean error over the organs (mm), error of the rotation (degrees)."""
    centres = np.array([organ[0] for organ in ORGANS.values()])
    difference = centres @ (found - truth)[:3, :3].T + (found - truth)[:3, 3]
    turn = Rotation.from_matrix(found[:3, :3] @ truth[:3, :3].T).magnitude()
    return float(np.linalg.norm(difference, axis=1).mean()), float(np.degrees(turn))


FIXED_GRID = Grid.from_spacing((100, 80, 90), (4.0, 4.0, 4.0), centre_mm=(0.0, 0.0, 20.0))


def other_grid(pose: np.ndarray, shape=(92, 84, 80), degrees=(4.0, -3.0, 6.0)) -> Grid:
    """An oblique anisotropic grid with flipped axes whose middle lies near the moved patient, not on it."""
    affine = np.eye(4)
    turn = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    affine[:3, :3] = turn * np.array([-1, -1, 1]) @ np.diag([4.2, 4.2, 4.8])
    middle = pose[:3, 3] + (6.0, -4.0, 25.0)
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


OFFSETS = [
    ((30.0, -20.0, 34.0), (10.0, 0.0, 0.0)),
    ((-28.0, 29.0, 30.0), (-5.0, 5.0, -7.0)),
    ((10.0, 10.0, -48.0), (0.0, 0.0, 10.0)),
    ((20.0, 45.0, 5.0), (0.0, -10.0, 0.0)),
]


@pytest.mark.parametrize("basis", ["CT", "activity"])
@pytest.mark.parametrize(("shift_mm", "turn_degrees"), OFFSETS)
def test_known_motions_are_found(shift_mm, turn_degrees, basis):
    """50 mm and 10 degrees, other grid, other field of view, washed-out activity: within 1 mm and 0.5 degree."""
    truth = motion(shift_mm, turn_degrees)
    fixed = scan("early", 4.0, FIXED_GRID, np.eye(4), ct=basis == "CT", seed=1)
    moving = scan("late", 48.0, other_grid(motion((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))), truth, ct=basis == "CT", seed=2)
    found = rigid_pose(fixed, moving, basis).matrix
    distance_mm, degrees = errors(found, truth)
    assert distance_mm < (0.5 if basis == "CT" else 1.0)
    assert degrees < (0.2 if basis == "CT" else 0.5)


@pytest.mark.parametrize("basis", ["CT", "activity"])
def test_worlds_far_apart_and_short_fields_of_view(basis):
    """Frames of reference 100 m apart, and a moving scan that holds only 210 mm of the trunk's 360."""
    truth = motion((12345.0, -30000.0, 99999.0), (3.0, -6.0, 5.0))
    fixed = scan("early", 4.0, FIXED_GRID, np.eye(4), ct=basis == "CT", seed=1)
    short = other_grid(truth, shape=(92, 84, 44))
    moving = scan("late", 48.0, short, truth, ct=basis == "CT", seed=2)
    distance_mm, degrees = errors(rigid_pose(fixed, moving, basis).matrix, truth)
    assert distance_mm < 1.5
    assert degrees < 0.7


def test_the_same_scans_give_the_same_pose():
    truth = motion((8.0, -6.0, 10.0), (2.0, 1.0, -3.0))
    fixed = scan("early", 4.0, FIXED_GRID, np.eye(4), ct=False, seed=1)
    moving = scan("late", 48.0, FIXED_GRID, truth, ct=False, seed=2)
    first, second = (rigid_pose(fixed, moving, "activity").matrix for _ in range(2))
    assert np.array_equal(first, second)


def test_the_field_of_a_fine_ct_is_told_on_two_millimetres_and_covers_the_scan():
    fine = Grid.from_spacing((64, 60, 40), (0.8, 0.8, 1.5))
    emission = scan("a", 4.0, Grid.from_spacing((14, 14, 16), (4.0, 4.0, 4.0)), np.eye(4), ct=False, seed=1).activity
    air = Volume(np.full(fine.shape, -1000.0, np.float32), fine, Quantity.HU)
    fixed = TimePoint.of("a", 4.0, emission, air)
    found = register(fixed, TimePoint.of("b", 48.0, emission), engine="none", device="cpu")
    assert found.field.grid.spacing_mm == pytest.approx((1.6, 1.6, 1.5))
    for image in (fine, emission.grid):
        assert found.field.grid.covers(image).all()


def test_register_with_ct_and_without():
    truth = motion((15.0, -10.0, 20.0), (0.0, 4.0, -5.0))
    fine = Grid.from_spacing((66, 46, 70), (6.0, 6.0, 5.0), centre_mm=(0.0, 0.0, 20.0))
    early = scan("a", 4.0, fine, np.eye(4), ct=True, seed=1)
    late = scan("b", 48.0, fine, truth, ct=True, seed=2)
    fixed = TimePoint.of("a", 4.0, early.activity.averaged_onto(fine.resampled(8.0)), early.ct)
    shares = []
    found = register(fixed, late, engine="rigid", device="cpu", on_progress=shares.append)
    assert (found.engine, found.basis) == ("rigid", "CT")
    assert found.field.grid.spacing_mm == pytest.approx(fine.spacing_mm)  # the CT's voxels, where there is a CT
    assert found.field.grid.covers(fixed.activity.grid).all()
    origin = found.field.grid.index(fine.world(np.zeros(3)))
    np.testing.assert_allclose(origin, np.rint(origin), atol=1e-6)  # CT voxels are voxels of the field
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert found.seconds > 0
    assert found.quality.wssim > found.unregistered.wssim + 0.1
    assert found.quality.folding_percent == found.quality.ndv_percent == 0
    assert found.quality.jacobian_min == pytest.approx(1, abs=1e-3)
    warped = found.warp(late.activity, onto=fixed.activity.grid)
    assert warped.grid is fixed.activity.grid
    assert found.inside(late.activity.grid, onto=fixed.activity.grid).mean() > 0.5
    without = register(fixed, TimePoint.of("b", 48.0, late.activity), device="cpu")
    assert without.basis == "activity"
    assert set(dataclasses.asdict(found.quality)) == {
        "ssim", "wssim", "lncc", "mi", "tre_mm", "jacobian_min", "folding_percent", "ndv_percent",
        "displacement_max_mm", "activity_change_percent", "nmi", "jacobian_max", "jacobian_beyond_percent",
        "sd_log_jacobian", "inverse_consistency_mm", "overlap_percent",
    }  # fmt: skip


def test_engine_none_leaves_the_scans_in_their_worlds():
    fixed = scan("early", 4.0, FIXED_GRID, np.eye(4), ct=False, seed=1)
    moving = scan("late", 48.0, FIXED_GRID, np.eye(4), ct=False, seed=2)
    found = register(fixed, moving, engine="none")
    assert np.array_equal(found.warp(moving.activity).data, moving.activity.data)
    assert found.quality == found.unregistered
    assert found.quality.displacement_max_mm == 0


def test_mistakes_are_named():
    grid = Grid((8, 8, 8), np.eye(4))
    full, empty = (
        TimePoint.of(name, 1.0, Volume(np.full(grid.shape, level, np.float32), grid, Quantity.ACTIVITY))
        for name, level in (("a", 1.0), ("b", 0.0))
    )
    with pytest.raises(InputError, match=r"'rigit' is unknown.*Did you mean 'rigid'.*none, rigid"):
        register(full, full, engine="rigit")
    with pytest.raises(InputError, match="no activity"):
        register(full, empty)


def test_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(InputError, match="no CUDA device"):
        resolve_device("cuda")
    with pytest.raises(InputError, match="'gpu'"):
        resolve_device("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == resolve_device("cuda") == torch.device("cuda")
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_finds_the_same_pose():
    truth = motion((15.0, -10.0, 20.0), (0.0, 4.0, -5.0))
    fixed = scan("early", 4.0, FIXED_GRID, np.eye(4), ct=False, seed=1)
    moving = scan("late", 48.0, FIXED_GRID, truth, ct=False, seed=2)
    on_cpu, on_cuda = (register(fixed, moving, engine="rigid", device=d).field.data for d in ("cpu", "cuda"))
    assert np.array_equal(on_cuda, on_cpu)


def test_the_best_shift_is_found_under_masks():
    image = np.random.default_rng(0).normal(size=(30, 28, 26)).astype(np.float32)
    fixed, moving = image[4:22, 6:24, 2:20], image[9:29, 3:23, 5:25]  # fixed[a] = image[a + (4, 6, 2)]
    whole, seen = np.ones(fixed.shape, bool), np.ones(moving.shape, bool)
    shift, score = best_shift(fixed, whole, moving, seen)
    assert shift.tolist() == [4 - 9, 6 - 3, 2 - 5]
    assert score == pytest.approx(1, abs=1e-3)
    spoiled, masked = fixed.copy(), whole.copy()
    spoiled[:6], masked[:6] = 50.0, False  # outside the mask: must not matter
    shift, score = best_shift(spoiled, masked, moving, seen)
    assert shift.tolist() == [-5, 3, -3]
    assert score == pytest.approx(1, abs=1e-3)


def test_pooling_keeps_means_and_places():
    grid = other_grid(np.eye(4), shape=(13, 12, 11))
    world = grid.world(np.moveaxis(np.indices(grid.shape), 0, -1).astype(float))
    slope = np.array([0.3, -1.2, 0.7])
    coarse = pool(Volume((world @ slope).astype(np.float32), grid, Quantity.SCALAR), 9.0)
    assert coarse.grid.shape == (6, 6, 5)
    centres = coarse.grid.world(np.moveaxis(np.indices(coarse.grid.shape), 0, -1).astype(float))
    np.testing.assert_allclose(coarse.data, centres @ slope, atol=1e-3)
    with pytest.raises(ValueError, match="labels"):
        pool(Volume(np.ones(grid.shape, np.uint8), grid, Quantity.LABELS), 9.0)


def test_scaled_images_lie_between_0_and_1():
    grid = Grid((1, 1, 4), np.eye(4))
    hu = Volume(np.array([[[-3024.0, -300.0, 0.0, 3000.0]]], np.float32), grid, Quantity.HU)
    assert scaled_ct(hu).tolist() == [[[0, 0, 0.5, 1]]]
    activity = Volume(np.array([[[-1.0, 0.0, 25.0, 400.0]]], np.float32), grid, Quantity.ACTIVITY)
    assert scaled_activity(activity, 100.0).tolist() == [[[0, 0, 0.5, 1]]]


def test_the_body_is_found_without_the_couch():
    """Volume and outline of an ellipse; lungs filled; a couch plate under the back cut off."""
    grid = Grid.from_spacing((130, 110, 50), (3.0, 3.0, 4.0))
    x, y, _ = np.moveaxis(grid.world(np.moveaxis(np.indices(grid.shape), 0, -1).astype(float)), -1, 0)
    body = (x / 150) ** 2 + (y / 100) ** 2 < 1
    hu = np.where(body, 20.0, -1000.0)
    hu[((np.abs(x) - 65) / 45) ** 2 + (y / 60) ** 2 < 1] = -820.0  # lungs, open at both ends of the scan
    couch = (np.abs(x) < 180) & (np.abs(y + 110) < 4)
    hu[couch] = 100.0
    found = body_mask_from_ct(Volume(hu.astype(np.float32), grid, Quantity.HU)).resampled_to(grid).data > 0.5
    assert 2 * (found & body).sum() / (found.sum() + body.sum()) > 0.97
    assert (found & couch).sum() < 0.02 * couch.sum()


@pytest.mark.slow
@pytest.mark.long
def test_real_lesions_keep_the_activity_of_their_own_contours(real_data):
    """Each lesion is drawn on both scans: within its contour the later scan must hold, once brought, what it held."""
    early, late = plan_import(real_data("lu177_dotatate_2tp")).study.timepoints

    def drawn(scan):
        return {
            name: layer.data == label
            for label, name in scan.structures.names.items()
            for layer in scan.structures.layers
            if (layer.data == label).any()
        }

    fixed, moving = drawn(early), drawn(late)
    assert early.activity.grid.voxel_volume_ml == pytest.approx(late.activity.grid.voxel_volume_ml)
    off_percent = {}
    for engine in ("rigid", "nufit"):
        found = register(early, late, engine=engine)
        warped = found.warp(late.activity, early.activity.grid).data
        off_percent[engine] = [
            100.0 * abs(float(warped[fixed[name]].sum()) / float(late.activity.data[moving[name]].sum()) - 1.0)
            for name in sorted(fixed)
        ]
    assert max(off_percent["nufit"]) < 12.0 < max(off_percent["rigid"])
    assert off_percent["nufit"][0] < 5.0  # 107 mL


@pytest.mark.slow
def test_real_lesions_are_brought_together(real_data):
    """Lu-177 DOTATATE, two SPECT scans without CT whose fields of view lie 47 mm apart along the body."""
    folder = real_data("lu177_dotatate_2tp")
    early, late = plan_import(folder).study.timepoints
    found = register(early, late, engine="rigid")
    assert found.basis == "activity"
    assert found.field.grid.matches(early.activity.grid)
    scans = json.loads((folder / "EXPECTED.json").read_text())["scans"]
    first, second = (
        np.array([lesion["centroid_ras_mm"] for lesion in scans[name]["rtstruct"]["lesions"]])
        for name in ("SCAN_001", "SCAN_002")
    )
    assert np.linalg.norm(first - second, axis=1).min() > 30
    assert np.linalg.norm(first + found.field.at(first) - second, axis=1).max() < 6
    assert found.quality.wssim > found.unregistered.wssim + 0.2
    assert found.quality.mi > found.unregistered.mi
    assert found.quality.jacobian_min == pytest.approx(1, abs=1e-3)
    # The later field of view begins 47 mm higher and the body lies 34 mm higher in it: 12-13 mm are lost at the feet.
    inside = found.inside(late.activity.grid)
    lost_mm = int((~inside[128, 128]).sum()) * early.activity.grid.spacing_mm[2]
    assert lost_mm == pytest.approx(12.5, abs=4)
    assert inside[128, 128, -1]
    unmoved = DisplacementField.identity(early.activity.grid).inside(late.activity.grid)
    assert int((~unmoved[128, 128]).sum()) == 24  # 47 mm in slices of 1.95 mm
    body = body_mask(early)
    assert 15 < float(body.data.sum()) * body.grid.voxel_volume_ml / 1000 < 45  # litres of trunk
