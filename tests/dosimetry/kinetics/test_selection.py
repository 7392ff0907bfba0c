"""The choice of a model: it finds the truth, respects the number of points, and averages as published."""

import numpy as np
import pytest

from dosimetry.kinetics import aicc, choose_model
from nufitdose.errors import InputError

LU177_H = 159.528
TIMES = np.array([1.0, 4.0, 10.0, 24.0, 72.0, 120.0, 168.0, 240.0])


def curve(model, t):
    if model == "mono":
        return 100 * np.exp(-0.0145 * t)
    if model == "f3":
        return 100 * (np.exp(-0.0145 * t) - np.exp(-0.3 * t))
    return 60 * np.exp(-0.008 * t) + 60 * np.exp(-0.09 * t)


@pytest.mark.parametrize("model", ["mono", "f3", "bi"])
def test_finds_the_curve_that_made_the_data(model):
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(10):
        clean = curve(model, TIMES)
        u = 0.02 * clean
        choice = choose_model(
            TIMES, clean + u * rng.normal(size=8), LU177_H, u_activity_mbq=u, models=("mono", "f3", "bi")
        )
        hits += choice.best == model
        assert sum(choice.weights.values()) == pytest.approx(1.0)
    assert hits >= 8


def test_weights_follow_the_criterion():
    clean = curve("bi", TIMES)
    u = 0.05 * clean
    noisy = clean + u * np.random.default_rng(1).normal(size=8)
    choice = choose_model(TIMES, noisy, LU177_H, u_activity_mbq=u, models=("mono", "bi"))
    mono, bi = choice.fits["mono"], choice.fits["bi"]
    assert bi.aicc == pytest.approx(aicc(8, 4, chi2=bi.chi2))
    assert choice.weights["bi"] / choice.weights["mono"] == pytest.approx(np.exp(-(bi.aicc - mono.aicc) / 2), rel=1e-9)
    low, high = sorted([mono.tia_mbq_h, bi.tia_mbq_h])
    assert low <= choice.tia_mbq_h <= high


def test_four_points_with_unknown_noise_leave_no_choice():
    choice = choose_model(TIMES[[1, 3, 4, 6]], curve("f3", TIMES)[[1, 3, 4, 6]], LU177_H)
    assert choice.weights == {"mono": 1.0}


def test_nothing_to_choose_from_is_refused():
    with pytest.raises(InputError, match="no models"):
        choose_model(TIMES, curve("mono", TIMES), LU177_H, models=())
