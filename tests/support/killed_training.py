"""A training run that is killed at one file operation after the other and resumed each time, as a program.

`python killed_training.py STAGE CONFIG FOLDER` trains undisturbed in FOLDER/whole and, killed at every one of `POINTS`,
in FOLDER/killed. Runs are forks of one process that has imported all, so that a start takes no time.
"""

import importlib
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

from finetune.stage import run_finetune
from nufitdose.training.request import RunRequest
from pretrain.stage import run_pretrain

STAGES = {"pretrain": run_pretrain, "finetune": run_finetune}
#: Audit event, end of the path, which of them: in the order in which a run of three steps comes to them.
POINTS = (
    ("os.rename", "run.json", 1),  # the folder is made, its record half written
    ("os.rename", "tp2.safetensors", 1),  # a prepared scan is half written
    ("open", "metrics.csv", 1),  # a step is done that no table tells of
    ("os.rename", "step_00000001", 1),  # a checkpoint is there but for its name, its files half written
    ("open", "checkpoint.json", 1),  # a checkpoint has no card yet
    ("open", "step_00000002.png", 1),  # validated, the picture not drawn
    ("os.rename", "step_00000002", 1),
    ("os.rmdir", "step_00000001", 1),  # an old checkpoint is half removed
    ("os.rename", "step_00000003", 1),
    ("os.rename", "weights.safetensors", 1),  # trained, no weights yet
    ("os.rename", "weights.json", 1),  # weights without their card
    ("os.rename", "run.json", 2),  # all but the last record
)
_SLOW_IMPORTS = (
    "timm.utils",
    "torch._dynamo",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "monai.networks.nets",
)


def kill_at(event: str, name: str, count: int, folder: Path) -> None:
    """Arm this process: SIGKILL at a point of its work in `folder`, what it is writing cut in half first."""
    left = count

    def hook(what: str, arguments: tuple) -> None:
        nonlocal left
        if what != event or isinstance(arguments[0], int):  # a file that is open already
            return
        path = Path(os.fsdecode(arguments[1 if what == "os.rename" else 0]))
        reads = what == "open" and "r" in str(arguments[1])
        if reads or not path.name.endswith(name) or folder not in path.parents:
            return
        left -= 1
        if left == 0:
            for half in [one for one in folder.rglob("*") if ".unfinished-" in str(one) and one.is_file()]:
                os.truncate(half, half.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def fork(work: Callable[[], object]) -> int:
    """How a fork of this process ended that did `work`: its exit code, or minus the signal."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(stage: str, config: str, folder: str) -> None:
    torch.set_num_threads(1)
    for name in _SLOW_IMPORTS:
        importlib.import_module(name)

    def run(out: Path, resume: bool) -> None:
        STAGES[stage](RunRequest(Path(config), out, device="cpu", seed=1, resume=resume))

    assert fork(lambda: run(Path(folder, "whole/run"), False)) == 0
    killed = Path(folder, "killed/run")
    for number, point in enumerate(POINTS):

        def die(point: tuple[str, str, int] = point, resume: bool = number > 0) -> None:
            kill_at(*point, killed.parent)
            run(killed, resume)

        assert fork(die) == -signal.SIGKILL, f"{point} was not reached"
    assert fork(lambda: run(killed, True)) == 0


if __name__ == "__main__":
    main(*sys.argv[1:])
