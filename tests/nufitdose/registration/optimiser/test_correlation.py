"""Local correlation as compiled: its value by brute force, its slope by differences, the step by a dense solution."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.ndimage import map_coordinates

from nufitdose.registration.optimiser.correlation import compare
from nufitdose.registration.optimiser.lattice import compose, curvature, dilatation, doubled, roughness
from nufitdose.registration.optimiser.linear_system import newton_step
from nufitdose.registration.optimiser.warping import splines_of, warp_images

SHAPE = (14, 12, 16)
WEIGHTS = np.array([[1.0, 0.0], [0.1, 0.5]], np.float32)
FLOORS = np.full((2, 2), 1e-4, np.float32)
MISFIT = 0.2


@pytest.fixture
def images() -> tuple[np.ndarray, np.ndarray]:
    """Two channels and a mask, fixed and moving."""
    random = np.random.default_rng(0)
    smooth = np.stack([ndimage.gaussian_filter(random.normal(size=SHAPE), 2) for _ in range(4)])
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    fixed, moving = smooth[:2], 0.5 * smooth[2:] + 0.5 * smooth[:2]
    mask = np.ones((1, *SHAPE))
    mask[:, :3] = 0
    fixed, moving = (np.concatenate([image, mask]).astype(np.float32) for image in (fixed, moving))
    return fixed, moving


def wave(amplitude: float) -> np.ndarray:
    """A displacement on the half lattice, voxels."""
    i, j, k = np.indices([n // 2 for n in SHAPE])
    return amplitude * np.stack([np.sin(0.7 * j), np.cos(0.5 * k), np.sin(0.6 * i + 1)]).astype(np.float32)


@pytest.mark.parametrize("misfit", [1e-3, MISFIT, 1e3])
def test_windows_are_those_of_brute_force(images, misfit):
    fixed, warped = images
    wanted = 0.0
    seen = fixed[-1] * warped[-1]
    for i, j, k in np.argwhere(fixed[-1] > 0):
        box = tuple(slice(max(x - 2, 0), x + 3) for x in (i, j, k))
        inside = seen[box] > 0
        for n in range(2):
            f, w = (image[n][box][inside].astype(float) for image in (fixed, warped))
            a, b = (x.var() * x.size + 1e-4 * x.size for x in (f, w))
            c = ((f - f.mean()) * (w - w.mean())).sum()
            cost = misfit * np.log1p((1 - c * c / (a * b)) / misfit)
            wanted += (WEIGHTS[n, 0] + WEIGHTS[n, 1] * f.mean()) * cost
    np.testing.assert_allclose(compare(fixed, warped, WEIGHTS, FLOORS, misfit)[0], wanted, rtol=1e-5)


EVERYWHERE = np.ones(SHAPE, bool)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_warping_is_reading_by_splines_and_the_mask_linearly(images, channels):
    moving = images[1][[*range(min(channels, 2)), *([0] if channels == 3 else []), 2]]
    u = wave(0.8)
    out = np.empty_like(moving)
    where = EVERYWHERE.copy()
    where[:, 4] = False
    warp_images(splines_of(moving), u, where, out)
    place = np.indices(SHAPE).astype(float)
    node = [np.clip((x - 0.5) / 2, 0, n // 2 - 1) for x, n in zip(np.indices(SHAPE), SHAPE, strict=True)]
    place += [map_coordinates(component.astype(float), node, order=1, mode="nearest") for component in u]
    place = [np.clip(x, 0, n - 1) for x, n in zip(place, SHAPE, strict=True)]
    inside = (slice(2, -2),) * 3  # at the border scipy's splines take another continuation
    for n in range(channels):
        wanted = where * map_coordinates(moving[n].astype(float), place, order=3, mode="nearest")
        np.testing.assert_allclose(out[n][inside], wanted[inside], atol=2e-3)
    mask = where * map_coordinates(moving[-1].astype(float), place, order=1, mode="nearest")
    np.testing.assert_allclose(out[-1], mask, atol=1e-5)


def test_what_is_not_moved_stays_as_it_is(images):
    _, moving = images
    out = np.empty_like(moving)
    warp_images(splines_of(moving), wave(0.0), EVERYWHERE, out)
    np.testing.assert_allclose(out, moving, atol=1e-5)


def test_a_displacement_to_nowhere_reads_within_the_image(images):
    _, moving = images
    out, u = np.empty_like(moving), wave(0.3)
    u[:, 2:4, 3, 3:5] = np.array([np.nan, np.inf, -1e30], np.float32)[:, None, None]
    warp_images(splines_of(moving), u, EVERYWHERE, out)
    assert np.isfinite(out).all()
    assert out.min() > moving.min() - 0.2
    assert out.max() < moving.max() + 0.2


def test_the_slope_is_that_of_the_value(images):
    """Uphill and smooth: slopes of images are central differences, a node's share in its voxels taken as even."""
    fixed, moving = images
    warped, splines = np.empty_like(fixed), splines_of(moving)

    def value(u):
        warp_images(splines, u, EVERYWHERE, warped)
        return compare(fixed, warped, WEIGHTS, FLOORS, MISFIT)

    start = wave(0.3)
    _, system = value(start)
    change = np.stack([ndimage.gaussian_filter(system[..., n], 1.0) for n in range(3)])
    change[:, :3] = 0  # by the mask's edge: what leaves it counts as constant
    change *= 0.1 / np.abs(change).max()
    numeric = (value(start - change)[0] - value(start + change)[0]) / 2
    assert numeric > 0
    np.testing.assert_allclose((np.moveaxis(change, 0, -1) * system[..., :3]).sum(), numeric, rtol=0.15)
    assert (system[..., 3:6] >= 0).all()


