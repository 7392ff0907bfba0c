"""Smoothness in physical units, and its weights: closed forms."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from nufitdose.registration.regularization import (
    best_weight,
    ct_weight,
    departure_from_rigidity,
    dilatation,
    roughness,
    smoothness,
    weight_prior,
)

CHANCE = torch.Generator().manual_seed(2)


def sheared(matrix: np.ndarray, spacing_mm: tuple[float, float, float], size: int = 6) -> torch.Tensor:
    """u(x) = M x in mm on a grid of `spacing_mm`."""
    axes = [torch.arange(size, dtype=torch.float64) * s for s in spacing_mm]
    x = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    return torch.tensordot(torch.from_numpy(matrix), x, dims=1)[None]


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (2.0, 3.0, 5.0)])
def test_a_linear_field_is_as_rough_as_its_matrix_on_every_grid(spacing_mm):
    matrix = np.random.default_rng(0).normal(size=(3, 3))
    g = roughness(sheared(matrix, spacing_mm), spacing_mm)
    np.testing.assert_allclose(g[0, 0, :-1, :-1, :-1].numpy(), (matrix**2).sum() / 9, rtol=1e-10)


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (2.0, 3.0, 5.0)])
def test_the_dilatation_of_a_linear_field_is_its_squared_trace(spacing_mm):
    matrix = np.random.default_rng(0).normal(size=(3, 3))
    found = dilatation(sheared(matrix, spacing_mm), spacing_mm)
    np.testing.assert_allclose(found[0, 0, :-1, :-1, :-1].numpy(), np.trace(matrix) ** 2, rtol=1e-10)
    kept = matrix - np.trace(matrix) / 3.0 * np.eye(3)
    assert float(dilatation(sheared(kept, spacing_mm), spacing_mm)[0, 0, :-1, :-1, :-1].abs().max()) < 1e-20


def test_turning_the_components_changes_nothing():
    field = torch.randn(1, 3, 5, 6, 7, generator=CHANCE, dtype=torch.float64)
    turn = torch.from_numpy(Rotation.from_rotvec([0.3, -0.5, 0.9]).as_matrix())
    turned = torch.einsum("cd,ndijk->ncijk", turn, field)
    torch.testing.assert_close(smoothness(turned, (2.0, 3.0, 4.0)), smoothness(field, (2.0, 3.0, 4.0)))


def test_a_constant_field_is_smooth_and_weights_scale():
    assert smoothness(torch.ones(1, 3, 4, 4, 4), (1.0, 1.0, 1.0)) == 0
    field = torch.randn(1, 3, 4, 4, 4, generator=CHANCE)
    weight = torch.full((1, 1, 4, 4, 4), 2.5)
    torch.testing.assert_close(smoothness(field, (1.0, 1.0, 1.0), weight), 2.5 * smoothness(field, (1.0, 1.0, 1.0)))


def test_bone_is_stiff_lung_is_soft_and_the_mean_in_the_body_is_one():
    hu = np.full((40, 40, 40), 40.0, np.float32)
    hu[:10] = -800.0
    hu[25:35] = 900.0
    body = np.ones(hu.shape, bool)
    body[:, :5] = False
    weight = ct_weight(hu, body, 4.0)
    assert weight[body].mean() == pytest.approx(1.0, rel=1e-5)
    assert (weight[~body] == 1.0).all()
    lung, soft, bone = weight[3, 20, 20], weight[17, 20, 20], weight[30, 20, 20]
    assert bone / soft == pytest.approx(6.0, rel=0.05)
    assert lung / soft == pytest.approx(0.5, rel=0.05)


def test_small_bright_spots_are_no_bone():
    hu = np.full((20, 20, 20), 40.0, np.float32)
    body = np.ones(hu.shape, bool)
    plain = ct_weight(hu, body, 4.0)
    hu[10:13, 10:13, 10:13] = 1500.0  # 1.7 mL
    np.testing.assert_allclose(ct_weight(hu, body, 4.0), plain, rtol=1e-6)
    hu[9:14, 9:14, 9:14] = 1500.0  # 8 mL
    assert ct_weight(hu, body, 4.0)[11, 11, 11] > 3


def test_a_scan_without_a_body_weighs_alike_everywhere():
    assert (ct_weight(np.full((4, 4, 4), -1000.0, np.float32), np.zeros((4, 4, 4), bool), 4.0) == 1).all()


@pytest.mark.parametrize(("prior", "strength"), [("beta", 0.05), ("gaussian", 0.7)])
def test_the_closed_form_weight_is_the_best_one(prior, strength):
    g, weight_ct, lam = torch.rand(1, 1, 3, 3, 3, generator=CHANCE), torch.rand(1, 1, 3, 3, 3, generator=CHANCE), 2.0

    def cost(w):
        return (lam * weight_ct * w * g).mean() + weight_prior(w, prior, strength, weight_ct)

    best = best_weight(g, lam, prior, strength)
    least = cost(best)
    for step in (-0.02, 0.02):
        assert cost((best + step).clamp(1e-6, 1.0 if prior == "beta" else 5.0)) > least


def test_the_beta_prior_makes_the_smoothness_robust():
    # lam g where lam g <= beta, else beta (1 + log(lam g / beta))
    beta, lam = 0.1, 2.0
    for g in (0.01, 0.5):
        x = torch.full((1, 1, 1, 1, 1), g)
        w = best_weight(x, lam, "beta", beta)
        cost = (lam * w * x).mean() + weight_prior(w, "beta", beta)
        wanted = lam * g if lam * g <= beta else beta * (1 + np.log(lam * g / beta))
        assert float(cost) == pytest.approx(wanted, rel=1e-5)


def test_turning_and_shifting_deform_nothing_and_a_stretch_does_by_its_own_measure():
    """J = I + M: a rotation has JᵀJ = I; stretching one axis by s leaves (s² - 1)²; shear by k leaves 2k² + k⁴."""
    spacing_mm, inner = (2.0, 3.0, 5.0), (0, 0, slice(-1), slice(-1), slice(-1))
    turn = Rotation.from_euler("xyz", [20, -30, 50], degrees=True).as_matrix()
    shear, stretch = np.eye(3), np.diag([1.2, 1.0, 1.0])
    shear[0, 1] = 0.3
    for matrix, wanted in ((turn, 0.0), (stretch, 0.44**2), (turn @ stretch, 0.44**2), (shear, 2 * 0.3**2 + 0.3**4)):
        found = departure_from_rigidity(sheared(matrix - np.eye(3), spacing_mm) + 7.0, spacing_mm)
        np.testing.assert_allclose(found[inner].numpy(), wanted, atol=1e-9)
