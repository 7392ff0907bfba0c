"""The optimiser in tensors is the compiled one within rounding: every kernel, and whole registrations.

On torch's CPU device; on a CUDA device where there is one.
"""

from functools import partial

import numpy as np
import pytest
import torch
from scipy import ndimage
from support.small_scans import scan

from nufitdose.registration import register
from nufitdose.registration.engines import deformable
from nufitdose.registration.engines.refine import RefineSettings, kernels_on, refine
from nufitdose.registration.objective import ObjectiveSettings
from nufitdose.registration.optimiser.images import Level
from nufitdose.registration.optimiser.newton import Smoothness, optimise
from nufitdose.registration.optimiser.on_device import OnDevice
from nufitdose.registration.optimiser.on_processor import OnProcessor
from nufitdose.registration.optimiser.warping import splines_of

SHAPE = (20, 16, 24)
HALF = tuple(n // 2 for n in SHAPE)
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")),
]
MISFIT = 0.2


def smooth(random: np.random.Generator, sigma: float, *shape: int) -> np.ndarray:
    """Smooth noise of range 0 ... 1."""
    image = np.stack([ndimage.gaussian_filter(random.normal(size=shape[1:]), sigma) for _ in range(shape[0])])
    return ((image - image.min()) / (image.max() - image.min())).astype(np.float32)


def level_of(channels: int) -> Level:
    """Images that are partly alike, masks with holes and edges, weights that differ from node to node."""
    random = np.random.default_rng(channels)
    fixed, moving = (smooth(random, 1.5, channels + 1, *SHAPE) for _ in range(2))
    moving[:-1] = 0.6 * fixed[:-1] + 0.4 * moving[:-1]
    for mask in (fixed[-1], moving[-1]):
        mask[:] = smooth(random, 2.0, 1, *SHAPE)[0] > 0.4
    return Level(
        fixed=fixed,
        moving=splines_of(moving),
        where=ndimage.binary_dilation(fixed[-1] > 0),
        weights=random.uniform(0.1, 1.0, (channels, 2)).astype(np.float32),
        floors=random.uniform(1e-5, 1e-3, (channels, 2)).astype(np.float32),
        stiffness=random.uniform(0.5, 6.0, HALF).astype(np.float32),
        volume=random.uniform(0.0, 4.0, HALF).astype(np.float32),
        node_mm=8.0,
        ct=None,
    )


def field(seed: int, amplitude: float) -> np.ndarray:
    """A displacement (voxels) that leads beyond the images at their borders."""
    return amplitude * (2.0 * smooth(np.random.default_rng(seed), 1.0, 3, *HALF) - 1.0)


def off(found: np.ndarray, wanted: np.ndarray) -> float:
    """The greatest difference, in parts of the greatest number."""
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def nodes_of(system: torch.Tensor) -> np.ndarray:
    """A system of tensors in the order of the compiled one."""
    return np.moveaxis(system.cpu().numpy(), 0, -1)


@pytest.fixture(params=DEVICES)
def device(request) -> torch.device:
    return torch.device(request.param)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_value_slope_and_bend_are_those_of_the_compiled_loops(device, channels):
    level = level_of(channels)
    compiled, tensors = OnProcessor(level), OnDevice(level, device)
    for amplitude in (0.0, 0.7, 5.0):
        u = field(7, amplitude)
        wanted, system = compiled.compare(u, MISFIT)
        found, found_system = tensors.compare(tensors.brought(u), MISFIT)
        assert found == pytest.approx(wanted, rel=1e-6)
        for numbers in (slice(0, 3), slice(3, 6), slice(6, 9)):
            assert off(nodes_of(found_system)[..., numbers], system[..., numbers]) < 1e-5
        assert tensors.mean_bend(found_system) == pytest.approx(compiled.mean_bend(system), rel=1e-5)