def test_the_step_solves_its_equation_where_nothing_is_too_steep():
    """The matrix column by column, by differences of the penalty's own value."""
    random = np.random.default_rng(1)
    shape = (3, 3, 2, 3)
    system = np.zeros((*shape[1:], 9), np.float32)
    system[..., :3] = random.normal(size=(*shape[1:], 3)) * 0.01
    system[..., 3:6] = random.uniform(0.5, 1.0, (*shape[1:], 3))
    weight = random.uniform(0.5, 2.0, shape[1:]).astype(np.float32)
    u = (random.normal(size=shape) * 0.05).astype(np.float32)
    smoothness, bending = 0.7, 1.3
    volume = random.uniform(0.1, 0.8, shape[1:]).astype(np.float32)

    def penalty(x):
        g = np.empty_like(weight)
        x = np.ascontiguousarray(x, dtype=np.float32)
        roughness(x, g)
        total = float((weight * g).sum(dtype=float)) + bending * curvature(x, weight) + dilatation(x, volume)
        return smoothness * total

    size = u.size
    unit = np.eye(size, dtype=np.float32).reshape(size, *shape)
    single = np.array([penalty(e) for e in unit])
    matrix = np.array([[penalty(a + b) for b in unit] for a in unit]) - single[:, None] - single[None]
    bend = np.zeros((size, size))
    flat = np.moveaxis(system[..., 3:6], -1, 0).reshape(-1)
    bend[np.arange(size), np.arange(size)] = flat
    slope = np.moveaxis(system[..., :3], -1, 0).reshape(-1) - matrix @ u.reshape(-1)
    wanted = np.linalg.solve(bend + matrix, slope).reshape(shape)
    found = newton_step(system, u, weight, smoothness, bending, 0.0, volume)
    apart = (found - wanted).reshape(-1)
    assert apart @ (bend + matrix) @ apart < 0.02 * slope @ wanted.reshape(-1)  # of what the step gains


def test_a_steep_step_is_shortened_and_composition_adds_shifts():
    system = np.zeros((6, 6, 6, 9), np.float32)
    system[3, 3, 3, :6] = (50.0, 0, 0, 1.0, 1.0, 1.0)
    still, weight = np.zeros((3, 6, 6, 6), np.float32), np.full((6, 6, 6), 1e-3, np.float32)
    step = newton_step(system, still, weight, 1.0, 0.0, 1.0, np.zeros_like(weight))
    assert np.abs(np.diff(step, axis=1)).max() <= 0.8 + 1e-5  # of nodes two voxels apart
    one, two = (np.full((3, 6, 6, 6), x, np.float32) for x in (1.0, 0.5))
    np.testing.assert_allclose(compose(one, two), 1.5)
    np.testing.assert_allclose(doubled(one, (12, 12, 12)), 2.0)
