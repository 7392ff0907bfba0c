"""Seconds and memory of the registration network by size: `python -m benchmarks.network [--device cuda]`.

For each network and working grid (voxels): the network looking three times, one step of the instance optimisation at
the finest level, one training step looking once. Each in a process of its own, on random images; memory is the most the
process held beyond what it holds with the libraries loaded (on CUDA: the most allocated).
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import torch

from nufitdose.registration.network import NetworkSettings, NufitReg
from nufitdose.registration.objective import NetworkOutput, ObjectiveSettings, objective
from nufitdose.registration.pair import PairTensors

SHAPES = ((64, 64, 64), (96, 72, 104), (128, 128, 128))
SIZES = ("tiny", "small", "base")
TASKS = ("look", "optimise", "train")


def pair_of(shape: tuple[int, int, int], device: torch.device) -> PairTensors:
    """Noise in place of two scans."""
    images = torch.rand(1, 2, *shape, device=device)
    seen = torch.ones(1, 2, *shape, device=device)
    return PairTensors(images, images.flip(2), torch.tensor([[True, True]], device=device), seen, seen, (4.0, 4.0, 4.0))


def step_of(task: str, size: str, pair: PairTensors) -> Callable[[], None]:
    """What is timed."""
    model = NufitReg(NetworkSettings(size=size, passes=3 if task == "look" else 1)).to(pair.ct.device)  # type: ignore[arg-type]
    settings = ObjectiveSettings()
    velocity = torch.full((1, 3, *(n // 2 for n in pair.ct.shape[2:])), 0.1, device=pair.ct.device, requires_grad=True)

    def look() -> None:
        with torch.no_grad():
            model.eval()(pair.ct, pair.activity, pair.present)

    def optimise() -> None:
        objective(NetworkOutput(velocity), pair, settings).total.backward()

    def train() -> None:
        objective(model.train()(pair.ct, pair.activity, pair.present), pair, settings).total.backward()

    return {"look": look, "optimise": optimise, "train": train}[task]


def measured(task: str, size: str, shape: tuple[int, int, int], device: torch.device) -> tuple[float, float]:
    """Seconds of the second call, and gigabytes."""
    NufitReg(NetworkSettings())  # loads all libraries
    held_gb = _peak_gb(device)
    step = step_of(task, size, pair_of(shape, device))
    step()
    start = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, _peak_gb(device) - held_gb


def _peak_gb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--device", default="cpu")
    arguments.add_argument("--one", nargs=3, metavar=("TASK", "SIZE", "SHAPE"), help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.one:
        task, size, shape = given.one
        i, j, k = (int(n) for n in shape.split("x"))
        print("{:.2f} s, {:.1f} GB".format(*measured(task, size, (i, j, k), torch.device(given.device))))
        return
    print("| grid | network | looking three times | a step of optimisation | a training step |\n|---|---|---|---|---|")
    for shape in SHAPES:
        for size in SIZES:
            cells = []
            for task in TASKS:
                one = [task, size, "x".join(map(str, shape))]
                command = [sys.executable, "-m", "benchmarks.network", "--device", given.device, "--one", *one]
                run = subprocess.run(command, capture_output=True, text=True, check=False)
                cells.append(run.stdout.strip() if run.returncode == 0 else "not enough memory")
            print(f"| {' x '.join(map(str, shape))} | {size} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
