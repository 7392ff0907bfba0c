"""Similarity measures: closed forms, and the traps that other implementations fell into."""

import numpy as np
import pytest
import torch

from nufitdose.registration.similarity import (
    joint_distribution,
    lncc,
    mutual_information,
    ncc,
    normalised_information,
    ssim,
)

SHAPE = (1, 1, 20, 22, 24)
MEASURES = {"ncc": ncc, "lncc": lncc, "mi": mutual_information, "ssim": lambda a, b: ssim(a, b).mean()}


def noise(seed: int, shape=SHAPE) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def face(thickness: int = 2) -> torch.Tensor:
    """1 in the outer layers, 0 inside."""
    weight = torch.ones(SHAPE)
    weight[..., thickness:-thickness, thickness:-thickness, thickness:-thickness] = 0
    return weight


def test_ncc_is_pearsons():
    a, b = noise(0), noise(1) + 0.5 * noise(0)
    expected = np.corrcoef(a.flatten(), b.flatten())[0, 1]
    assert float(ncc(a, b)) == pytest.approx(expected, abs=1e-5)
    assert float(ncc(3 * a + 7, -2 * a)) == pytest.approx(-1, abs=1e-5)


def test_ncc_counts_by_weight():
    a, b, weight = noise(0), noise(1), face()
    b[..., 2:-2, 2:-2, 2:-2] = a[..., 2:-2, 2:-2, 2:-2]
    chosen = weight.bool()
    expected = np.corrcoef(a[chosen], b[chosen])[0, 1]
    assert float(ncc(a, b, weight)) == pytest.approx(expected, abs=1e-5)
    assert float(ncc(a, b, 1 - weight)) == pytest.approx(1, abs=1e-5)


def test_lncc_equals_the_loop_over_windows():
    a, b = noise(2, (1, 1, 6, 7, 5)), noise(3, (1, 1, 6, 7, 5)) + 0.7 * noise(2, (1, 1, 6, 7, 5))
    x, y = (image[0, 0].double().numpy() for image in (a, b))
    flat_x, flat_y = 1e-3 * x.var(), 1e-3 * y.var()
    values = []
    for i, j, k in np.ndindex(x.shape):
        window = tuple(slice(max(n - 1, 0), n + 2) for n in (i, j, k))
        p, q = x[window].ravel(), y[window].ravel()
        covariance = ((p - p.mean()) * (q - q.mean())).mean()
        values.append(covariance**2 / ((p.var() + flat_x) * (q.var() + flat_y)))
    assert float(lncc(a, b, window=3)) == pytest.approx(np.mean(values), rel=1e-4)


@pytest.mark.parametrize("window", [3, 5, 7, 9])
def test_lncc_of_independent_noise_is_that_of_chance_at_the_faces_too(window):
    """The squared correlation of n independent pairs has the mean 1/(n - 1); at a face n is about half."""
    shape = (1, 1, 48, 48, 48)
    a, b = noise(4, shape), noise(5, shape)
    faces = torch.ones(shape)
    faces[..., 1:-1, 1:-1, 1:-1] = 0
    inside = torch.zeros(shape)
    inside[..., 5:-5, 5:-5, 5:-5] = 1
    inner, outer = (float(lncc(a, b, window=window, weight=where)) for where in (inside, faces))
    assert inner == pytest.approx(1 / (window**3 - 1), rel=0.25)
    half = window**2 * (window // 2 + 1)
    assert 0.6 / (half - 1) < outer < 2.0 / (half - 1)


def test_lncc_of_equal_images_is_one_everywhere():
    a = noise(6)
    assert float(lncc(a, 5 - 2 * a)) == pytest.approx(1, abs=5e-3)
    assert float(lncc(a, 5 - 2 * a, weight=face(1))) == pytest.approx(1, abs=5e-3)


def test_voxels_that_are_not_valid_do_not_matter():
    a, valid = noise(7), torch.ones(SHAPE)
    valid[..., 15:] = 0
    b = torch.where(valid > 0, 2 * a + 1, torch.full_like(a, -50.0))
    assert float(lncc(a, b, valid=valid)) == pytest.approx(1, abs=5e-3)
    assert float(lncc(a, b)) < 0.9
    close = (valid > 0) & (torch.roll(valid, 8, -1) > 0)
    b = torch.where(valid > 0, a, torch.full_like(a, 9.0))
    assert float(ssim(a, b, valid=valid)[close].min()) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1000.0, 1e6])
