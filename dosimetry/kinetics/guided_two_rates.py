"""Voxels of two rates that borrow from their structure: priors of both ln λ_bio, and the fit that they draw.

In a structure ln λ_bio,j of the voxels is taken as normal, independent between the two rates, with means and deviations
from the voxels themselves (empirical Bayes). A voxel's fit minimises ½ Σ w r² + ½ Σ_j ((ln λ_bio,j - m_j)/s_j)²; its
uncertainty is that of (JᵀWJ + prior precision)⁻¹.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dosimetry.kinetics.models import Model, Role, physical_rate
from dosimetry.kinetics.rate_prior import TOLD, RatePrior
from dosimetry.kinetics.scan_times import Group, ScanTimes
from dosimetry.kinetics.status import FitStatus
from dosimetry.kinetics.voxel_fit import check_sigma, fit_groups, values_and_weights
from dosimetry.kinetics.voxel_results import VoxelFit
from nufitdose.errors import InputError
from nufitdose.types import F64, Curves

TWO_RATES = ("bi", "f3", "f3a")
SAMPLE = 1000  # voxels from which the priors are estimated
NODES = 28  # of each ln λ_bio
SLOWEST = 0.01  # λ_bio in units of λ_p below which a rate is not told from physical decay
MAX_ROUNDS = 200
NARROWEST = 0.5  # spacings of the nodes: the least deviation that they tell


def estimate_two_priors(
    activity: Curves,
    times: ScanTimes,
    half_life_h: float,
    sigma: ArrayLike | float,
    model: Model,
    *,
    centre: Sequence[float] | None = None,
    seed: int = 0,
) -> tuple[RatePrior, ...]:
    """Mean and deviation of ln λ_bio of each free rate over the voxels of one structure, slow first, noise taken out.

    Maximises Π_v Σ_x p(y_v|x) p(x|m, s), p(y|x) that of the best amplitudes >= 0 at rates x, over at most 1000 voxels
    whose best amplitude exceeds three times its uncertainty; with a `centre` of each m over s alone. `InputError`
    without voxels of as many points as parameters.
    """
    rate_p = physical_rate(half_life_h)
    noise = check_sigma(np.asarray(sigma, dtype=np.float64), activity)
    enough = np.isfinite(activity).sum(axis=1) >= model.n_parameters
    chosen = np.flatnonzero(enough)
    if chosen.size > SAMPLE:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, SAMPLE, replace=False))
    sample, noise = activity[chosen], noise[chosen] if noise.ndim == 2 else noise
    groups = [group for group in times.part(chosen).groups(rate_p) if group.columns.size >= model.n_parameters]
    if not chosen.size or not groups:
        raise InputError(f"no voxel has the {model.n_parameters} measured values that {model.name} asks for")
    nodes = [
        np.linspace(np.log(SLOWEST * rate_p), np.log(max(_fastest(model, group, j, rate_p) for group in groups)), NODES)
        for j in model.free_rates
    ]
    found = [_evidence(sample, noise, group, rate_p, model, nodes) for group in groups]
    evidence = np.concatenate([e for e in found if len(e)])
    told = evidence.max(axis=(1, 2)) >= 0.5 * TOLD**2
    if not told.any():
        raise InputError("no voxel stands out of its noise: the rates of the structure cannot be told from these scans")
    return _maximise(evidence[told], nodes, centre)


def fit_two_rates_guided(
    activity: Curves,
    times: ScanTimes,
    half_life_h: float,
    noise: NDArray[np.floating],
    model: Model,
    priors: Sequence[RatePrior],
) -> VoxelFit:
    """Fit the voxels of one structure with two rates drawn to its priors; where amplitudes are not positive, mono."""
    drawn = np.zeros((2, 2))
    for j, prior in zip(model.free_rates, priors, strict=True):
        drawn[j] = prior.mean_ln_rate, prior.sd_ln_rate**-2.0
    fit = fit_groups(activity, times, physical_rate(half_life_h), noise, model.name, drawn)
    guided = np.where(fit.status == model.status, np.uint8(FitStatus.GUIDED_TWO_RATES), fit.status)
    return replace(fit, status=guided)


def _fastest(model: Model, group: Group, j: int, rate_p: float) -> float:
    """Largest λ_bio of rate j that the times of a group resolve."""
    return float(model.bounds(group.times_h, rate_p)[j, 1]) - rate_p


def _evidence(
    activity: Curves, noise: NDArray[np.floating], group: Group, rate_p: float, model: Model, nodes: Sequence[F64]
) -> F64:
    """½ NᵀA of the best amplitudes >= 0, [voxels, nodes of the first rate, nodes of the second, or one]."""
    y, weight = (x.T for x in values_and_weights(activity, noise, group.everyone, group.columns))
    known = np.isfinite(y)
    w = np.where(known, weight, 0.0)
    t = group.times_h
    first = np.exp(-np.outer(rate_p + np.exp(nodes[0]), t))
    second = np.exp(-np.outer(rate_p + np.exp(nodes[1]), t)) if len(nodes) > 1 else np.exp(-rate_p * t)[None]
    wy = np.where(known, w * y, 0.0)
    n0, n1 = (wy @ first.T)[:, :, None], (wy @ second.T)[:, None, :]
    d00, d11 = (w @ (first**2).T)[:, :, None], (w @ (second**2).T)[:, None, :]
    d01 = np.einsum("vt,it,jt->vij", w, first, second, optimize=True)
    if Role.UPTAKE in model.roles:
        size = d00 - 2.0 * d01 + d11
        return np.asarray(0.5 * np.maximum(n0 - n1, 0.0) ** 2 / np.maximum(size, 1e-9 * d00))
    determinant = d00 * d11 - d01 * d01
    a, b = n0 * d11 - n1 * d01, n1 * d00 - n0 * d01
    both = (a > 0) & (b > 0) & (determinant > 1e-9 * d00 * d11)
    one = np.maximum(np.maximum(n0, 0.0) ** 2 / d00, np.maximum(n1, 0.0) ** 2 / d11)
    return np.asarray(0.5 * np.where(both, (a * n0 + b * n1) / np.where(both, determinant, 1.0), one))


def _maximise(evidence: F64, nodes: Sequence[F64], centre: Sequence[float] | None) -> tuple[RatePrior, ...]:
    """Expectation-maximisation of means and deviations over the nodes; the first rate is the slower of two."""
    held = (
        [None] * len(nodes)
        if centre is None
        else [float(np.clip(m, x[0], x[-1])) for m, x in zip(centre, nodes, strict=True)]
    )
    likelihood = np.exp(evidence - evidence.max(axis=(1, 2), keepdims=True))
    if len(nodes) > 1:
        likelihood *= nodes[0][:, None] < nodes[1][None, :]
    priors = [
        RatePrior(float(np.quantile(x, q)) if m is None else m, float(np.ptp(x) / 6))
        for x, q, m in zip(nodes, (0.4, 0.8), held, strict=False)
    ]
    for _ in range(MAX_ROUNDS):
        shape = [np.exp(-0.5 * ((x - p.mean_ln_rate) / p.sd_ln_rate) ** 2) for x, p in zip(nodes, priors, strict=True)]
        weight = np.multiply.outer(shape[0], shape[1]) if len(nodes) > 1 else shape[0][:, None]
        share = np.einsum("vij,ij->v", likelihood, weight) + 1e-300
        mass = weight * np.einsum("vij,v->ij", likelihood, 1.0 / share)
        previous = np.array([(p.mean_ln_rate, p.sd_ln_rate) for p in priors])
        priors = [_moments(x, mass.sum(axis=1 - axis), held[axis]) for axis, x in enumerate(nodes)]
        if np.abs(previous - [(p.mean_ln_rate, p.sd_ln_rate) for p in priors]).max() < 1e-3:
            break
    return tuple(priors)


def _moments(x: F64, mass: F64, held: float | None) -> RatePrior:
    mean = float(np.average(x, weights=mass)) if held is None else held
    deviation = float(np.sqrt(np.average((x - mean) ** 2, weights=mass)))
    return RatePrior(mean, max(deviation, NARROWEST * float(x[1] - x[0])))
