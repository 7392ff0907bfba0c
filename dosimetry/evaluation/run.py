"""Many methods on many digital patients: in processes, resumable, written as tables."""

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

from dosimetry.evaluation.comparison import MEASURES, Comparison, compare
from dosimetry.evaluation.methods import Method
from dosimetry.evaluation.pages import BESIDE_EXACT, DOSE, MOTION, draw_boxes, method_table, peer_table
from dosimetry.evaluation.patient import PatientScore, judge_patient
from nufitdose.cohort import SPLITS, Member, SplitRule
from nufitdose.device import resolve_device
from nufitdose.errors import InputError, RunStopped
from nufitdose.files import write_whole
from nufitdose.io.cohort_folder import load_cohort
from nufitdose.io.truth import read_landmarks
from nufitdose.jobs import Job, Outcome, run_jobs
from nufitdose.progress import Steps, Stream
from nufitdose.registration.engines.registry import PEERS
from nufitdose.run import RunRecord, growing_folder, write_record

Keep = Callable[[tuple[str, str], PatientScore], None]

DONE = "done"
PAIRS, STRUCTURES, SUMMARY, PAGE, BOXES = "pairs.csv", "structures.csv", "summary.csv", "summary.md", "boxes.png"


@dataclass(frozen=True)
class EvaluationPlan:
    """What is evaluated: `split` of a cohort, or all of it; `patients` of it (None: every one).

    `downstream` runs the dosimetry too; `workers` processes work at once, each of them new for every method and patient
    (0: in this process, and memory is not measured). `ours` is compared with every other method.
    """

    methods: tuple[Method, ...]
    split: str = "test"
    patients: int | None = None
    downstream: bool = True
    workers: int = 1
    ours: str | None = None
    device: str = "auto"
    seed: int = 0


@dataclass(frozen=True)
class Evaluation:
    """What came out, all methods in order."""

    scores: tuple[PatientScore, ...]
    comparisons: tuple[Comparison, ...]
    ours: str

    def rows(self) -> list[dict[str, Any]]:
        """The rows of summary.csv."""
        return [asdict(row) for row in self.comparisons]

    def page(self) -> str:
        """The tables in Markdown."""
        peers = [engine.name for engine in PEERS]
        tables = (method_table(self.comparisons, measures) for measures in (MOTION, DOSE, BESIDE_EXACT))
        return "\n\n".join(filter(None, (*tables, peer_table(self.comparisons, self.ours, peers))))


def run_evaluation(
    cohort: str | Path, out: str | Path, plan: EvaluationPlan, *, stream: Stream | None = None
) -> Evaluation:
    """Judge every method on every digital patient, and write the tables into `out`.

    What an earlier run left in `out` for the same patient and method is taken as it is, so that a stopped run goes on.
    Raises `InputError` where there is no patient with `truth/`, or `out` holds something else.
    """
    config = {
        "methods": {m.name: {"engine": m.engine, "options": dict(m.options)} for m in plan.methods},
        "split": plan.split,
        "patients": plan.patients,
    }
    record = RunRecord("evaluate", config, seed=plan.seed, device=str(resolve_device(plan.device)))
    with Steps(1.0, stream) as steps:
        with steps.step("reading the studies", 0.02):
            members = select_members(Path(cohort), plan)
        record.inputs = {member.folder.name: member.digest for member in members}
        with growing_folder(out, marker=DONE, kind="evaluation") as place:
            with steps.step("registering", 0.98) as on_progress:
                scores = _all_scores(plan, members, place / DONE, on_progress)
            record.timings_s = dict(steps.seconds)
            found = evaluate_scores(scores, plan.ours or plan.methods[0].name)
            write_evaluation(found, place)
            write_record(record, place)
    return found


def evaluate_scores(scores: Sequence[PatientScore], ours: str) -> Evaluation:
    """Compare what is known."""
    pairs = [row for score in scores for row in score.pairs]
    structures = [row for score in scores for row in score.structures]
    return Evaluation(tuple(scores), tuple(compare(pairs, structures, ours)), ours)


