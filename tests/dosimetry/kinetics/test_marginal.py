"""The marginal likelihood against integrals done another way, and the posterior it leaves."""

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm

from dosimetry.kinetics.marginal import POINTS, lattice, model_posterior
from dosimetry.kinetics.models import LN2, MODELS
from dosimetry.kinetics.posterior_curves import curve_with_integral, draw_curves, normalised
from dosimetry.kinetics.priors import WIDE, WIDE_TUMOUR, CurvePrior, half_life_prior

RATE_P = LN2 / 159.528
TIMES = np.array([4.0, 24.0, 72.0, 168.0])
CLEAN = 100.0 * (np.exp(-LN2 / 60.0 * TIMES) - np.exp(-LN2 / 5.0 * TIMES))
NOISY = CLEAN * np.array([1.03, 0.96, 1.05, 0.98])
SIGMA = 0.05 * NOISY


def rates_of(prior, x):
    return RATE_P + np.exp(prior.mean_ln_rate + prior.sd_ln_rate * x)


def evidence_of_shapes(shapes, weights, *, sizes=None):
    """ln Σ w ∫ N(z | s ĝ) ds but for what is common; with `sizes`, in fine steps instead of the closed form."""
    z, whitened = NOISY / SIGMA, shapes / SIGMA
    rho = (whitened @ z) / np.linalg.norm(whitened, axis=1)
    integral = norm.cdf(rho) if sizes is None else norm.pdf(sizes[:, None] - rho).sum(axis=0) * (sizes[1] - sizes[0])
    return float(np.log((weights * np.exp(0.5 * (rho**2 - z @ z)) * integral).sum()) + 0.5 * z @ z)


def test_evidence_of_one_exponential_with_sizes_summed_too():
    x = np.arange(-4.0, 4.0, 0.01)
    shapes = np.exp(-np.outer(rates_of(WIDE.clearance, x), TIMES))
    expected = evidence_of_shapes(shapes, norm.pdf(x) * 0.01, sizes=np.arange(0.0, 60.0, 0.05))
    found = model_posterior(MODELS["mono"], TIMES, NOISY, SIGMA, RATE_P, WIDE)
    assert found.log_evidence == pytest.approx(expected, abs=0.02)


def test_evidence_of_uptake_and_clearance():
    x = np.arange(-4.0, 4.0, 0.02)
    slow, fast = (grid.ravel() for grid in np.meshgrid(x, x))
    rate, uptake = rates_of(WIDE_TUMOUR.clearance, slow), rates_of(WIDE_TUMOUR.uptake, fast)
    allowed = uptake > rate
    weights = (norm.pdf(slow) * norm.pdf(fast))[allowed]
    shapes = np.exp(-np.outer(rate[allowed], TIMES)) - np.exp(-np.outer(uptake[allowed], TIMES))
    found = model_posterior(MODELS["f3"], TIMES, NOISY, SIGMA, RATE_P, WIDE_TUMOUR)
    assert found.log_evidence == pytest.approx(evidence_of_shapes(shapes, weights / weights.sum()), abs=0.05)


@pytest.mark.parametrize("name", ["f3a", "bi", "tri"])
def test_evidence_by_plain_chance(name):
    """Curves drawn from the prior: nothing closes in on anything."""
    rng = np.random.default_rng(71)
    x = rng.normal(size=(4, 300_000))
    slow, early, uptake = (
        rates_of(p, x[k]) for k, p in enumerate((WIDE_TUMOUR.clearance, WIDE_TUMOUR.early, WIDE_TUMOUR.uptake))
    )
    if name == "f3a":
        early = np.full_like(slow, RATE_P)
    allowed = np.ones(slow.size, bool) if name == "f3a" else early > slow
    allowed &= (uptake > early) if name == "tri" else True
    share = expit(WIDE.early_odds[1] * x[3])[allowed, None]
    e1, e2, e3 = (np.exp(-np.outer(rates[allowed], TIMES)) for rates in (slow, early, uptake))
    shapes = (1.0 - share) * e1 + share * e2 - (e3 if name == "tri" else 0.0)
    expected = evidence_of_shapes(shapes, np.full(len(shapes), 1.0 / len(shapes)))
    found = model_posterior(MODELS[name], TIMES, NOISY, SIGMA, RATE_P, WIDE_TUMOUR)
    assert found.log_evidence == pytest.approx(expected, abs=0.25)


def test_sharp_data_are_found_however_wide_the_prior():
    """Points known to 0.01 %: the lattice has to close in a thousandfold."""
    vague = CurvePrior("vague", half_life_prior(80.0, 8.0), WIDE.early, half_life_prior(2.0, 8.0), "a test")
    posterior = model_posterior(MODELS["f3"], TIMES, CLEAN, 1e-4 * CLEAN, RATE_P, vague)
    weights = normalised(posterior.log_weights)
    assert weights @ posterior.rates_per_h[:, 0] == pytest.approx(LN2 / 60.0, rel=1e-3)
    assert weights @ posterior.rates_per_h[:, 2] == pytest.approx(LN2 / 5.0, rel=1e-3)
    assert posterior.chi2 < 10.0


@pytest.mark.parametrize("name", list(MODELS))
def test_bounds_hold_by_construction(name):
    posterior = model_posterior(MODELS[name], TIMES, NOISY, SIGMA, RATE_P, WIDE)
    there = np.isfinite(posterior.rates_per_h)
    assert (posterior.rates_per_h[there] >= RATE_P).all()
    assert ((posterior.shares >= 0.0) & (posterior.shares <= 1.0)).all()
    curves = draw_curves([posterior], [1.0])
    assert (curves.activity(np.linspace(0.0, 400.0, 201)) >= -1e-9).all()
    if name in {"f3", "tri"}:
        assert curves.activity([0.0])[:, 0] == pytest.approx(0.0, abs=1e-9)


def test_drawn_curves_have_the_moments_of_the_posterior():
    posterior = model_posterior(MODELS["f3"], TIMES, NOISY, SIGMA, RATE_P, WIDE)
    weights = normalised(posterior.log_weights)
    mean = weights @ (posterior.rho * posterior.tia_of_size)
    square = weights @ ((posterior.rho**2 + 1.0) * posterior.tia_of_size**2)
    drawn = draw_curves([posterior], [1.0]).tia_mbq_h
    assert drawn.mean() == pytest.approx(mean, rel=1e-3)
    assert drawn.std() == pytest.approx(np.sqrt(square - mean**2), rel=0.02)


def test_the_curve_that_stands_for_all_integrates_to_what_is_asked():
    posterior = model_posterior(MODELS["tri"], TIMES, NOISY, SIGMA, RATE_P, WIDE)
    amplitudes, rates = curve_with_integral(posterior, 8000.0)
    assert (amplitudes / rates).sum() == pytest.approx(8000.0)
    assert (np.diff(rates) > 0).all()
    assert amplitudes.sum() == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("dimensions", list(POINTS))
def test_the_lattice_is_even(dimensions):
    """Every tenth of every coordinate holds a tenth of the points, and every quarter of every pair a sixteenth."""
    x = lattice(dimensions)
    for k in range(dimensions):
        assert np.histogram(x[:, k], 10, (0, 1))[0] / len(x) == pytest.approx(np.full(10, 0.1), abs=0.003)
        for j in range(k):
            cells = np.histogram2d(x[:, k], x[:, j], 4, ((0, 1), (0, 1)))[0] / len(x)
            assert cells == pytest.approx(np.full((4, 4), 1 / 16), abs=0.004)
