"""Engines judged without truth: by structures drawn on two scans, and the activity found in them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from dosimetry.evaluation.methods import EXACT, Method
from nufitdose.anatomy.regions import region_on
from nufitdose.device import resolve_device
from nufitdose.errors import InputError
from nufitdose.files import write_whole
from nufitdose.io.csv_table import write_csv
from nufitdose.io.study_folder import MANIFEST
from nufitdose.io.study_run import study_run
from nufitdose.progress import Steps, Stream
from nufitdose.registration.field import DisplacementField
from nufitdose.registration.structure_quality import structure_agreement
from nufitdose.run import RunRecord
from nufitdose.study import Structures, Study, TimePoint
from nufitdose.text import significant
from nufitdose.volume import Volume

STRUCTURES, PAGE = "structures.csv", "summary.md"
_MEANS = {
    "centroid_mm": "centroid, mm",
    "dice": "Dice",
    "hd95_mm": "HD95, mm",
    "activity_difference_percent": "activity, % apart",
}


@dataclass(frozen=True)
class KnownStructure:
    """How a structure drawn on both scans meets itself after one method.

    Distance of centroids and HD95 in mm, as in `StructureAgreement`. `activity_drawn_mbq` is what the moving scan holds
    in the structure as drawn on it, `activity_brought_mbq` what the registered scan holds in that of the reference; the
    difference is that of the second from the first: outlines drawn twice are part of it.
    """

    method: str
    timepoint: str
    structure: str
    centroid_mm: float
    dice: float
    hd95_mm: float
    activity_drawn_mbq: float
    activity_brought_mbq: float
    activity_difference_percent: float
    seconds: float


def is_study(path: str | Path) -> bool:
    """Whether a path is a study folder or its manifest."""
    place = Path(path)
    return place.name == MANIFEST if place.is_file() else (place / MANIFEST).is_file()


def evaluate_study(
    study: str | Path,
    out: str | Path,
    methods: Sequence[Method],
    *,
    device: str = "auto",
    seed: int = 0,
    stream: Stream | None = None,
) -> tuple[KnownStructure, ...]:
    """Judge every method on every scan of a study that has structures of the reference; no truth is needed.

    Writes structures.csv, summary.md and run.json into `out`. Raises `InputError` where no structure is drawn on the
    reference and on another scan, or `exact` is asked for.
    """
    if any(method.engine == EXACT for method in methods):
        raise InputError(f"{EXACT!r} needs the known motion of a digital patient, and this is a study", where=study)
    config = {"methods": {method.name: method.engine for method in methods}}
    record = RunRecord("evaluate", config, seed=seed, device=str(resolve_device(device)))
    with study_run([study], out, record) as (place, (loaded,)), Steps(1.0, stream) as steps:
        with steps.step("registering", 1.0) as on_progress:
            rows = judge_study(loaded, Path(study), methods, device=device, on_progress=on_progress)
        record.timings_s = dict(steps.seconds)
        names = [field.name for field in fields(KnownStructure)]
        write_csv(place / STRUCTURES, names, (asdict(row) for row in rows))
        write_whole(place / PAGE, summary_page(rows) + "\n")
    return rows


def judge_study(
    study: Study,
    folder: Path,
    methods: Sequence[Method],
    *,
    device: str = "auto",
    on_progress: Callable[[float], None] = lambda share: None,
) -> tuple[KnownStructure, ...]:
    """A row for each method, scan and structure that reference and scan both have."""
    fixed, drawn = study.reference, study.structures
    pairs = [scan for scan in study.timepoints if scan is not fixed and _common(drawn, scan.structures)]
    if drawn is None or not pairs:
        raise InputError(
            "no structure is drawn on the reference and on another scan: without truth, nothing can be judged",
            remedy="List label maps under 'structures' of two or more time points, with the same names",
        )
    rows: list[KnownStructure] = []
    on = resolve_device(device)
    for done, (method, moving) in enumerate((method, moving) for method in methods for moving in pairs):
        network = method.load_network()
        _ = fixed.activity, fixed.ct, moving.activity, moving.ct  # reading them is nobody's time
        start = time.perf_counter()
        field = method.find_field(folder, fixed, moving, fixed.activity.grid, on, network)
        seconds = time.perf_counter() - start
        rows += _judge(method.name, fixed, moving, field, seconds)
        on_progress((done + 1) / (len(methods) * len(pairs)))
    return tuple(rows)


def _common(one: Structures | None, other: Structures | None) -> bool:
    return one is not None and other is not None and bool(set(one.present()) & set(other.present()))


def _judge(
    method: str, fixed: TimePoint, moving: TimePoint, field: DisplacementField, seconds: float
) -> list[KnownStructure]:
    if fixed.structures is None or moving.structures is None:
        return []
    brought = field.warp(moving.activity, fixed.activity.grid)
    rows = []
    for found in structure_agreement(fixed.structures, moving.structures, field):
        sides = ((fixed.structures, brought), (moving.structures, moving.activity))
        after, own = (_activity_mbq(*side, found.structure) for side in sides)
        rows.append(
            KnownStructure(
                method=method,
                timepoint=moving.id,
                structure=found.structure,
                centroid_mm=found.centroid_after_mm,
                dice=found.dice_after,
                hd95_mm=found.hd95_after_mm,
                activity_drawn_mbq=own,
                activity_brought_mbq=after,
                activity_difference_percent=100.0 * (after / own - 1.0) if own > 0 else np.nan,
                seconds=seconds,
            )
        )
    return rows


def _activity_mbq(structures: Structures, activity: Volume, name: str) -> float:
    mask, layer = structures.mask(name)
    return 1e-6 * region_on(mask, layer.grid, activity.grid).integral(activity)


def summary_page(rows: Sequence[KnownStructure]) -> str:
    """Methods down, means over structures and scans across; of the activity the mean size of the difference."""
    lines = ["| method | structures | " + " | ".join(_MEANS.values()) + " |", "|---|" + "---|" * (1 + len(_MEANS))]
    for method in dict.fromkeys(row.method for row in rows):
        own = [row for row in rows if row.method == method]
        cells = [_mean([abs(getattr(row, name)) for row in own]) for name in _MEANS]
        lines.append(f"| `{method}` | {len(own)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _mean(values: Sequence[float]) -> str:
    known = [value for value in values if np.isfinite(value)]
    return significant(float(np.mean(known))) if known else ""
