"""Does a spatially-varying weight of the roughness help? `python -m benchmarks.guidance COHORT OUT`.

Every pair of every digital patient is bent by the whole optimiser under each guide below, from the rigid pose
(`refine`) and, with `--network`, from what the network gives (`nufit`); everything else is equal. Written is
OUT/guidance.csv (a row a pair and guide; a stopped run goes on) and OUT/guidance.md: mean errors over patients, and
each guide beside the uniform weight, by Wilcoxon's signed-rank test over patients (two-sided) with the matched-pairs
rank-biserial correlation.
"""

import argparse
import sys
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.growing_table import add_rows, read_rows
from dosimetry.evaluation.comparison import paired_test
from dosimetry.evaluation.motion import TISSUES, landmark_errors_mm, mean_known
from nufitdose.io.study_folder import load_study
from nufitdose.io.truth import FOLDER as TRUTH
from nufitdose.io.truth import read_landmarks
from nufitdose.registration.engines.deformable import NufitSettings, predict_after
from nufitdose.registration.engines.engine import Request
from nufitdose.registration.engines.linear import basis_of, rigid_pose
from nufitdose.registration.engines.refine import RefineSettings, bend, field_mm, prepare_pair
from nufitdose.registration.field import DisplacementField
from nufitdose.registration.network import load_network
from nufitdose.registration.objective import Guide, ObjectiveSettings
from nufitdose.study import TimePoint
from nufitdose.types import Affine


@dataclass(frozen=True)
class Guidance:
    """A map from CT, and rigid bones."""

    guide: Guide
    bones_mm: float = 0.0


GUIDES = {
    "uniform": Guidance("uniform"),
    "permuted": Guidance("permuted"),
    "CT-guided": Guidance("ct"),
    "CT-guided, bones rigid": Guidance("ct", bones_mm=32.0),
}
BASE = "uniform"
ERRORS = tuple(f"{tissue}_mm" for tissue in TISSUES)
COLUMNS = ("engine", "guide", "patient", "moving", *ERRORS)
Rows = Sequence[Mapping[str, Any]]


def judge(
    folder: Path, wanted: Sequence[tuple[str, str]], known: Container[tuple[str, str, str]]
) -> Iterator[dict[str, Any]]:
    """Errors over landmarks of all pairs of a patient, for all `wanted` (engine, guide) that is not `known`."""
    study, marks = load_study(folder), read_landmarks(folder)
    assert marks is not None
    fixed = study.reference
    for moving in study.timepoints:
        missing = [one for one in wanted if (*one, moving.id) not in known]
        if not missing or moving.id == fixed.id:
            continue
        pose = rigid_pose(fixed, moving, basis_of(fixed, moving)).matrix
        pair = prepare_pair(fixed, moving, pose, RefineSettings())
        start = None
        if "nufit" in {engine for engine, _ in missing}:
            start = predict_start(fixed, moving, pose)
        for engine, name in missing:
            given = GUIDES[name]
            settings = NufitSettings() if engine == "nufit" else RefineSettings()
            found = bend(
                pair,
                start if engine == "nufit" else None,
                settings.model_copy(update={"bones_mm": given.bones_mm}),
                ObjectiveSettings(guide=given.guide),
            )
            field = pair.field(field_mm(found, pair), fixed.activity.grid)
            errors = landmark_errors_mm(field, fixed, moving, marks)
            yield {"engine": engine, "guide": name, "patient": folder.name, "moving": moving.id, **errors}


def predict_start(fixed: TimePoint, moving: TimePoint, pose: Affine) -> DisplacementField:
    """What the shipped network gives after the pose, as `nufit` asks it."""
    settings = NufitSettings()
    request = Request(fixed, moving, fixed.activity.grid, torch.device("cpu"), network=load_network().model)
    return predict_after(request, pose, settings.network_mm, settings.passes)[1]


def table_of(rows: Rows, engine: str) -> str:
    """A row a guide: mean over patients; difference, p and effect against the uniform weight and of the default."""
    values = {
        name: {
            error: _means([r for r in rows if r["engine"] == engine and r["guide"] == name], error) for error in ERRORS
        }
        for name in GUIDES
        if any(r["engine"] == engine and r["guide"] == name for r in rows)
    }
    patients = len(values[BASE][ERRORS[0]])
    lines = [
        f"`{engine}`, {patients} patients; in brackets the difference from `{BASE}`, p, effect",
        "",
        f"| weight | {' | '.join(f'{tissue}s, mm' for tissue in TISSUES)} |",
        "|---" * (len(TISSUES) + 1) + "|",
    ]
    for name, by_error in values.items():
        cells = []
        for error in ERRORS:
            cell = f"{mean_known(list(by_error[error].values())):.3f}"
            if name != BASE:
                difference, p, effect = paired_test(by_error[error], values[BASE][error])
                cell += f" ({difference:+.3f}, p {p:.2g}, {effect:+.2f})"
            cells.append(cell)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _means(rows: Rows, error: str) -> dict[str, float]:
    return {
        patient: mean_known([float(r[error]) for r in rows if r["patient"] == patient])
        for patient in sorted({r["patient"] for r in rows})
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("cohort", type=Path)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--network", action="store_true", help="judge `nufit` too")
    arguments.add_argument("--guides", nargs="+", choices=GUIDES, default=list(GUIDES))
    given = arguments.parse_args()
    engines = ("refine", "nufit") if given.network else ("refine",)
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / "guidance.csv"
    for folder in sorted(one for one in given.cohort.iterdir() if (one / TRUTH).is_dir()):
        known = {(r["engine"], r["guide"], r["moving"]) for r in read_rows(path) if r["patient"] == folder.name}
        for row in judge(folder, [(engine, name) for engine in engines for name in given.guides], known):
            add_rows(path, COLUMNS, [row])
        print(folder.name, file=sys.stderr, flush=True)
    page = "\n\n".join(table_of(read_rows(path), engine) for engine in engines)
    (given.out / "guidance.md").write_text(page + "\n", encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
