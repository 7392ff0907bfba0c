"""Which two scans come at which place of a run, and the pair made of them.

Everything random about a place is drawn from (seed, place): a run that was killed, or that is shared among
processes, sees the very same pairs as one that was not.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import permutations
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import torch

from nufitdose.errors import InputError
from nufitdose.registration.pair import PairTensors
from nufitdose.training.augmentation import augment, random_motion
from nufitdose.training.scans import ScanKey, ScanStore, pair_scans
from nufitdose.training.settings import AugmentationSettings

Made = TypeVar("Made")
PairKey = tuple[ScanKey, ScanKey]  # fixed, moving
_ORDER, _MOTION, _INTENSITY = 1, 2, 3  # what a number is drawn for


@runtime_checkable
class Order(Protocol):
    """The pair at each place of an endless run."""

    def at(self, place: int) -> PairKey:
        """The fixed and the moving scan at `place` (from 0)."""


class InterPatientOrder:
    """Random ordered pairs of scans of two different patients; every patient is as likely as another."""

    def __init__(self, scans: Sequence[ScanKey], seed: int) -> None:
        by_patient = defaultdict(list)
        for key in scans:
            by_patient[key.patient].append(key)
        if len(by_patient) < 2:
            raise InputError(
                f"{len(by_patient)} patient is left to draw pairs from, two or more are wanted",
                remedy="Give more patients in this split",
            )
        self._patients = [by_patient[name] for name in sorted(by_patient)]
        self._seed = seed

    def at(self, place: int) -> PairKey:
        """The pair at `place`."""
        random = np.random.default_rng([self._seed, _ORDER, place])
        fixed, moving = random.choice(len(self._patients), size=2, replace=False)
        return self._scan(int(fixed), random), self._scan(int(moving), random)

    def _scan(self, patient: int, random: np.random.Generator) -> ScanKey:
        scans = self._patients[patient]
        return scans[int(random.integers(len(scans)))]


class IntraPatientOrder:
    """All ordered pairs of scans within each study, in a new random order every epoch."""

    def __init__(self, studies: Sequence[Sequence[ScanKey]], seed: int) -> None:
        self.pairs: list[PairKey] = [pair for scans in studies for pair in permutations(scans, 2)]
        if not self.pairs:
            raise InputError("no patient has two scans, so there are no pairs", remedy="Give serial scans")
        self._seed = seed

    def at(self, place: int) -> PairKey:
        """The pair at `place`."""
        epoch, within = divmod(place, len(self.pairs))
        order = np.random.default_rng([self._seed, _ORDER, epoch]).permutation(len(self.pairs))
        return self.pairs[int(order[within])]


class TrainingPairs:
    """Augmented pairs by place, made ahead in `workers` threads."""

    def __init__(
        self, order: Order, store: ScanStore, settings: AugmentationSettings, *, seed: int, workers: int = 0
    ) -> None:
        self._order, self._store, self._settings = order, store, settings
        self._seed, self._workers = seed, workers

    def at(self, place: int) -> PairTensors:
        """The pair at `place`, varied as the settings say."""
        fixed, moving = self._order.at(place)
        motion = random_motion(self._settings, np.random.default_rng([self._seed, _MOTION, place]))
        scan = self._store.get(fixed)
        centre = np.eye(4)
        centre[:3, 3] = scan.grid.centre_mm
        extra = centre @ motion @ np.linalg.inv(centre)
        pair = pair_scans(scan, self._store.get(moving), extra, same_patient=fixed.digest == moving.digest)
        return augment(pair, self._settings, generator_of(self._seed, _INTENSITY, place))

    def along(self, places: Iterator[int]) -> Iterator[PairTensors]:
        """The pairs at `places`, one after the other; the next few are made while one is used."""
        return made_ahead(self.at, places, self._workers)


def made_ahead(make: Callable[[int], Made], places: Iterator[int], workers: int) -> Iterator[Made]:
    """What `make` makes at `places`, one after the other; the next few in `workers` threads while one is used."""
    if workers == 0:
        yield from map(make, places)
        return
    waiting: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for place in places:
                waiting.append(pool.submit(make, place))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def generator_of(*numbers: int) -> torch.Generator:
    """A generator of torch that depends on `numbers` alone."""
    state = int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
    return torch.Generator().manual_seed(state)


def validation_keys(order: Order, count: int) -> list[PairKey]:
    """Up to `count` pairs to validate on, without repeats: always the same."""
    drawn = dict.fromkeys(order.at(place) for place in range(4 * count))
    return list(drawn)[:count]
