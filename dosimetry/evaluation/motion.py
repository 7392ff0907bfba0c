"""Engines and networks judged on digital patients that no training has seen, by the patients' true motion."""

import csv
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch

from nufitdose.anatomy.body import body_mask
from nufitdose.cohort import SPLITS, Member, SplitRule
from nufitdose.device import resolve_device
from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.io.cohort_folder import load_cohort
from nufitdose.io.truth import Landmarks, read_landmarks
from nufitdose.progress import Steps, Stream
from nufitdose.registration.engines.engine import Engine, Request
from nufitdose.registration.engines.registry import find_engine
from nufitdose.registration.field import DisplacementField
from nufitdose.registration.network import TrainedNetwork
from nufitdose.registration.quality import target_registration_error_mm
from nufitdose.registration.scan_to_scan import load_network_for
from nufitdose.run import RunRecord, collected_warnings, output_folder, write_record
from nufitdose.study import TimePoint
from nufitdose.types import Mask

BONES = ("arm_bones", "pelvic_bone", "ribs", "shoulder_girdle", "vertebrae")
PAIRS, SUMMARY = "pairs.csv", "summary.csv"


@dataclass(frozen=True)
class PairScore:
    """One method on one pair: mean error over landmarks (mm) of organs, bones (arms too) and tumours that both scans
    see, NaN where there are none; non-diffeomorphic volume in the body (%); seconds, the rigid start included."""

    method: str
    patient: str
    fixed: str
    moving: str
    organ_mm: float
    bone_mm: float
    tumour_mm: float
    ndv_percent: float
    seconds: float


@dataclass(frozen=True)
class MethodScore:
    """A method over patients: means and standard deviations (`_sd`) of the patients' means over their pairs.

    `organ_gain_percent` is how far the mean error of organs lies below that of the first method.
    """

    method: str
    patients: int
    pairs: int
    organ_mm: float
    organ_mm_sd: float
    organ_gain_percent: float
    bone_mm: float
    bone_mm_sd: float
    tumour_mm: float
    tumour_mm_sd: float
    ndv_percent: float
    seconds: float


@dataclass(frozen=True, eq=False)
class Method:
    """What is judged: an engine with its settings, and the network that it runs, where it has one."""

    engine: Engine
    network: TrainedNetwork | None = None

    @classmethod
    def of(cls, engine: str, weights: Path | None = None) -> "Method":
        """An engine by name, with the network of a weights file (None: the shipped one) where it needs one.

        Raises `InputError` on an unknown engine and where a package or weights are missing.
        """
        found = find_engine(engine)
        found.check_installed()
        return cls(found, load_network_for(found, weights))

    def request(self, fixed: TimePoint, moving: TimePoint, grid: Grid, device: torch.device) -> Request:
        """What is asked of the engine about a pair."""
        self.engine.check_scans(fixed, moving)
        network = None if self.network is None else self.network.model
        return Request(fixed, moving, grid, device, network=network, settings=self.engine.settings)


def methods_of(engines: Iterable[str], weights: Mapping[str, Path]) -> dict[str, Method]:
    """Engines by their names, and networks by the names given to their weights files."""
    methods = {name: Method.of(name) for name in engines}
    methods |= {name: Method.of("network", path) for name, path in weights.items()}
    if not methods:
        raise InputError("nothing to evaluate was named", remedy="Give --engines or --weights")
    return methods


def run_evaluation(
    cohort: str | Path,
    out: str | Path,
    methods: Mapping[str, Method],
    *,
    split: str = "test",
    patients: int | None = None,
    device: str = "auto",
    seed: int = 0,
    stream: Stream | None = None,
) -> list[MethodScore]:
    """Every method on every moving scan against the reference of the patients of a split; writes pairs and summary.

    Raises `InputError` where the split holds no patient with `truth/`.
    """
    if split not in SPLITS:
        raise InputError(f"--split {split!r} was given, one of {', '.join(SPLITS)} is wanted")
    record = RunRecord("evaluate", {"methods": list(methods), "split": split, "patients": patients}, seed=seed)
    record.notes["weights_sha256"] = {name: m.network.sha256 for name, m in methods.items() if m.network is not None}
    with Steps(1.0, stream) as steps, output_folder(out, kind=record.command) as folder, collected_warnings(record):
        with steps.step("reading the studies", 0.02):
            found = load_cohort(Path(cohort), SplitRule(seed=seed), least_scans=2)
            known = [(m, read_landmarks(m.folder)) for m in getattr(found, split)][:patients]
            known = [(member, marks) for member, marks in known if marks is not None]
            if not known:
                raise InputError(f"the split {split!r} holds no digital patient (no truth/)", where=Path(cohort))
        rows: list[PairScore] = []
        with steps.step("registering", 0.98) as on_progress:
            for number, (member, marks) in enumerate(known):
                assert marks is not None
                record.inputs[member.folder.name] = member.digest
                rows += _judge_patient(member, marks, methods, device)
                on_progress((number + 1) / len(known))
        scores = summarise(rows)
        record.device = str(resolve_device(device))
        record.timings_s = dict(steps.seconds)
        _write(folder / PAIRS, rows)
        _write(folder / SUMMARY, scores)
        write_record(record, folder)
    return scores


