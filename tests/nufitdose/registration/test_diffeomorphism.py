"""The flow of a velocity: closed forms, group properties, conversion between voxels and millimetres."""

import numpy as np
import pytest
import torch

from nufitdose.grid import Grid
from nufitdose.registration.diffeomorphism import (
    compose,
    exponential,
    integrated,
    to_voxels,
    to_world,
    upsampled,
    warp,
)
from nufitdose.registration.field import DisplacementField


def places(*sizes: int) -> torch.Tensor:
    axes = [torch.arange(n, dtype=torch.float64) for n in sizes]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]


def smooth(size: int, amplitude: float, seed: int = 0, dtype=torch.float64) -> torch.Tensor:
    """A smooth velocity in voxels that vanishes towards the rim."""
    chance = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 3, 4, 4, 4, generator=chance, dtype=torch.float64)
    v = torch.nn.functional.interpolate(coarse, size=(size,) * 3, mode="trilinear", align_corners=True)
    window = torch.sin(torch.pi * torch.arange(size, dtype=torch.float64) / (size - 1))
    v = v * window[:, None, None] * window[None, :, None] * window[None, None, :]
    return (amplitude * v / v.abs().max()).to(dtype)


def test_warping_a_linear_image_adds_the_displacement():
    x = places(7, 6, 5)
    u = torch.zeros(1, 3, 7, 6, 5, dtype=torch.float64)
    u[:, 0], u[:, 2] = 0.3, -0.7
    warped = warp(x, u)
    torch.testing.assert_close(warped[:, 0, :-1], x[:, 0, :-1] + 0.3)
    torch.testing.assert_close(warped[:, 2, :, :, 1:], x[:, 2, :, :, 1:] - 0.7)
    assert warped[0, 2, 0, 0, 0] == 0.0  # the border keeps its value


def test_a_constant_velocity_is_a_translation():
    v = torch.full((1, 3, 6, 7, 8), 0.5, dtype=torch.float64)
    torch.testing.assert_close(exponential(v), v)


def test_a_linear_velocity_grows_exponentially():
    # dx/dt = a (x - c) is solved by x - c = e^a (x0 - c)
    size, a = 33, 0.2
    x = places(size, size, size) - (size - 1) / 2
    u = exponential(a * x, squarings=10)
    inner = (slice(None), slice(None), *(slice(6, -6),) * 3)
    torch.testing.assert_close(u[inner], (np.exp(a) - 1) * x[inner], atol=1e-3, rtol=2e-3)


def test_the_inverse_flow_undoes_the_flow():
    v = smooth(48, 3.0)
    round_trip = compose(exponential(v), exponential(-v))
    assert round_trip.abs().max() < 0.1
    assert exponential(v).abs().max() > 1.5


def test_large_velocities_do_not_fold():
    v = smooth(32, 6.0, dtype=torch.float32)
    grid = Grid((32, 32, 32), np.eye(4))
    summed = DisplacementField(to_world(2 * v, grid), grid).jacobian_statistics()
    flowed = DisplacementField(to_world(exponential(v), grid), grid).jacobian_statistics()
    assert flowed.ndv_percent == 0.0
    assert flowed.minimum > 0
    assert summed.minimum < flowed.minimum


def test_composition_is_the_outer_read_where_the_inner_leads():
    inner, outer = smooth(12, 1.0, 1), smooth(12, 1.0, 2)
    grid = Grid((12, 12, 12), np.eye(4))
    fields = [DisplacementField(to_world(u, grid), grid) for u in (inner, outer)]
    np.testing.assert_allclose(to_world(compose(inner, outer), grid), fields[0].compose(fields[1]).data, atol=1e-5)


def test_half_lattice_velocities_count_in_whole_voxels():
    v = torch.full((1, 3, 5, 6, 7), 1.5)
    torch.testing.assert_close(upsampled(integrated(v)), torch.full((1, 3, 10, 12, 14), 1.5))
    # half voxel h lies at 2h + 1/2 of the whole grid
    whole = upsampled(2 * places(5, 5, 5).float() + 0.5)
    torch.testing.assert_close(whole[0, :, 1:-1, 1:-1, 1:-1], places(10, 10, 10).float()[0, :, 1:-1, 1:-1, 1:-1])


def test_voxels_and_millimetres_on_an_oblique_anisotropic_grid():
    turn = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
    affine = np.eye(4)
    affine[:3, :3] = turn * [2.0, 3.0, 4.0]
    grid = Grid((3, 4, 5), affine)
    u = torch.zeros(1, 3, 3, 4, 5)
    u[:, 1] = 1.0  # one voxel along j: 3 mm along the second direction
    field = to_world(u, grid)
    np.testing.assert_allclose(field[:, 0, 0, 0], 3.0 * turn[:, 1], rtol=1e-6)
    torch.testing.assert_close(to_voxels(field, grid), u, atol=1e-6, rtol=0)


@pytest.mark.parametrize("squarings", [5, 9])
def test_the_number_of_squarings_hardly_matters(squarings):
    v = smooth(20, 3.0)
    assert (exponential(v, squarings) - exponential(v)).abs().max() < 0.1
