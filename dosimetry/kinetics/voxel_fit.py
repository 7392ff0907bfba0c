"""Time-integrated activity of every voxel: checks, batches and threads around the compiled fit."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dosimetry.kinetics.models import MODELS, fastest_rate, physical_rate
from dosimetry.kinetics.scan_times import Group, ScanTimes, Voxels
from dosimetry.kinetics.second_phase import NO_PRIOR, Batch, with_least_aicc, with_two_rates
from dosimetry.kinetics.voxel_kernels import fit_mono
from dosimetry.kinetics.voxel_results import VoxelFit, VoxelFitBuilder, room
from nufitdose.compiled import in_threads
from nufitdose.errors import InputError
from nufitdose.types import F64, Curves

VOXEL_MODELS = ("mono", "bi", "f3", "f3a", "aicc")
BATCH = 1 << 15  # voxels copied to double precision at once by each thread
GRID_STEP = 0.2  # of ln λ, between the rates of the search


def fit_voxels(
    activity: Curves,
    times_h: ArrayLike | ScanTimes,
    half_life_h: float,
    model: str = "mono",
    sigma: ArrayLike | float | None = None,
) -> VoxelFit:
    """Fit a e^(-λt), λ >= ln2/half_life_h and a >= 0, to each voxel by least squares and integrate it, Ã = a/λ.

    With `model` "bi", "f3" or "f3a" (of the structure these voxels are of), two rates: λ_1, λ_2 within the bounds of
    docs/explanation/kinetics.md, amplitudes positive. A voxel with fewer points than parameters, or whose second phase
    does not lower the sum of squares, keeps its mono fit and the status of that. With "aicc" each voxel gets the one of
    mono, f3, f3a and bi that has the least AICc among those that its points can compare; `u_tia` is that of the model
    chosen.

    `activity` [voxels, times] Bq/mL at acquisition, any order in memory; NaN or infinite values are missing, for that
    voxel only. `times_h` h after administration: [times] in any order, or [voxels, times] where voxels were seen at
    times of their own (bed positions), or, without room for them, `ScanTimes` of either; a time of a voxel that is
    NaN drops that point for it. `half_life_h` is the physical half-life. `sigma` Bq/mL, standard deviation of values: a
    number, [times] or [voxels, times]; with it points weigh 1/σ² and `u_tia` follows from σ, without it all weigh
    the same and `u_tia` follows from the residuals where points outnumber parameters.

    One point: physical decay. Two: exact within the bounds. Activity that rises: linear from zero, trapezoids, then
    physical decay. Which rule each voxel got is in `status`; the rules and bounds are in docs/explanation/kinetics.md.
    Raises `InputError` for times or a half-life that make no sense, ValueError for arrays that do not fit together.
    """
    if model not in VOXEL_MODELS:
        raise InputError(f"the voxel model {model!r} was asked for, wanted one of {', '.join(VOXEL_MODELS)}")
    rate_p = physical_rate(half_life_h)
    noise = None if sigma is None else check_sigma(np.asarray(sigma, dtype=np.result_type(sigma, np.float32)), activity)
    return fit_groups(activity, ScanTimes.of(times_h, *activity.shape), rate_p, noise, model)


def fit_groups(
    activity: Curves,
    times: ScanTimes,
    rate_p: float,
    sigma: NDArray[np.floating] | None,
    model: str,
    prior: F64 = NO_PRIOR,
) -> VoxelFit:
    """`fit_voxels` of checked arguments; `prior` [2, 2] m_j and 1/s_j² of ln λ_bio,j for models of two rates."""
    fit = VoxelFitBuilder(activity.shape[0])
    in_threads(_batches(activity, times, rate_p, sigma, model, prior, fit))
    return fit.result()


def with_common_error(tia: ArrayLike, u_tia: ArrayLike, relative: float) -> F64:
    """u(Ã) with an error common to all scans (calibration, recovery): √(u² + (relative · Ã)²), any shape.

    Such an error moves the whole curve, so it is added to Ã, not to the points (Gear 2018,
    doi:10.1007/s00259-018-4136-7).
    """
    return np.asarray(np.hypot(u_tia, relative * np.asarray(tia, dtype=np.float64)))


def check_sigma(sigma: NDArray[np.floating], activity: Curves) -> NDArray[np.floating]:
    """The noise as given; ValueError unless its shape fits and it is positive wherever there is a value."""
    if sigma.shape not in {(), activity.shape[1:], activity.shape}:
        raise ValueError(f"sigma has shape {sigma.shape}, wanted a number, {activity.shape[1:]} or {activity.shape}")
    for start in range(0, activity.shape[0], BATCH):
        part = slice(start, start + BATCH)
        here = sigma[part] if sigma.ndim == 2 else sigma
        if not ((here > 0) & (here < np.inf) | ~np.isfinite(activity[part])).all():
            raise ValueError("sigma must be positive and finite wherever there is a measured value")
    return sigma


def _batches(
    activity: Curves,
    times: ScanTimes,
    rate_p: float,
    sigma: NDArray[np.floating] | None,
    model: str,
    prior: F64,
    fit: VoxelFitBuilder,
) -> Iterator[Callable[[], None]]:
    """For each batch of voxels that share their scan times: fit them, and put the results in their place."""

    def run(group: Group, grid: F64, part: Voxels) -> None:
        y, weight = values_and_weights(activity, sigma, part, group.columns)
        batch = Batch(y, weight, group.times_h, rate_p, sigma is not None)
        out, status = room(y.shape[1])
        fit_mono(y, weight, group.times_h, rate_p, grid, batch.noise_known, out, status)
        if model == "aicc":
            with_least_aicc(batch, out, status)
        elif model != "mono":
            with_two_rates(batch, out, status, MODELS[model], prior)
        fit.put(part, VoxelFit.of(out, status))

    for group in times.groups(rate_p):
        if not group.columns.size:
            fit.put(group.everyone, VoxelFit.nothing(group.size(activity.shape[0])))
            continue
        fastest = fastest_rate(group.times_h, rate_p)
        grid = np.geomspace(rate_p, fastest, 2 + int(np.log(fastest / rate_p) / GRID_STEP))
        yield from (partial(run, group, grid, part) for part in group.batches(activity.shape[0], BATCH))


def values_and_weights(
    activity: Curves, sigma: NDArray[np.floating] | None, part: Voxels, columns: NDArray[np.intp]
) -> tuple[F64, F64]:
    """Of some voxels, in the order of the sorted times: activity [times, voxels], weights [times, 1 or voxels]."""
    rows = activity[part]
    y = np.empty((columns.size, rows.shape[0]))
    for i, column in enumerate(columns):
        y[i] = rows[:, column]
    if sigma is None:
        return y, np.ones((columns.size, 1))
    if sigma.ndim == 2:
        return y, np.ascontiguousarray(sigma[part].T[columns].astype(np.float64) ** -2)
    of_scans = sigma.astype(np.float64)[columns] if sigma.ndim else np.full(columns.size, float(sigma))
    return y, of_scans[:, None] ** -2