def summarise(rows: Sequence[PairScore]) -> list[MethodScore]:
    """The methods in the order they came."""
    scores: list[MethodScore] = []
    for method in dict.fromkeys(row.method for row in rows):
        own = [row for row in rows if row.method == method]
        names = sorted({row.patient for row in own})
        kinds = ("organ_mm", "bone_mm", "tumour_mm", "ndv_percent", "seconds")
        by_patient = {
            kind: [_mean(getattr(r, kind) for r in own if r.patient == name) for name in names] for kind in kinds
        }
        mean = {kind: _mean(values) for kind, values in by_patient.items()}
        spread = {f"{kind}_sd": _spread(by_patient[kind]) for kind in kinds[:3]}
        first = scores[0].organ_mm if scores else mean["organ_mm"]
        gain = 100.0 * (1.0 - mean["organ_mm"] / first)
        scores.append(MethodScore(method, len(names), len(own), organ_gain_percent=gain, **mean, **spread))
    return scores


def table(scores: Sequence[MethodScore]) -> str:
    """The summary as a table in Markdown."""
    lines = [
        "| method | organs, mm | bones, mm | tumours, mm | organs, less than the first | NDV, % | s a pair |",
        "|---|---|---|---|---|---|---|",
    ]
    for s in scores:
        errors = " | ".join(
            f"{mean:.2f} ± {sd:.2f}"
            for mean, sd in ((s.organ_mm, s.organ_mm_sd), (s.bone_mm, s.bone_mm_sd), (s.tumour_mm, s.tumour_mm_sd))
        )
        lines.append(
            f"| {s.method} | {errors} | {s.organ_gain_percent:.0f} % | {s.ndv_percent:.4f} | {s.seconds:.1f} |"
        )
    return "\n".join(lines)


def _judge_patient(member: Member, marks: Landmarks, methods: Mapping[str, Method], device: str) -> list[PairScore]:
    fixed = member.study.reference
    moving = [tp for tp in member.study.timepoints if tp is not fixed]
    grid, on = fixed.activity.grid, resolve_device(device)
    inside = body_mask(fixed).resampled_to(grid).data > 0.5
    return [
        judge_pair(name, method, member.patient, method.request(fixed, scan, grid, on), marks, inside)
        for scan in moving
        for name, method in methods.items()
    ]


def judge_pair(name: str, method: Method, patient: str, request: Request, marks: Landmarks, inside: Mask) -> PairScore:
    """Run a method on a pair and score it by landmarks; `inside` is the body on the grid of the request."""
    fixed, moving = request.fixed, request.moving
    start = time.perf_counter()
    field = method.engine.run(request)
    seconds = time.perf_counter() - start
    score = judge_field(field, fixed, moving, marks, inside)
    return PairScore(name, patient, fixed.id, moving.id, **score, seconds=seconds)


def judge_field(
    field: DisplacementField, fixed: TimePoint, moving: TimePoint, marks: Landmarks, inside: Mask
) -> dict[str, float]:
    """`organ_mm`, `bone_mm`, `tumour_mm` and `ndv_percent` of a field as in `PairScore`.

    `inside` is the body on the grid of the field.
    """
    p, q = marks.points[fixed.id], marks.points[moving.id]
    seen = fixed.activity.grid.contains(p) & moving.activity.grid.contains(q)
    error_mm = target_registration_error_mm(field, p, q)
    names = np.array(marks.structures)
    bone, tumour = np.isin(names, BONES), np.char.startswith(names, "tumour")
    return {
        "organ_mm": _mean(error_mm[seen & ~bone & ~tumour]),
        "bone_mm": _mean(error_mm[seen & bone]),
        "tumour_mm": _mean(error_mm[seen & tumour]),
        "ndv_percent": field.jacobian_statistics(inside).ndv_percent,
    }


def _mean(values: Iterable[float]) -> float:
    kept = [v for v in values if np.isfinite(v)]
    return float(np.mean(kept)) if kept else float("nan")


def _spread(values: Sequence[float]) -> float:
    kept = [v for v in values if np.isfinite(v)]
    return float(np.std(kept, ddof=1)) if len(kept) > 1 else float("nan")


def _write(path: Path, rows: Sequence[PairScore] | Sequence[MethodScore]) -> None:
    names = [field.name for field in fields(rows[0])]
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, names)
        table.writeheader()
        for row in rows:
            table.writerow({k: f"{v:.5g}" if isinstance(v, float) else v for k, v in asdict(row).items()})