def test_penalties_and_compositions_are_those_of_the_compiled_loops(device):
    level = level_of(1)
    compiled, tensors = OnProcessor(level), OnDevice(level, device)
    u, d = field(3, 4.0), field(4, 2.0)
    on_device = tensors.brought(u)
    for penalty in ("roughness", "curvature", "dilatation"):
        wanted, found = getattr(compiled, penalty)(u), getattr(tensors, penalty)(on_device)
        assert found == pytest.approx(wanted, rel=1e-6)
    composed = tensors.fetched(tensors.compose(tensors.brought(d), on_device))
    np.testing.assert_allclose(composed, compiled.compose(d, u), atol=2e-6)
    coarse = np.ascontiguousarray(u[:, ::2, ::2, ::2])
    doubled = tensors.fetched(tensors.doubled(tensors.brought(coarse)))
    np.testing.assert_allclose(doubled, compiled.doubled(coarse), atol=2e-6)


@pytest.mark.parametrize(("damping", "slopes"), [(0.0, 1.0), (0.3, 1.0), (0.0, 1000.0)])
def test_a_step_is_that_of_the_compiled_loops(device, damping, slopes):
    """The last one is so steep that it is shortened."""
    level, u = level_of(2), field(5, 0.7)
    compiled, tensors = OnProcessor(level), OnDevice(level, device)
    _, system = compiled.compare(u, MISFIT)
    system[..., :3] *= np.float32(slopes)
    wanted = compiled.newton_step(
        system,
        u,
        0.07,
        14.0,
        damping,
    )
    moved = torch.from_numpy(np.moveaxis(system, -1, 0).copy()).to(device)
    found = tensors.fetched(tensors.newton_step(moved, tensors.brought(u), 0.07, 14.0, damping))
    assert off(found, wanted) < 1e-5
    steepest = max(np.sqrt((np.diff(found, axis=axis) ** 2).sum(axis=0)).max() for axis in (1, 2, 3))
    assert (steepest > 0.799) == (slopes > 1.0)


def test_the_steps_of_a_level_lead_to_the_same_displacement(device):
    level = level_of(2)
    smoothness = Smoothness(0.07, 30.0)
    compiled, tensors = (
        optimise([kernels], [6], [field(6, 1.0)], smoothness, MISFIT, 5e-4)
        for kernels in (OnProcessor(level), OnDevice(level, device))
    )
    assert tensors.steps == compiled.steps
    assert compiled.after < 0.99 * compiled.before
    assert tensors.after == pytest.approx(compiled.after, rel=1e-6)
    np.testing.assert_allclose(tensors.displacement, compiled.displacement, atol=1e-4)


@pytest.mark.parametrize(
    ("ct", "spacing_mm", "similarity"), [(True, 5.5, "lncc"), (False, 5.5, "lncc"), (True, 8.0, "mind")]
)
def test_a_registration_is_that_of_the_compiled_loops(device, ct, spacing_mm, similarity):
    """Whole, with bones that are made rigid where there are CTs."""
    scans = scan("a", still=False, ct=ct), scan("b", still=True, ct=ct)
    settings = RefineSettings(spacing_mm=spacing_mm, without_ct_mm=spacing_mm)
    terms = ObjectiveSettings(similarity_activity=similarity)
    (_, compiled), (_, tensors) = (
        refine(*scans, np.eye(4), settings=settings, terms=terms, kernels_of=kernels_of)
        for kernels_of in (OnProcessor, partial(OnDevice, device=device))
    )
    assert tensors.steps == compiled.steps
    assert compiled.after < compiled.before
    assert tensors.after == pytest.approx(compiled.after, rel=1e-6)
    np.testing.assert_allclose(tensors.displacement, compiled.displacement, atol=1e-3)


def test_the_engine_computes_where_it_was_asked_to(monkeypatch):
    asked = []

    def by_tensors(device):
        asked.append(device)
        return partial(OnDevice, device=device)

    monkeypatch.setattr(deformable, "kernels_on", by_tensors)
    options = {"spacing_mm": 8.0}
    scans = scan("a", still=False), scan("b", still=True)
    register(*scans, engine="refine", device="cpu", options=options)
    assert asked == [torch.device("cpu")]
    assert kernels_on(torch.device("cpu")) is OnProcessor
    assert kernels_on(torch.device("cuda", 1)).keywords == {"device": torch.device("cuda", 1)}
