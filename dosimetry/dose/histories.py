"""Histories in batches: their mean, its standard error, and when there are enough of them.

Batches are drawn and summed in one order, whatever the number of threads; whether to go on is asked after whole
rounds of them, so that the result depends on the seed alone (and on the clock, where there is a time budget).
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numba
import numpy as np

from nufitdose.progress import OnProgress
from nufitdose.types import F64, Mask, Triple

BATCHES = 10  # in a round
_MOST_ROUNDS = 400
_BLOCK_MM = 27.0
_LEAST_DOSE = 0.01  # of the greatest block's
_MET_BY = 95.0  # percent of the blocks


@dataclass(frozen=True, eq=False)
class Estimate:
    """Mean over batches, its standard error, and the error that was reached (`block_error_percent`)."""

    mean: F64
    error: F64
    batches: int
    block_percent: float


@dataclass(frozen=True, eq=False)
class Blocks:
    """Cubes of about 27 mm (20 mL) with the mass of what takes dose in each voxel: a small organ's worth."""

    mass_g: F64
    side: tuple[int, int, int]

    @classmethod
    def of(cls, mass_g: F64, takes_dose: Mask, spacing_mm: Triple) -> "Blocks":
        """Blocks of whole voxels."""
        x, y, z = (max(1, round(_BLOCK_MM / side)) for side in spacing_mm)
        return cls(np.where(takes_dose, mass_g, 0.0), (x, y, z))

    def pooled(self, values: F64) -> F64:
        """Sums over blocks of values times mass, flat."""
        sums = values * self.mass_g
        for axis, by in enumerate(self.side):
            sums = np.add.reduceat(sums, np.arange(0, sums.shape[axis], by), axis=axis)
        return sums.ravel()


def simulate(
    batch: Callable[[int], F64],
    known: F64,
    blocks: Blocks,
    *,
    percent: float,
    budget_s: float | None = None,
    on_progress: OnProgress | None = None,
) -> Estimate:
    """Rounds of `batch(number)` until `block_error_percent` of `known` plus their mean is met, or the time is over."""
    began = time.monotonic()
    total, squares = np.zeros(known.shape), np.zeros(known.shape)
    pooled: list[F64] = []
    known_pooled = blocks.pooled(known)
    reached, count = np.inf, 0
    with ThreadPoolExecutor(numba.get_num_threads(), initializer=_one_thread) as pool:
        for _ in range(_MOST_ROUNDS):
            for values in pool.map(batch, range(count, count + BATCHES)):
                total += values
                squares += values * values
                pooled.append(blocks.pooled(values))
            count += BATCHES
            reached = block_error_percent(known_pooled, np.array(pooled))
            spent = time.monotonic() - began
            share = 0.0 if budget_s is None else spent / budget_s
            if on_progress is not None:
                on_progress(max(min((percent / reached) ** 2 if reached > 0.0 else 1.0, 1.0), min(share, 1.0)))
            if reached <= percent or share >= 1.0:
                break
    mean = total / count
    variance = np.maximum(squares / count - mean * mean, 0.0) / (count - 1)
    return Estimate(mean, np.sqrt(variance), count, reached)


def _one_thread() -> None:
    numba.set_num_threads(1)


def block_error_percent(known: F64, batches: F64) -> float:
    """Relative standard error that 95 % of the blocks keep to that get at least 1 % of the greatest block's dose.

    `known` [blocks] and `batches` [batches, blocks] are sums of dose times mass; small blocks at the border count less
    often, as their sum is small.
    """
    value = known + batches.mean(axis=0)
    error = batches.std(axis=0, ddof=1) / np.sqrt(batches.shape[0])
    reached = np.abs(value) >= _LEAST_DOSE * np.abs(value).max(initial=0.0)
    reached &= value != 0.0
    if not reached.any():
        return 0.0
    return float(np.percentile(100.0 * error[reached] / np.abs(value[reached]), _MET_BY))
