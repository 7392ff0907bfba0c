"""The pose of greatest correlation is one: whatever the start, the rounding and the processor."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from support.small_scans import GRID, scan

from nufitdose.registration.engines.linear import LEVELS, affine_pose, rigid_pose, view_of
from nufitdose.registration.engines.matching import Comparison, Level, Pose
from nufitdose.registration.engines.moments import MARGIN, second_moments
from nufitdose.study import TimePoint

HERE = Path(__file__).parent
TESTS = HERE.parents[2]
SAME_MM = 0.02


def pair(*, ct: bool) -> tuple[TimePoint, TimePoint]:
    """Two scans that no rigid motion brings together: the organs of the second are elsewhere, and it is turned."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(np.radians([2.0, -3.0, 4.0])).as_matrix()
    matrix[:3, 3] = (5.0, -3.0, 8.0)
    return scan("a", still=True, ct=ct), scan("b", still=False, ct=ct, matrix=matrix)


def finest(basis: str) -> tuple[Level, Pose]:
    fixed, moving = pair(ct=basis == "CT")
    spacing_mm, block_mm, exact = LEVELS[basis][-1]
    level = Level.of(view_of(fixed, basis), view_of(moving, basis), spacing_mm, block_mm, exact=exact)
    return level, rigid_pose(fixed, moving, basis)


def apart_mm(one: np.ndarray, other: np.ndarray) -> float:
    """The greatest distance between the places to which two 4x4 matrices bring the corners of the image."""
    change = one - other
    return float(np.linalg.norm(GRID.corners_mm() @ change[:3, :3].T + change[:3, 3], axis=1).max())


@pytest.mark.parametrize("basis", ["CT", "activity"])
def test_starts_two_millimetres_and_a_degree_apart_end_in_one_pose(basis):
    level, found = finest(basis)
    chance = np.random.default_rng(5)
    for _ in range(6):
        signs = chance.choice([-1.0, 1.0], 6)
        start = found.changed(signs * np.repeat([2.0, 100.0 * np.radians(1.0)], 3))
        assert apart_mm(start.matrix, found.matrix) > 2.0
        assert apart_mm(level.settled(start).matrix, found.matrix) < SAME_MM


@pytest.mark.parametrize("find", [rigid_pose, affine_pose])
@pytest.mark.parametrize("basis", ["CT", "activity"])
def test_rounding_of_the_images_does_not_move_the_pose(basis, find):
    """Another processor sums in another order: stood in for by a random millionth of every voxel."""
    fixed, moving = pair(ct=basis == "CT")
    chance = np.random.default_rng(6)

    def rounded(point: TimePoint) -> TimePoint:
        volumes = (
            volume and volume.with_data(volume.data * chance.normal(1.0, 1e-6, volume.data.shape).astype(np.float32))
            for volume in (point.activity, point.ct)
        )
        return TimePoint.of(point.id, point.time_h, *volumes)

    exact = find(fixed, moving, basis).matrix
    assert apart_mm(find(rounded(fixed), rounded(moving), basis).matrix, exact) < SAME_MM


@pytest.mark.slow
def test_every_processor_and_number_of_threads_finds_the_same_pose():
    """torch and numpy with and without wide vectors, each in a process of its own, with one thread and with two."""
    code = (
        "import json, torch, test_matching as t\n"
        "found = [t.rigid_pose(*t.pair(ct=ct), 'CT' if ct else 'activity') for ct in (True, False)]\n"
        "found.append(t.affine_pose(*t.pair(ct=True), 'CT'))\n"
        "print(json.dumps([torch.backends.cpu.get_cpu_capability(), [pose.matrix.tolist() for pose in found]]))"
    )
    seen, poses = set(), []
    for capability, threads in (("default", 1), ("avx2", 2), ("avx512", 1), ("avx512", 2)):
        environment = os.environ | {
            "ATEN_CPU_CAPABILITY": capability,
            "OMP_NUM_THREADS": str(threads),
            "NUMBA_NUM_THREADS": str(threads),
            "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3" if capability == "default" else "",
            "PYTHONPATH": os.pathsep.join([str(HERE), str(TESTS), str(TESTS.parent)]),
        }
        run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        name, matrices = json.loads(run.stdout.splitlines()[-1])
        seen.add(name)
        poses.append([np.array(matrix) for matrix in matrices])
    if len(seen) == 1:
        pytest.skip(f"this processor runs torch in one way only: {seen}")
    assert max(apart_mm(one, first) for found in poses for one, first in zip(found, poses[0], strict=True)) < SAME_MM


@pytest.mark.parametrize("freedom", [6, 12])
@pytest.mark.parametrize("basis", ["CT", "activity"])
def test_slopes_of_the_correlation_are_its_differences(basis, freedom):
    level, pose = finest(basis)
    near = Comparison(level, pose)
    at = np.random.default_rng(7).normal(0.0, 1.5, freedom)
    _, slope, _ = near.at(at)
    step_mm = 1e-3
    differences = [(near.at(at + d)[0] - near.at(at - d)[0]) / (2 * step_mm) for d in step_mm * np.eye(freedom)]
    np.testing.assert_allclose(slope, differences, rtol=2e-4, atol=1e-3 * np.abs(slope).max())


def test_a_plane_is_read_exactly_and_moments_are_sums():
    chance = np.random.default_rng(8)
    points, values, weight = chance.uniform(2.0, 7.0, (5000, 3)), chance.normal(size=5000), chance.uniform(size=5000)
    block = chance.integers(0, 3, 5000)
    ramp = np.array([0.3, -0.2, 0.5])
    padded = np.moveaxis(np.indices((20, 19, 18)) - MARGIN, 0, -1).astype(float) @ ramp
    found = second_moments(points, values, block, weight, np.eye(3), np.eye(4), padded, 6)
    z = np.column_stack([np.ones(5000), values, points @ ramp, np.tile(ramp, (5000, 1)), np.cross(points, ramp)])
    for n in range(3):
        own = block == n
        np.testing.assert_allclose(found[n], np.triu((z[own] * weight[own, None]).T @ z[own]), rtol=1e-10, atol=1e-9)


def test_a_pose_is_settled_to_micrometres():
    level, found = finest("CT")
    again = level.settled(found)
    assert np.array_equal(again.matrix, found.matrix)
    assert np.array_equal(found.target_mm, found.target_mm.round(3))
