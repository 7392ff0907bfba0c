"""Many digital patients: split by patient, each from its own seed, resumable, spread over workers or a cluster."""

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from nufitdose.config import read_yaml
from nufitdose.errors import InputError
from nufitdose.files import write_whole
from nufitdose.phantom.checks import Limits, require
from nufitdose.phantom.patient import simulate_patient
from nufitdose.phantom.tracer import find_tracer
from nufitdose.phantom.writer import write_patient
from nufitdose.progress import OnProgress

INDEX = "cohort.yaml"
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class CohortPlan:
    """What a cohort is made of: everything its patients depend on. `shares` are those of train, validation, test."""

    patients: int
    seed: int
    tracers: tuple[str, ...]
    times_h: tuple[float, ...] | None
    shape: tuple[int, int, int]
    spacing_mm: float
    ct_spacing_mm: float | None
    motion: float
    shares: tuple[float, float, float]

    def name(self, number: int) -> str:
        """The folder of patient `number` (from 1)."""
        return f"patient_{number:04d}"

    def patient_seed(self, number: int) -> int:
        """The seed of one patient; it depends on the cohort's seed and the number alone."""
        return int(np.random.SeedSequence([self.seed, number]).generate_state(1, np.uint32)[0])

    def tracer(self, number: int) -> str:
        """Tracers are taken in turn."""
        return self.tracers[(number - 1) % len(self.tracers)]

    def split(self, number: int) -> str:
        """`train`, `validation` or `test`: patients in random order, cut at the shares.

        From three patients on, a split with a share gets at least one.
        """
        order = np.random.default_rng([self.seed, 0]).permutation(self.patients)
        place = int(np.flatnonzero(order == number - 1)[0])
        least = int(self.patients >= len(SPLITS))
        validation, test = (max(round(s * self.patients), least if s > 0 else 0) for s in self.shares[1:])
        train = self.patients - validation - test
        return SPLITS[int(np.searchsorted([train, train + validation], place, side="right"))]

    def index(self) -> dict[str, Any]:
        """The content of cohort.yaml."""
        settings = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}
        entries = {
            self.name(n): {"seed": self.patient_seed(n), "tracer": self.tracer(n), "split": self.split(n)}
            for n in range(1, self.patients + 1)
        }
        return {"settings": settings, "patients": entries}


def simulate_cohort(
    out: str | Path,
    *,
    patients: int,
    workers: int = 1,
    seed: int = 1,
    only: int | None = None,
    tracers: Sequence[str] = ("Lu-177-DOTATATE",),
    times_h: Sequence[float] | None = None,
    shape: Sequence[int] = (96, 96, 96),
    spacing_mm: float = 4.0,
    ct_spacing_mm: float | None = None,
    motion: float = 1.0,
    shares: tuple[float, float, float] = (0.7, 0.15, 0.15),
    on_progress: OnProgress | None = None,
) -> Path:
    """Simulate `patients` patients below `out`; patients that are there already are kept. Returns cohort.yaml.

    `workers` processes work at once. `only` simulates that one patient (from 1): on a cluster each job
    runs the same command with its own number. `cohort.yaml` names every patient with its seed, tracer and split;
    a patient is complete when its folder exists. Raises `InputError` when `out` holds a cohort of other settings.
    """
    require("a number of patients", patients, Limits(1, 9999))
    require("a number of workers", workers, Limits(1, 1024))
    require("a seed", seed, Limits(0, 2**63 - 1))
    require("a patient number", only, Limits(1, patients))
    if not tracers:
        raise InputError("no tracer was given, at least one is wanted")
    if len(shares) != len(SPLITS) or min(shares) < 0 or abs(sum(shares) - 1.0) > 1e-6:
        raise InputError(f"splits of {list(shares)} were given, three shares that sum to 1 are wanted")
    i, j, k = (int(n) for n in shape)
    plan = CohortPlan(
        patients=patients,
        seed=seed,
        tracers=tuple(find_tracer(name).name for name in tracers),
        times_h=None if times_h is None else tuple(float(t) for t in times_h),
        shape=(i, j, k),
        spacing_mm=spacing_mm,
        ct_spacing_mm=ct_spacing_mm,
        motion=motion,
        shares=shares,
    )
    folder = Path(out)
    index = _write_index(plan, folder)
    wanted = range(1, patients + 1) if only is None else [only]
    missing = [n for n in wanted if not (folder / plan.name(n)).is_dir()]
    if on_progress is not None and len(missing) < len(wanted):
        on_progress(1.0 - len(missing) / len(wanted))
    if workers == 1 or len(missing) == 1:
        for done, n in enumerate(missing, start=len(wanted) - len(missing) + 1):
            _simulate_one(plan, folder, n)
            if on_progress is not None:
                on_progress(done / len(wanted))
    elif missing:
        _simulate_many(plan, folder, missing, len(wanted), workers, on_progress)
    return index


def _simulate_many(
    plan: CohortPlan, folder: Path, missing: list[int], wanted: int, workers: int, on_progress: OnProgress | None
) -> None:
    threads = max(1, (os.cpu_count() or 1) // workers)
    pool = ProcessPoolExecutor(
        min(workers, len(missing)), mp_context=get_context("spawn"), initializer=_use_threads, initargs=(threads,)
    )
    try:
        jobs = [pool.submit(_simulate_one, plan, folder, n) for n in missing]
        for done, job in enumerate(as_completed(jobs), start=wanted - len(missing) + 1):
            job.result()
            if on_progress is not None:
                on_progress(done / wanted)
    except BrokenProcessPool as error:
        raise InputError(
            "a worker was killed, most likely for want of memory",
            where=folder,
            remedy="Start the same command again with fewer --workers; finished patients are kept",
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _use_threads(threads: int) -> None:
    import numba

    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))


def _simulate_one(plan: CohortPlan, folder: Path, number: int) -> None:
    patient = simulate_patient(
        tracer=plan.tracer(number),
        times_h=plan.times_h,
        shape=plan.shape,
        spacing_mm=plan.spacing_mm,
        ct_spacing_mm=plan.ct_spacing_mm,
        seed=plan.patient_seed(number),
        patient=plan.name(number),
        motion=plan.motion,
    )
    write_patient(patient, folder / plan.name(number))


def _write_index(plan: CohortPlan, folder: Path) -> Path:
    """Write cohort.yaml unless the same one is there; several jobs may do so at once, all writing the same."""
    path, content = folder / INDEX, plan.index()
    if path.is_file():
        if read_yaml(path) != content:
            raise InputError(
                "a cohort of other settings is here", where=path, remedy="Choose a new folder, or give its settings"
            )
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, yaml.safe_dump(content, sort_keys=False))
    except OSError as error:
        raise InputError(
            f"the cohort cannot be written ({error.strerror})", where=folder, remedy="Choose a folder you can write to"
        ) from error
    return path
