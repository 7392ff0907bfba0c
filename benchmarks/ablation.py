"""What the parts of the network bring at one budget: `python -m benchmarks.ablation COHORT OUT`.

Every configuration `configs/ablation_*.yaml` is trained within the training patients of the cohort from each of some
seeds, and judged on its test patients by the network alone. What is done already is kept: a stopped run goes on where
it was. Seed by seed, so that the rows known so far can be compared; `--table` only prints them.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.growing_table import add_rows, read_rows
from dosimetry.evaluation.comparison import paired_test
from dosimetry.evaluation.motion import TISSUES, landmark_errors_mm, mean_known
from finetune.stage import run_finetune
from nufitdose.cohort import Member, SplitRule
from nufitdose.io.cohort_folder import load_cohort
from nufitdose.io.truth import read_landmarks
from nufitdose.registration.engines.engine import Request
from nufitdose.registration.engines.registry import find_engine
from nufitdose.registration.network import load_weights
from nufitdose.training.request import RunRequest

CONFIGS = Path(__file__).parents[1] / "configs"
RIGID, FULL = "rigid", "full"
ERRORS = tuple(f"{tissue}_mm" for tissue in TISSUES)
COLUMNS = ("row", "seed", "patient", "moving", *ERRORS)


def train_row(config: Path, cohort: Path, out: Path, seed: int, overrides: Sequence[str]) -> Path:
    """The weights of a row from one seed, trained unless they are there."""
    folder = out / f"{_row_of(config)}_{seed}"
    if not (folder / "weights.safetensors").is_file():
        print(f"--- {folder.name}", file=sys.stderr, flush=True)
        given = (f"data.cohort={cohort}", f"data.prepared={out / 'prepared'}", *overrides)
        resume = (folder / "run.json").is_file()
        run_finetune(RunRequest(config, folder, given, resume=resume, device="cpu", seed=seed, stream=sys.stderr))
    return folder / "weights.safetensors"


def judge(member: Member, networks: Mapping[tuple[str, int], Path | None]) -> Iterator[dict[str, object]]:
    """Errors over the landmarks of every pair of a test patient, for the weights of every row and seed."""
    marks = read_landmarks(member.folder)
    assert marks is not None
    fixed = member.study.reference
    for (row, seed), weights in networks.items():
        engine = find_engine(RIGID if weights is None else "network")
        model = None if weights is None else load_weights(weights)
        for moving in member.study.timepoints:
            if moving.id == fixed.id:
                continue
            request = Request(fixed, moving, fixed.activity.grid, torch.device("cpu"), network=model)
            errors = landmark_errors_mm(engine.run(request), fixed, moving, marks)
            yield {"row": row, "seed": seed, "patient": member.patient, "moving": moving.id, **errors}


def judge_missing(cohort: Path, path: Path, networks: Mapping[tuple[str, int], Path | None]) -> None:
    """Add to the table at `path` what it does not hold yet, patient by patient."""
    known = {(r["row"], int(r["seed"]), r["patient"]) for r in read_rows(path)}
    for member in load_cohort(cohort, SplitRule(), least_scans=2).test:
        missing = {name: file for name, file in networks.items() if (*name, member.patient) not in known}
        add_rows(path, COLUMNS, list(judge(member, missing)))


def table_of(rows: Sequence[Mapping[str, str]]) -> str:
    """Mean over patients and seeds, the least and the greatest seed, and p of the difference from the full network."""
    values: dict[str, dict[int, dict[str, dict[str, float]]]] = {}
    for name in dict.fromkeys(r["row"] for r in rows):
        for seed in sorted({int(r["seed"]) for r in rows if r["row"] == name}):
            own = [r for r in rows if r["row"] == name and int(r["seed"]) == seed]
            values.setdefault(name, {})[seed] = {
                patient: {e: mean_known([float(r[e]) for r in own if r["patient"] == patient]) for e in ERRORS}
                for patient in sorted({r["patient"] for r in own})
            }
    lines = [f"| row | seeds | {' | '.join(f'{t}s, mm' for t in TISSUES)} |", "|---" * (len(TISSUES) + 2) + "|"]
    for name, by_seed in values.items():
        cells = []
        for error in ERRORS:
            means = [mean_known([v[error] for v in by.values()]) for by in by_seed.values()]
            cell = f"{np.mean(means):.2f}" + (f" ({min(means):.2f}-{max(means):.2f})" if len(means) > 1 else "")
            if FULL in values and name not in (FULL, RIGID):
                p = paired_test(_over_seeds(values[FULL], error), _over_seeds(by_seed, error))[1]
                cell += f", p {p:.2f}"
            cells.append(cell)
        lines.append(f"| {name.replace('_', ' ')} | {len(by_seed)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _over_seeds(by_seed: Mapping[int, Mapping[str, Mapping[str, float]]], error: str) -> dict[str, float]:
    patients = {patient for by in by_seed.values() for patient in by}
    return {p: mean_known([by[p][error] for by in by_seed.values() if p in by]) for p in sorted(patients)}


def _row_of(config: Path) -> str:
    return config.stem.removeprefix("ablation_")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("cohort", type=Path)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--set", action="append", default=[], help="key=value over every configuration")
    arguments.add_argument("--table", action="store_true", help="print what is known and do nothing else")
    given = arguments.parse_args()
    path = given.out / "rows.csv"
    if not given.table:
        torch.set_num_threads(1)
        given.out.mkdir(parents=True, exist_ok=True)
        networks: dict[tuple[str, int], Path | None] = {(RIGID, 0): None}
        for seed in range(given.seeds):
            for config in sorted(CONFIGS.glob("ablation_*.yaml")):
                networks[_row_of(config), seed] = train_row(config, given.cohort, given.out, seed, given.set)
            judge_missing(given.cohort, path, networks)
    print(table_of(read_rows(path)))


if __name__ == "__main__":
    main()
