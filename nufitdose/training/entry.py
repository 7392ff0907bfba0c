"""The door of a stage for torchrun: `torchrun --nproc-per-node 2 -m pretrain CONFIG --out DIR`."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from nufitdose.errors import InputError, RunStopped
from nufitdose.progress import one_clock
from nufitdose.training.request import RunRequest


def run_from_command_line(name: str, run: Callable[[RunRequest], Path]) -> None:
    """Read the arguments of `nufitdose <name>` and run; exit code 0 done, 1 stopped, 2 bad input."""
    parser = argparse.ArgumentParser(prog=f"python -m {name}")
    parser.add_argument("config", type=Path, help="YAML file of settings")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="override a setting: key=value")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--seed", type=int, default=0)
    given = vars(parser.parse_args())
    try:
        with one_clock():
            run(RunRequest(**given | {"overrides": tuple(given["overrides"])}, stream=sys.stderr))
    except InputError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(2)
    except RunStopped as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(1)