def test_intensities_of_any_size_give_the_same_value(scale):
    """Hounsfield-sized numbers with a large offset too."""
    a, b = noise(8), noise(8) + 0.8 * noise(9)
    for measure in (ncc, lncc, mutual_information):
        value = float(measure(a, b))
        assert float(measure(scale * (a + 20), scale * b)) == pytest.approx(value, abs=2e-3)
        assert abs(value) > 0.02


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("level", [0.0, 1.0, -1000.0])
def test_constant_images_give_finite_values_and_gradients(name, level):
    constant = torch.full(SHAPE, level, requires_grad=True)
    for other in (noise(0), torch.full(SHAPE, level)):
        value = MEASURES[name](constant, other)
        (gradient,) = torch.autograd.grad(value, constant)
        assert torch.isfinite(value)
        assert torch.isfinite(gradient).all()
    if name != "ssim":
        assert abs(float(MEASURES[name](constant.detach(), noise(0)))) < 2e-3


def test_nothing_to_compare_is_no_similarity():
    nothing = torch.zeros(SHAPE)
    assert float(ncc(noise(0), noise(0), nothing)) == 0
    assert float(lncc(noise(0), noise(0), weight=nothing)) == 0
    assert float(mutual_information(noise(0), noise(0), weight=nothing)) == 0


def test_mutual_information_of_gaussians():
    """I = -½ log(1 - ρ²); a Parzen histogram of 32 bins comes within some percent below."""
    shape = (1, 1, 60, 60, 60)
    rho = 0.9
    a = noise(10, shape)
    b = rho * a + np.sqrt(1 - rho**2) * noise(11, shape)
    expected = -0.5 * np.log(1 - rho**2)
    assert 0.85 * expected < float(mutual_information(a, b)) < 1.02 * expected
    assert float(mutual_information(a, noise(12, shape))) < 0.01


def test_mutual_information_needs_no_linear_relation():
    a = noise(13)
    assert float(mutual_information(a, -a)) == pytest.approx(float(mutual_information(a, a)), abs=0.05)
    assert float(mutual_information(a, a**2)) > 0.4
    assert abs(float(ncc(a, a**2))) < 0.1


def test_mutual_information_is_symmetric_and_blind_to_what_has_no_weight():
    a, b = noise(14), noise(14) + noise(15)
    weight = 1 - face(3)
    value = float(mutual_information(a, b, weight=weight))
    assert float(mutual_information(b, a, weight=weight)) == pytest.approx(value, abs=1e-5)
    spoiled = torch.where(weight > 0, a, 1e4 * noise(16))
    assert float(mutual_information(spoiled, b, weight=weight)) == pytest.approx(value, abs=1e-5)


def test_normalised_information_is_two_for_one_image_and_one_for_strangers():
    sure = torch.diag(torch.full((8,), 1 / 8))
    assert float(normalised_information(sure)) == pytest.approx(2)
    assert float(normalised_information(torch.full((8, 8), 1 / 64))) == pytest.approx(1)
    a, b = noise(0), noise(1)
    assert 1 < float(normalised_information(joint_distribution(a, b))) < 1.02
    assert float(normalised_information(joint_distribution(a, a))) > 1.3


@pytest.mark.parametrize("measure", [ncc, lncc, mutual_information])
def test_gradients_are_those_of_finite_differences(measure):
    a = noise(17, (1, 1, 5, 5, 5)).double().requires_grad_()
    b = noise(18, (1, 1, 5, 5, 5)).double() + a.detach()
    (gradient,) = torch.autograd.grad(measure(a, b), a)
    order = a.detach().flatten().argsort()
    middle = int(order[len(order) // 2])  # not an end of the range, which sets the bins
    step = torch.zeros(a.numel(), dtype=torch.float64)
    step[middle] = 1e-5
    step = step.reshape(a.shape)
    with torch.no_grad():
        expected = (measure(a + step, b) - measure(a - step, b)) / 2e-5
    assert float(gradient.flatten()[middle]) == pytest.approx(float(expected), rel=1e-3, abs=1e-7)


def test_ssim_of_shifted_brightness():
    """Constant images p, q: SSIM = (2pq + K1²)/(p² + q² + K1²); and 1 for equal images, at the faces too."""
    p, q = torch.full(SHAPE, 0.4), torch.full(SHAPE, 0.6)
    expected = (2 * 0.24 + 1e-4) / (0.16 + 0.36 + 1e-4)
    assert torch.allclose(ssim(p, q), torch.full(SHAPE, expected), atol=1e-3)
    assert torch.allclose(ssim(noise(0), noise(0)), torch.ones(SHAPE), atol=1e-4)


def test_ssim_falls_with_noise():
    clean = torch.rand(SHAPE, generator=torch.Generator().manual_seed(1))
    values = [float(ssim(clean, clean + level * noise(2)).mean()) for level in (0.0, 0.05, 0.2, 1.0)]
    assert values[0] == pytest.approx(1, abs=1e-5)
    assert values == sorted(values, reverse=True)
