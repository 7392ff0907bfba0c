"""Voxel fits that borrow from their structure: noisy voxels take its rate, bright voxels keep their own.

In a structure ln λ_bio of the voxels is taken as normal, mean m and standard deviation s. Both come from the data
themselves (empirical Bayes, by expectation-maximisation of the voxels' evidence); the noise σ must be known. Each
voxel then gets the posterior mean and standard deviation of Ã, bounds included, rather than a best fit.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dosimetry.kinetics.guided_kernels import posterior
from dosimetry.kinetics.guided_two_rates import estimate_two_priors, fit_two_rates_guided
from dosimetry.kinetics.models import Role, fastest_rate, model_named, physical_rate
from dosimetry.kinetics.rate_prior import TOLD, RatePrior
from dosimetry.kinetics.scan_times import Group, ScanTimes, Voxels
from dosimetry.kinetics.voxel_fit import check_sigma, fit_voxels, values_and_weights
from dosimetry.kinetics.voxel_results import VoxelFit, VoxelFitBuilder, room
from nufitdose.compiled import in_threads
from nufitdose.errors import InputError
from nufitdose.types import F64, Curves

BATCH = 1 << 14
NODES = 65  # rates of the posterior, evenly in ln λ_bio over m ± 4 s
REACH = 4.0
Z_STEP = 2.0 * REACH / (NODES - 1)
SLOWEST = 0.01  # λ_bio in units of λ_p below which a rate is not told from physical decay
SAMPLE = 4000  # voxels from which the prior is estimated
MAX_ROUNDS = 300


def estimate_prior(
    activity: Curves,
    times_h: ArrayLike | ScanTimes,
    half_life_h: float,
    sigma: ArrayLike | float,
    *,
    centre: float | None = None,
    seed: int = 0,
) -> RatePrior:
    """Mean and deviation of ln λ_bio over the voxels of one structure, the noise taken out.

    Maximises Π_v ∫ p(y_v|λ) p(λ|m, s) dλ over m and s, or over s alone about a `centre` that is known. At most 4000
    voxels, drawn with `seed`, are used, and of those the ones whose amplitude is known to a third or better, where
    there are any: the others tell of the flat prior of the amplitude only, which has more room at fast rates. Arguments
    as in `fit_voxels`; `InputError` without voxels of two points.
    """
    rate_p = physical_rate(half_life_h)
    noise = check_sigma(np.asarray(sigma, dtype=np.float64), activity)
    times = ScanTimes.of(times_h, *activity.shape)
    chosen = np.arange(activity.shape[0])
    if chosen.size > SAMPLE:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, SAMPLE, replace=False))
        activity = activity[chosen]
        noise, times = noise[chosen] if noise.ndim == 2 else noise, times.part(chosen)
    groups = [group for group in times.groups(rate_p) if group.columns.size]
    fastest = max((fastest_rate(group.times_h, rate_p) for group in groups), default=2.0 * rate_p)
    x = np.linspace(np.log(SLOWEST * rate_p), np.log(fastest - rate_p), 120)
    found = [_evidence(activity, noise, group, rate_p, x) for group in groups]
    if not sum(seen.size for _, seen in found):
        raise InputError("no voxel has two measured values: a structure's rate cannot be estimated from these scans")
    evidence, seen = (np.concatenate(parts) for parts in zip(*found, strict=True))
    told = seen >= TOLD**2
    return _maximise(evidence[told] if told.any() else evidence, x, centre)


def _evidence(activity: Curves, noise: NDArray[np.floating], group: Group, rate_p: float, x: F64) -> tuple[F64, F64]:
    """ln p(y|λ) at the nodes x = ln λ_bio less its largest, and the largest (a/u(a))²; for voxels of two values."""
    y, weight = (x.T for x in values_and_weights(activity, noise, group.everyone, group.columns))
    known = np.isfinite(y)
    w = np.where(known, weight, 0.0)
    use = known.sum(axis=1) > 1
    y, w = np.where(known, y, 0.0)[use], w[use]
    e = np.exp(-np.outer(rate_p + np.exp(x), group.times_h - group.times_h[0]))
    d = w @ (e**2).T
    n = np.maximum((w * y) @ e.T, 0.0)
    seen = n**2 / d
    first = np.argmax(known[use], axis=1)  # the flat prior is of the activity there
    evidence = 0.5 * seen - 0.5 * np.log(d) + np.log(e[:, first].T)
    return np.asarray(evidence - evidence.max(axis=1, keepdims=True)), np.asarray(seen.max(axis=1))


def _maximise(evidence: F64, x: F64, centre: float | None) -> RatePrior:
    """Expectation-maximisation of the mean, where there is no centre, and the deviation over the nodes x.

    `evidence` is [voxels, nodes].
    """
    likelihood = np.exp(evidence)
    held = None if centre is None else float(np.clip(centre, x[0], x[-1]))
    mean, sd = float(np.average(x, weights=likelihood.sum(axis=0))), float(np.ptp(x) / 4)
    mean = mean if held is None else held
    spacing = float(x[1] - x[0])
    for _ in range(MAX_ROUNDS):
        prior = np.exp(-0.5 * ((x - mean) / sd) ** 2)
        mass = prior * ((1.0 / (likelihood @ prior + 1e-300)) @ likelihood)
        previous = (mean, sd)
        mean = float(np.average(x, weights=mass)) if held is None else held
        sd = max(float(np.sqrt(np.average((x - mean) ** 2, weights=mass))), 0.5 * spacing)
        if abs(mean - previous[0]) + abs(sd - previous[1]) < 1e-4:
            break
    return RatePrior(mean, sd)


def fit_voxels_guided(
    activity: Curves,
    times_h: ArrayLike | ScanTimes,
    half_life_h: float,
    sigma: ArrayLike | float,
    prior: RatePrior | Sequence[RatePrior] | None = None,
    model: str = "mono",
) -> VoxelFit:
    """Posterior mean and standard deviation of Ã for the voxels of one structure; arguments as in `fit_voxels`.

    `prior` is estimated from these voxels where it is not given. A voxel whose own data fix its rate more finely than
    the nodes of the prior resolve (1/8 s) keeps its free fit and that status; a voxel with one point uses the prior.
    With `model` "bi", "f3" or "f3a" both rates have priors (a sequence of one for each free rate, slow first, or
    estimated), and the fit is the best one given them; a voxel whose amplitudes are not positive keeps its mono fit,
    and one with too few points is guided by the slow rate alone ("bi", "f3").
    """
    noise = check_sigma(np.asarray(sigma, dtype=np.result_type(sigma, np.float32)), activity)
    times = ScanTimes.of(times_h, *activity.shape)
    given = [prior] if isinstance(prior, RatePrior) else prior
    if model != "mono":
        shape = model_named(model)
        priors = given or estimate_two_priors(activity, times, half_life_h, sigma, shape)
        fit = fit_two_rates_guided(activity, times, half_life_h, noise, shape, priors)
        short = np.flatnonzero(np.isfinite(activity).sum(axis=1) < shape.n_parameters)
        if short.size and Role.PHYSICAL not in shape.roles:  # too few points for two rates: the slow one guides
            own_noise = noise[short] if noise.ndim == 2 else noise
            alone = _fit_mono_guided(activity[short], times.part(short), half_life_h, own_noise, priors[0])
            joined = VoxelFitBuilder.from_fit(fit)
            joined.put(short, alone)
            return joined.result()
        return fit
    return _fit_mono_guided(activity, times, half_life_h, noise, given[0] if given else None)


def _fit_mono_guided(
    activity: Curves, times: ScanTimes, half_life_h: float, noise: NDArray[np.floating], prior: RatePrior | None
) -> VoxelFit:
    rate_p = physical_rate(half_life_h)
    prior = prior or estimate_prior(activity, times, half_life_h, noise)
    fit = VoxelFitBuilder(activity.shape[0])
    spread = np.full(activity.shape[0], np.inf, np.float32)
    in_threads(_batches(activity, times, rate_p, noise, prior, fit, spread))
    bright = np.flatnonzero(spread < prior.sd_ln_rate * Z_STEP)
    if bright.size:
        own_noise = noise[bright] if noise.ndim == 2 else noise
        fit.put(bright, fit_voxels(activity[bright], times.part(bright), half_life_h, sigma=own_noise))
    return fit.result()


def _batches(
    activity: Curves,
    times: ScanTimes,
    rate_p: float,
    noise: NDArray[np.floating],
    prior: RatePrior,
    fit: VoxelFitBuilder,
    spread: NDArray[np.float32],
) -> Iterator[Callable[[], None]]:
    """For each batch of voxels that share their scan times: their posterior, put in its place."""
    z = np.linspace(-REACH, REACH, NODES)
    everywhere = prior.mean_ln_rate + z * prior.sd_ln_rate

    def run(group: Group, nodes: tuple[F64, ...], part: Voxels) -> None:
        y, weight = values_and_weights(activity, noise, part, group.columns)
        (out, status), width = room(y.shape[1]), np.empty(y.shape[1], np.float32)
        posterior(y, weight, group.times_h, *nodes, out, status, width)
        fit.put(part, VoxelFit.of(out, status))
        spread[part] = width

    for group in times.groups(rate_p):
        if not group.columns.size:
            fit.put(group.everyone, VoxelFit.nothing(group.size(activity.shape[0])))
            continue
        t = group.times_h
        bound = np.log(fastest_rate(t, rate_p) - rate_p)  # the curve must not grow without end back to administration
        within = max(1, int((everywhere <= bound).sum()))
        positions = np.minimum(everywhere[:within], bound)
        rates = rate_p + np.exp(positions)
        table = np.exp(-np.outer(rates, t - t[0]))
        per_amplitude = np.exp(rates * t[0]) / rates
        nodes = rates, positions, -0.5 * z[:within] ** 2, table, per_amplitude
        yield from (partial(run, group, nodes, part) for part in group.batches(activity.shape[0], BATCH))
