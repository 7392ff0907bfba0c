"""How noisy voxels are, told from how far they scatter about their own curves."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import nnls

from dosimetry.kinetics.models import LN2, Model, model_named
from dosimetry.kinetics.scan_times import ScanTimes
from dosimetry.kinetics.status import FitStatus
from dosimetry.kinetics.voxel_fit import fit_voxels
from dosimetry.kinetics.voxel_results import VoxelFit
from nufitdose.errors import InputError
from nufitdose.types import F64, Curves

SAMPLE = 20_000
ROUNDS = 8
FEWEST = 50  # voxels below which a scatter is not worth fitting


@dataclass(frozen=True)
class NoiseModel:
    """σ² = floor² + gain · A: `floor_bq_ml` Bq/mL, `gain_bq_ml` variance per activity (as counts have it), Bq/mL."""

    floor_bq_ml: float
    gain_bq_ml: float

    def sigma(self, expected: ArrayLike) -> F64:
        """Standard deviation, Bq/mL, of values whose expectation is `expected`, any shape."""
        mean = np.maximum(np.asarray(expected, dtype=np.float64), 0.0)
        return np.asarray(np.sqrt(self.floor_bq_ml**2 + self.gain_bq_ml * mean))


def estimate_noise(
    activity: Curves, times_h: ArrayLike | ScanTimes, half_life_h: float, *, model: str = "mono", seed: int = 0
) -> NoiseModel:
    """Floor and gain of the noise from the residuals r of mono-exponential fits to voxels of one kind.

    E[r_i²] = σ_i² (1 - h_i), h the diagonal of J (JᵀWJ)⁻¹ Jᵀ W; floor² and gain follow by least squares weighted 1/σ⁴,
    in turn with the fits that they weigh. What one exponential cannot follow, misregistration too, counts as noise.
    At most 20 000 voxels, drawn with `seed`; times and missing values as in `fit_voxels`. With a `model` of two rates
    Σ r²/(n - K) of each voxel stands for σ² at its mean activity. `InputError` without 50 voxels of more points than
    parameters whose fits lie within their bounds.
    """
    y = np.asarray(activity, dtype=np.float64)
    times = ScanTimes.of(times_h, *y.shape)
    t = np.broadcast_to(times.expanded(), y.shape)
    known = np.isfinite(y) & np.isfinite(t)
    shape = model_named(model)
    enough = np.flatnonzero(known.sum(axis=1) > shape.n_parameters)
    if enough.size > SAMPLE:
        enough = np.random.default_rng(seed).choice(enough, SAMPLE, replace=False)
    if enough.size < FEWEST:
        raise InputError(
            f"noise cannot be told from {enough.size} voxels of more than {shape.n_parameters} points, wanted {FEWEST}",
            remedy="Give the standard deviation of the voxels instead",
        )
    y, t, known, times = y[enough], np.nan_to_num(t[enough]), known[enough], times.part(enough)
    if model != "mono":
        return _from_scatter(y, known, fit_voxels(y, times, half_life_h, model=model), shape)
    sigma = np.ones_like(y)
    found_model = NoiseModel(1.0, 0.0)
    for _ in range(ROUNDS):
        fit = fit_voxels(y, times, half_life_h, sigma=sigma)
        use = fit.status == FitStatus.MONO
        if use.sum() < FEWEST:
            raise InputError("too few voxels follow one exponential for their noise to be told from their scatter")
        rate = LN2 / fit.teff_h.astype(np.float64)
        decay = np.exp(-rate[:, None] * t)
        expected = fit.amplitude.astype(np.float64)[:, None] * decay
        free = 1.0 - _leverage(decay[use], t[use], np.where(known, sigma, np.inf)[use])
        scale = np.where(known, sigma**-2.0, 0.0)[use]
        design = np.stack([(free * scale).ravel(), (free * scale * expected[use]).ravel()], axis=1)
        size = np.abs(design).max(axis=0)
        squares = np.where(known, y - expected, 0.0)[use] ** 2
        found = nnls(design / size, (squares * scale).ravel())[0] / size
        found_model = NoiseModel(float(np.sqrt(found[0])), float(found[1]))
        smallest = 1e-9 * np.nanmax(np.abs(y)) + 1e-300
        sigma = np.maximum(found_model.sigma(np.where(use[:, None], expected, np.where(known, y, 0.0))), smallest)
    return found_model


def estimate_noise_about(activity: Curves, shape: F64) -> NoiseModel:
    """Floor and gain from the scatter of voxels about one `shape` [times] of their own size each.

    Σ r²/(n - 1) of each voxel against its mean activity; rates that differ between voxels count as noise. `InputError`
    without 50 voxels of two values.
    """
    y = np.asarray(activity, dtype=np.float64)
    known = np.isfinite(y)
    enough = known.sum(axis=1) > 1
    if enough.sum() < FEWEST:
        raise InputError(f"noise cannot be told from {int(enough.sum())} voxels of two values, wanted {FEWEST}")
    y, known = np.where(known, y, 0.0)[enough], known[enough]
    n = known.sum(axis=1)
    size = (y @ shape) / (known @ shape**2)
    residual = np.where(known, y - size[:, None] * shape, 0.0)
    mean = np.maximum(size * (known @ shape) / n, 0.0)
    return _floor_and_gain((residual**2).sum(axis=1) / (n - 1), mean)


def _from_scatter(y: F64, known: NDArray[np.bool_], fit: VoxelFit, shape: Model) -> NoiseModel:
    """Floor² and gain from Σ r²/(n - K) of voxels that follow the model, against their mean activity."""
    use = fit.status == shape.status
    if use.sum() < FEWEST:
        raise InputError(f"too few voxels follow {shape.name} for their noise to be told from their scatter")
    n = known[use].sum(axis=1)
    variance = fit.rmse[use].astype(np.float64) ** 2 * n / (n - shape.n_parameters)
    return _floor_and_gain(variance, np.maximum(np.where(known, y, 0.0)[use].sum(axis=1) / n, 0.0))


def _floor_and_gain(variance: F64, mean: F64) -> NoiseModel:
    """σ² = floor² + gain · mean through what each voxel scatters, weighted 1/σ⁴."""
    if not variance.mean() > 0.0:
        return NoiseModel(0.0, 0.0)
    expected = np.full(variance.size, variance.mean())
    for _ in range(ROUNDS):
        design = np.stack([1.0 / expected, mean / expected], axis=1)
        size = np.maximum(design.max(axis=0), 1e-300)
        floor2, gain = nnls(design / size, variance / expected)[0] / size
        expected = np.maximum(floor2 + gain * mean, 1e-9 * variance.mean() + 1e-300)
    return NoiseModel(float(np.sqrt(floor2)), float(gain))


def _leverage(decay: F64, t: F64, sigma: F64) -> F64:
    """h_i of the fit of amplitude and rate, [voxels, times]; the amplitude itself cancels."""
    w = sigma**-2
    first, second = decay, decay * t
    aa, ab, bb = (w * first * first).sum(1), (w * first * second).sum(1), (w * second * second).sum(1)
    determinant = aa * bb - ab * ab
    inverse = (bb[:, None] * first**2 - 2 * ab[:, None] * first * second + aa[:, None] * second**2) / determinant[
        :, None
    ]
    return np.asarray(w * inverse)
