"""A second rate for voxels that have a mono fit: the model that is asked for, or the one that AICc prefers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dosimetry.kinetics.models import MODELS, Model, akaike_penalty
from dosimetry.kinetics.two_rate_kernels import fit_two_rates
from nufitdose.types import F64

F32 = NDArray[np.float32]
PAIR_STEP = 0.5  # of ln λ, between the rates of the search for two
CANDIDATES = ("f3a", "f3", "bi")  # beside mono under "aicc"
NO_PRIOR = np.zeros((2, 2))


@dataclass(frozen=True, eq=False)
class Batch:
    """Voxels whose second rate is sought: values [times, voxels], weights [times, 1 or voxels], times, λ_p."""

    values: F64
    weights: F64
    times_h: F64
    rate_p: float
    noise_known: bool


def with_two_rates(
    batch: Batch, out: F32, status: NDArray[np.uint8], model: Model, prior: F64 = NO_PRIOR, worth: float = -1.0
) -> F64:
    """Replace the mono fit in `out` and `status` where `model` is better, as `fit_two_rates` says; Σ w r² [voxels]."""
    fastest = float(model.bounds(batch.times_h, batch.rate_p).max())
    grid = np.geomspace(batch.rate_p, fastest, 2 + int(np.log(fastest / batch.rate_p) / PAIR_STEP))
    chi2 = np.empty(status.size)
    settings = grid, int(model.status), batch.noise_known, prior, worth
    fit_two_rates(batch.values, batch.weights, batch.times_h, batch.rate_p, *settings, out, status, chi2)
    return chi2


def with_least_aicc(batch: Batch, out: F32, status: NDArray[np.uint8]) -> None:
    """Give each voxel the model with the least AICc among mono and those that its points can compare (n >= K + 2).

    K counts σ where it is estimated. With known σ a model cannot win where mono leaves no more of χ² than the penalties
    differ by, so that most voxels are not searched.
    """
    extra = 0 if batch.noise_known else 1
    n = np.isfinite(batch.values).sum(axis=0)
    most = int(n.max(initial=0))
    mono, status_mono = out.copy(), status.copy()
    least = _criterion(with_two_rates(batch, out, status, MODELS["f3a"], worth=np.inf), n, 2 + extra, batch.noise_known)
    for model in (MODELS[name] for name in CANDIDATES):
        k = model.n_parameters + extra
        if most < k + 2:
            continue
        trial, status_trial = mono.copy(), status_mono.copy()
        worth = float(akaike_penalty(most, k) - akaike_penalty(most, 2)) if batch.noise_known else -1.0
        chi2 = with_two_rates(batch, trial, status_trial, model, worth=worth)
        found = _criterion(chi2, n, k, batch.noise_known)
        better = (status_trial == model.status) & (found < least)
        out[:, better], status[better], least[better] = trial[:, better], status_trial[better], found[better]


def _criterion(chi2: F64, n: NDArray[np.intp], k: int, noise_known: bool) -> F64:
    """AICc [voxels] of fits with k parameters to n points each."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return akaike_penalty(n, k) + (chi2 if noise_known else n * np.log(chi2 / n))