def write_evaluation(found: Evaluation, place: Path) -> None:
    """pairs.csv, structures.csv, summary.csv, summary.md and boxes.png."""
    pairs = [row for score in found.scores for row in score.pairs]
    structures = [row for score in found.scores for row in score.structures]
    for name, rows in ((PAIRS, pairs), (STRUCTURES, structures), (SUMMARY, found.comparisons)):
        _write_rows(place / name, list(rows))
    write_whole(place / PAGE, found.page() + "\n")
    motion = {"TRE organs", "TRE tumours", "TRE bones", "TRE lungs"}
    wanted = motion | {"TIA error, tumours, beside exact", "D98% error, tumours, beside exact"}
    draw_boxes(pairs, structures, [m for m in MEASURES if m.name in wanted], place / BOXES)


def select_members(cohort: Path, plan: EvaluationPlan) -> list[Member]:
    """The digital patients of a split ("all": of the cohort), the first by name."""
    if plan.split not in (*SPLITS, "all"):
        raise InputError(f"--split {plan.split!r} was given, one of {', '.join(SPLITS)} or all is wanted")
    found = load_cohort(cohort, SplitRule(seed=plan.seed), least_scans=2)
    members = found.members if plan.split == "all" else getattr(found, plan.split)
    known = [member for member in members if read_landmarks(member.folder) is not None][: plan.patients]
    if not known:
        raise InputError(f"the split {plan.split!r} holds no digital patient (no truth/)", where=cohort)
    return known


def _all_scores(
    plan: EvaluationPlan, members: Sequence[Member], done: Path, on_progress: Callable[[float], None]
) -> list[PatientScore]:
    jobs = {  # patient by patient, so that what a stopped run leaves can be compared
        (method.name, one.patient): (method, one, done / one.folder.name / f"{method.name}.json")
        for one in members
        for method in plan.methods
    }
    keys = {name: _key(plan, method, member) for name, (method, member, _) in jobs.items()}
    found = {name: score for name, (_, _, path) in jobs.items() if (score := _read_score(path, keys[name])) is not None}
    missing = {name: job for name, job in jobs.items() if name not in found}

    def keep(name: tuple[str, str], score: PatientScore) -> None:
        _, _, path = jobs[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps({"key": keys[name], **score.to_dict()}, indent=1))
        found[name] = score
        on_progress(len(found) / len(jobs))

    faults = _judge_all(plan, missing, keep)
    if faults:
        told = "; ".join(f"{' on '.join(name)}: {text.rstrip('.')}" for name, text in faults.items())
        raise RunStopped(
            f"{done.parent}: {len(faults)} of {len(jobs)} scores could not be had: {told}. "
            "The others are kept; the same command asks for these again."
        )
    return [found[name] for name in jobs]


def _judge_all(
    plan: EvaluationPlan, jobs: dict[tuple[str, str], tuple[Method, Member, Path]], keep: Keep
) -> dict[tuple[str, str], str]:
    """Have every score kept as it comes; why the others are missing."""
    how: dict[str, Any] = {"downstream": plan.downstream, "device": plan.device}
    if plan.workers == 0:
        for name, (method, member, _) in jobs.items():
            keep(name, judge_patient(method, member.folder, **how))
        return {}
    faults: dict[tuple[str, str], str] = {}
    names = {" on ".join(name): name for name in jobs}

    def take(outcome: Outcome) -> None:
        if outcome.fault is None:
            keep(names[outcome.key], outcome.value)
        else:
            faults[names[outcome.key]] = outcome.fault.text

    todo = [
        Job(key, judge_patient, (jobs[name][0], jobs[name][1].folder), {**how, "own_process": True})
        for key, name in names.items()
    ]
    run_jobs(todo, take, workers=plan.workers)
    return faults


def _key(plan: EvaluationPlan, method: Method, member: Member) -> str:
    """What a score depends on: images, engine, options and the network's weights."""
    network = method.load_network()
    weights = None if network is None else network.sha256
    content = [member.digest, method.engine, dict(method.options), weights, plan.downstream]
    return sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _read_score(path: Path, key: str) -> PatientScore | None:
    if not path.is_file():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    return PatientScore.from_dict(content) if content.pop("key", None) == key else None


def _write_rows(path: Path, rows: Sequence[Any]) -> None:
    if not rows:
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, [field.name for field in fields(rows[0])])
        table.writeheader()
        for row in rows:
            table.writerow({k: f"{v:.5g}" if isinstance(v, float) else v for k, v in asdict(row).items()})
