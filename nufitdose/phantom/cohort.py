"""Many digital patients: split by patient, each from its own seed, resumable, spread over workers or a cluster."""

from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nufitdose.cohort import SPLITS, split_by_shares
from nufitdose.errors import InputError, RunStopped
from nufitdose.files import sweep
from nufitdose.io.cohort_folder import INDEX, CohortFile, PatientEntry, read_cohort_file, write_cohort_file
from nufitdose.jobs import Job, Outcome, run_jobs
from nufitdose.locks import locked
from nufitdose.phantom.checks import Limits, require
from nufitdose.phantom.mix import CohortMix
from nufitdose.phantom.patient import simulate_patient
from nufitdose.phantom.settings import PatientSettings
from nufitdose.phantom.tracer import find_tracer
from nufitdose.phantom.writer import write_patient
from nufitdose.progress import OnProgress

_MIX = 8  # stream of random numbers


@dataclass(frozen=True)
class CohortPlan:
    """What a cohort is made of: everything its patients depend on. `shares` are those of train, validation, test;
    `mix` says how else patients differ, and its motion is then on top of `motion`.

    Raises `InputError` on values that make no sense.
    """

    patients: int
    seed: int = 1
    tracers: tuple[str, ...] = ("Lu-177-DOTATATE",)
    times_h: tuple[float, ...] | None = None
    shape: tuple[int, int, int] = (96, 96, 96)
    spacing_mm: float = 4.0
    ct_spacing_mm: float | None = None
    motion: float = 1.0
    shares: tuple[float, float, float] = (0.7, 0.15, 0.15)
    mix: CohortMix | None = None

    def __post_init__(self) -> None:
        require("a number of patients", self.patients, Limits(1, 9999))
        require("a seed", self.seed, Limits(0, 2**63 - 1))
        if not self.tracers:
            raise InputError("no tracer was given, at least one is wanted")
        if len(self.shares) != len(SPLITS) or min(self.shares) < 0 or abs(sum(self.shares) - 1.0) > 1e-6:
            raise InputError(f"splits of {list(self.shares)} were given, three shares that sum to 1 are wanted")
        for number in range(1, len(self.tracers) + 1):
            self.patient(number)

    def name(self, number: int) -> str:
        """The folder of patient `number` (from 1)."""
        return f"patient_{number:04d}"

    def patient_seed(self, number: int) -> int:
        """The seed of one patient; it depends on the cohort's seed and the number alone."""
        return int(np.random.SeedSequence([self.seed, number]).generate_state(1, np.uint32)[0])

    def tracer(self, number: int) -> str:
        """Tracers are taken in turn."""
        return find_tracer(self.tracers[(number - 1) % len(self.tracers)]).name

    def patient(self, number: int) -> PatientSettings:
        """What one patient is made from."""
        tracer, seed = find_tracer(self.tracer(number)), self.patient_seed(number)
        settings = PatientSettings(
            tracer=tracer.name,
            times_h=self.times_h,
            shape=self.shape,
            spacing_mm=self.spacing_mm,
            ct_spacing_mm=self.ct_spacing_mm,
            seed=seed,
            patient=self.name(number),
            motion=self.motion,
        )
        if self.mix is None:
            return settings
        drawn = self.mix.draw(np.random.default_rng([seed, _MIX]), self.shape, self.spacing_mm, tracer.centre_z_mm)
        return replace(settings, **drawn | {"motion": self.motion * drawn["motion"]})

    def splits(self) -> dict[str, str]:
        """`train`, `validation` or `test` of every patient."""
        names = [self.name(n) for n in range(1, self.patients + 1)]
        return split_by_shares(names, self.shares[1:], self.seed)

    def index(self) -> CohortFile:
        """The content of cohort.yaml."""
        told = asdict(self) | {"tracers": [find_tracer(name).name for name in self.tracers]}
        del told["mix"]
        if self.mix is not None:
            told["mix"] = self.mix.model_dump(mode="json")
        settings: dict[str, Any] = {key: list(v) if isinstance(v, tuple) else v for key, v in told.items()}
        split_of = self.splits()
        numbers = {self.name(n): n for n in range(1, self.patients + 1)}
        entries = {
            name: PatientEntry.model_validate(
                {"seed": self.patient_seed(n), "tracer": self.tracer(n), "split": split_of[name]}
            )
            for name, n in numbers.items()
        }
        return CohortFile(settings=settings, patients=entries)


def simulate_cohort(
    out: str | Path,
    plan: CohortPlan,
    *,
    workers: int = 1,
    only: int | None = None,
    on_progress: OnProgress | None = None,
) -> Path:
    """Simulate the patients of `plan` below `out`; patients that are there already are kept. Returns cohort.yaml.

    `workers` processes work at once. `only` simulates that one patient (from 1): on a cluster each job
    runs the same command with its own number. `cohort.yaml` names every patient with its seed, tracer and split;
    a patient is complete when its folder exists. Raises `InputError` when `out` holds a cohort of other settings, or
    another run is making all of it; `RunStopped` when patients could not be made.
    """
    require("a number of workers", workers, Limits(1, 1024))
    require("a patient number", only, Limits(1, plan.patients))
    folder = Path(out)
    with nullcontext() if only else locked(folder):
        return _make_missing(plan, folder, workers, only, on_progress)


def _make_missing(
    plan: CohortPlan, folder: Path, workers: int, only: int | None, on_progress: OnProgress | None
) -> Path:
    index = _write_index(plan, folder)
    wanted = range(1, plan.patients + 1) if only is None else [only]
    missing = [n for n in wanted if not (folder / plan.name(n)).is_dir()]
    for n in wanted:
        sweep(folder / plan.name(n))
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
    faults: list[str] = []
    finished = wanted - len(missing)

    def take(outcome: Outcome) -> None:
        nonlocal finished
        if outcome.fault is not None:
            faults.append(f"{outcome.key}: {outcome.fault.text.rstrip('.')}")
            return
        finished += 1
        if on_progress is not None:
            on_progress(finished / wanted)

    run_jobs([Job(plan.name(n), _simulate_one, (plan, folder, n)) for n in missing], take, workers=workers)
    if faults:
        raise RunStopped(
            f"{folder}: {len(faults)} of {wanted} patients could not be made: {'; '.join(faults)}. Start the same "
            "command again, where memory was short with fewer --workers; finished patients are kept."
        )


def _simulate_one(plan: CohortPlan, folder: Path, number: int) -> None:
    write_patient(simulate_patient(plan.patient(number)), folder / plan.name(number))


def _write_index(plan: CohortPlan, folder: Path) -> Path:
    """Write cohort.yaml unless the same one is there; several jobs may do so at once, all writing the same."""
    path, content = folder / INDEX, plan.index()
    sweep(path)
    if not path.is_file():
        return write_cohort_file(content, folder)
    if read_cohort_file(path) != content:
        raise InputError(
            "a cohort of other settings is here", where=path, remedy="Choose a new folder, or give its settings"
        )
    return path
