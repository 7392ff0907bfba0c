"""Voxel fits that borrow from their structure: noisy voxels take its rate, bright voxels keep their own.

In a structure ln λ_bio of the voxels is taken as normal, mean m and standard deviation s. Both come from the data
themselves (empirical Bayes, by expectation-maximisation of the voxels' evidence); the noise σ must be known. Each
voxel then gets the posterior mean and standard deviation of Ã, bounds included, rather than a best fit.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numba import config as numba_config
from numpy.typing import ArrayLike, NDArray

from dosimetry.kinetics.guided_kernels import posterior
from dosimetry.kinetics.models import check_times, fastest_rate, physical_rate
from dosimetry.kinetics.voxel_fit import VoxelFit, checked_sigma, fit_voxels, weights
from nufitdose.errors import InputError
from nufitdose.types import Curves

F64 = NDArray[np.float64]
BATCH = 1 << 14
NODES = 65  # rates of the posterior, evenly in ln λ_bio over m ± 4 s
REACH = 4.0
SLOWEST = 0.01  # λ_bio in units of λ_p below which a rate is not told from physical decay
SAMPLE = 4000  # voxels from which the prior is estimated
MAX_ROUNDS = 300


@dataclass(frozen=True)
class RatePrior:
    """What is known of a structure's biological rate, 1/h: ln λ_bio is normal with this mean and deviation."""

    mean_ln_rate: float
    sd_ln_rate: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.mean_ln_rate) and np.isfinite(self.sd_ln_rate) and self.sd_ln_rate > 0):
            raise ValueError(f"a prior needs a finite mean and a positive deviation, got {self}")


def estimate_prior(
    activity: Curves, times_h: ArrayLike, half_life_h: float, sigma: ArrayLike | float, *, seed: int = 0
) -> RatePrior:
    """Mean and deviation of ln λ_bio over the voxels of one structure, the noise taken out.

    Maximises Π_v ∫ p(y_v|λ) p(λ|m, s) dλ over m and s. At most 4000 voxels, drawn with `seed`, are used. Arguments as
    in `fit_voxels`; `InputError` without voxels of two points.
    """
    t, order, rate_p = _times(times_h, half_life_h)
    noise = checked_sigma(np.asarray(sigma, dtype=np.float64), activity)
    chosen = np.arange(activity.shape[0])
    if chosen.size > SAMPLE:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, SAMPLE, replace=False))
    y = np.asarray(activity[chosen], dtype=np.float64)[:, order]
    known = np.isfinite(y)
    w = np.where(known, np.broadcast_to(weights(noise, chosen, order).T, y.shape), 0.0)
    use = known.sum(axis=1) > 1
    if not use.any():
        raise InputError("no voxel has two measured values: a structure's rate cannot be estimated from these scans")
    y, w = np.where(known, y, 0.0)[use], w[use]
    x = np.linspace(np.log(SLOWEST * rate_p), np.log(fastest_rate(t, rate_p) - rate_p), 120)
    e = np.exp(-np.outer(rate_p + np.exp(x), t - t[0]))
    d = w @ (e**2).T
    n = np.maximum((w * y) @ e.T, 0.0)
    evidence = 0.5 * n**2 / d - 0.5 * np.log(d)
    return _maximise(evidence - evidence.max(axis=1, keepdims=True), x)


def _maximise(evidence: F64, x: F64) -> RatePrior:
    """Expectation-maximisation of the mean and the deviation over the nodes x; evidence [voxels, nodes]."""
    likelihood = np.exp(evidence)
    mean, sd = float(np.average(x, weights=likelihood.sum(axis=0))), float(np.ptp(x) / 4)
    spacing = float(x[1] - x[0])
    for _ in range(MAX_ROUNDS):
        prior = np.exp(-0.5 * ((x - mean) / sd) ** 2)
        share = likelihood * prior
        share /= share.sum(axis=1, keepdims=True) + 1e-300
        mass = share.sum(axis=0)
        previous = (mean, sd)
        mean = float(np.average(x, weights=mass))
        sd = max(float(np.sqrt(np.average((x - mean) ** 2, weights=mass))), 0.5 * spacing)
        if abs(mean - previous[0]) + abs(sd - previous[1]) < 1e-4:
            break
    return RatePrior(mean, sd)


def fit_voxels_guided(
    activity: Curves,
    times_h: ArrayLike,
    half_life_h: float,
    sigma: ArrayLike | float,
    prior: RatePrior | None = None,
) -> VoxelFit:
    """Posterior mean and standard deviation of Ã for the voxels of one structure; arguments as in `fit_voxels`.

    `prior` is estimated from these voxels where it is not given. A voxel whose own data fix its rate more finely than
    the nodes of the prior resolve (1/8 s) keeps its free fit and that status; a voxel with one point uses the prior.
    `extrapolated` counts from the last scan.
    """
    t, order, rate_p = _times(times_h, half_life_h)
    noise = checked_sigma(np.asarray(sigma, dtype=np.float64), activity)
    prior = prior or estimate_prior(activity, times_h, half_life_h, sigma)
    z = np.linspace(-REACH, REACH, NODES)
    positions = prior.mean_ln_rate + z * prior.sd_ln_rate
    rates = rate_p + np.exp(positions)
    fit = VoxelFit.empty(activity.shape[0])
    spread = np.empty(activity.shape[0], np.float32)

    def batch(start: int) -> None:
        part = slice(start, start + BATCH)
        y = np.ascontiguousarray(np.asarray(activity[part], dtype=np.float64).T[order])
        results = [array[part] for array in fit.arrays()]
        posterior(y, weights(noise, part, order), t, rates, positions, -0.5 * z**2, *results, spread[part])

    with ThreadPoolExecutor(numba_config.NUMBA_NUM_THREADS) as pool:
        list(pool.map(batch, range(0, activity.shape[0], BATCH)))
    bright = np.flatnonzero(spread < prior.sd_ln_rate * (z[1] - z[0]))
    if bright.size:
        own = fit_voxels(activity[bright], times_h, half_life_h, sigma=noise[bright] if noise.ndim == 2 else noise)
        for array, values in zip(fit.arrays(), own.arrays(), strict=True):
            array[bright] = values
    return fit


def _times(times_h: ArrayLike, half_life_h: float) -> tuple[F64, NDArray[np.intp], float]:
    rate_p = physical_rate(half_life_h)
    t = np.asarray(times_h, dtype=np.float64)
    order = np.argsort(t)
    check_times(t[order], rate_p)
    return t[order], order, rate_p
