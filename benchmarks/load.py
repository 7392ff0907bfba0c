"""Memory under load: a cohort of small patients, and one patient of fine CTs, watched from outside.

python -m benchmarks.load cohort FOLDER [--patients 100] [--workers 2]
python -m benchmarks.load large FOLDER [--ct 512,512,400] [--spect 128,128,128]

FOLDER is kept: the run goes on where it was, `memory.csv` has the memory of every process by time.
"""

import argparse
import csv
import os
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nufitdose.grid import Grid
from nufitdose.io.study_folder import load_study, save_study
from nufitdose.phantom.cohort import CohortPlan, simulate_cohort
from nufitdose.study import Structures, Study, TimePoint
from nufitdose.volume import Volume

_LOOK_S = 0.5
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20
_SMALL = {"shape": (36, 30, 34), "spacing_mm": 12.0}
_CT_FIELD_MM, _SPECT_FIELD_MM = (502.0, 502.0, 600.0), (614.0, 614.0, 614.0)
_CT_NOISE_HU = 15.0


@dataclass(frozen=True)
class Seen:
    """Memory of one process at one moment; `line` is what the command said last."""

    seconds: float
    process: int
    parent: int
    memory_mb: float
    line: str


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("cohort", "large"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--patients", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--ct", default="512,512,400")
    parser.add_argument("--spect", default="128,128,128")
    given = parser.parse_args()
    if given.what == "cohort":
        simulate_cohort(given.folder / "studies", CohortPlan(given.patients, **_SMALL), workers=given.workers)
        told = watch(
            ["cohort", given.folder / "studies", "--out", given.folder / "out", "--workers", given.workers],
            given.folder,
        )
        print_growth(told)
    else:
        study = given.folder / "study"
        if not (study / "study.yaml").is_file():
            simulate_cohort(given.folder / "small", CohortPlan(1, **_SMALL))
            ct, spect = (tuple(map(int, text.split(","))) for text in (given.ct, given.spect))
            small = load_study(given.folder / "small/patient_0001")
            save_study(enlarge(small, ct, spect), study)
        told = watch(["dosimetry", study, "--out", given.folder / "out"], given.folder)
    print_steps(told)


def enlarge(study: Study, ct: tuple[int, ...], spect: tuple[int, ...]) -> Study:
    """The same patient on finer grids of a scanner's field of view, with noise in the CT."""
    chance = np.random.default_rng(1)
    centre = study.reference.activity.grid.centre_mm

    def grid(shape: tuple[int, ...], field_mm: tuple[float, ...]) -> Grid:
        return Grid.from_spacing(shape, [a / n for a, n in zip(field_mm, shape, strict=True)], centre_mm=centre)

    def fine(scan: TimePoint) -> TimePoint:
        def read_ct() -> Volume:
            assert scan.ct is not None
            smooth = scan.ct.resampled_to(grid(ct, _CT_FIELD_MM))
            noise = chance.standard_normal(smooth.data.shape, dtype=np.float32)
            noise *= _CT_NOISE_HU
            noise += smooth.data
            return smooth.with_data(np.rint(noise, out=noise))

        def read_structures() -> Structures:
            assert scan.structures is not None
            layers = tuple(layer.resampled_to(grid(spect, _SPECT_FIELD_MM)) for layer in scan.structures.layers)
            return replace(scan.structures, layers=layers)

        return replace(
            scan,
            read_activity=lambda: scan.activity.resampled_to(grid(spect, _SPECT_FIELD_MM)),
            read_ct=read_ct,
            read_structures=read_structures if scan.id == study.reference_id else None,
        )

    return replace(study, timepoints=tuple(fine(scan) for scan in study.timepoints))


def watch(arguments: list[object], folder: Path) -> list[Seen]:
    """Run a command of nufitdose to its end; the memory of it and all it started."""
    code = "from nufitdose.cli import main; main()"
    started, found = time.monotonic(), []
    log = folder / "log.txt"
    shutil.rmtree(folder / "out", ignore_errors=True) if arguments[0] == "dosimetry" else None
    with log.open("w") as file, (folder / "memory.csv").open("w", newline="") as table:
        process = subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stdout=file, stderr=file)
        writer = csv.writer(table)
        writer.writerow(["seconds", "process", "parent", "memory_mb", "line"])
        while process.poll() is None:
            line = ["", *log.read_text(errors="replace").splitlines()][-1]
            for one, (parent, memory_mb) in descendants(process.pid).items():
                found.append(Seen(time.monotonic() - started, one, parent, memory_mb, line))
                writer.writerow([f"{found[-1].seconds:.1f}", one, parent, f"{memory_mb:.1f}", line])
            time.sleep(_LOOK_S)
    times = os.times()
    print(
        f"ended with {process.returncode} after {time.monotonic() - started:.0f} s, "
        f"{times.children_user + times.children_system:.0f} s of processors; load {os.getloadavg()[0]:.1f}"
    )
    return found


def descendants(root: int) -> dict[int, tuple[int, float]]:
    """A process and all below it: parent and resident memory in MB."""
    found: dict[int, tuple[int, float]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        found[int(path.parent.name)] = int(fields[1]), int(fields[21]) * _PAGE_MB
    tree = {root}
    while more := {one for one, (parent, _) in found.items() if parent in tree} - tree:
        tree |= more
    return {one: found[one] for one in tree if one in found}


def print_growth(told: list[Seen]) -> None:
    """Memory of the command itself over the run, and the peaks of its workers in order."""
    root = told[0].process
    own = [(seen.seconds, seen.memory_mb) for seen in told if seen.process == root]
    seconds, memory_mb = (np.array(column) for column in zip(*own, strict=True))
    later = seconds > 0.1 * seconds[-1]
    slope = np.polyfit(seconds[later], memory_mb[later], 1)[0]
    print(f"parent: peak {memory_mb.max():.0f} MB, {slope * (seconds[-1] - seconds[0]):+.1f} MB over the run")
    peaks: dict[int, float] = defaultdict(float)
    for seen in told:
        if seen.parent == root:
            peaks[seen.process] = max(peaks[seen.process], seen.memory_mb)
    values = np.array(list(peaks.values()))
    trend = np.polyfit(np.arange(values.size), values, 1)[0] if values.size > 1 else 0.0
    print(f"{values.size} workers: median peak {np.median(values):.0f} MB, trend {trend:+.2f} MB a worker")


def print_steps(told: list[Seen]) -> None:
    """The most that all processes held together, by what the command was at."""
    moments: dict[float, list[Seen]] = defaultdict(list)
    for seen in told:
        moments[round(seen.seconds / _LOOK_S) * _LOOK_S].append(seen)
    steps: dict[str, float] = {}
    for together in moments.values():
        line = together[0].line
        steps[line] = max(steps.get(line, 0.0), sum(seen.memory_mb for seen in together))
    print(f"peak of all processes {max(steps.values()) / 1000:.2f} GB")
    for line, memory_mb in list(steps.items())[-20:]:
        print(f"  {memory_mb / 1000:6.2f} GB  {line}")


if __name__ == "__main__":
    main()
