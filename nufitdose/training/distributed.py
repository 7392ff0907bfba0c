"""Several processes that train one model: started by torchrun, gloo on CPUs, nccl on CUDA devices."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from nufitdose.device import resolve_device

_PATIENCE = timedelta(days=1)  # while one process prepares the scans of a large cohort, the others wait


@dataclass(frozen=True)
class Processes:
    """This process among all: `rank` of `count`, and the device it computes on. Rank 0 writes."""

    rank: int
    count: int
    device: torch.device

    @property
    def writes(self) -> bool:
        """Whether this is the one process that writes files and shows progress."""
        return self.rank == 0

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """The mean of a tensor over all processes, the same bits on each."""
        if self.count > 1:
            dist.all_reduce(values)
            values = values / self.count
        return values

    def wait(self) -> None:
        """Return when every process is here."""
        if self.count > 1:
            dist.barrier()


@contextmanager
def processes(device: str = "auto") -> Iterator[Processes]:
    """Join the group that torchrun announces in the environment; alone without it."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    chosen = resolve_device(device)
    if count == 1:
        yield Processes(0, 1, chosen)
        return
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Processes(dist.get_rank(), count, chosen)
    finally:
        dist.destroy_process_group()


@contextmanager
def keep_threads() -> Iterator[None]:
    """Give torch back the number of threads it had.

    Compiled loops that share its OpenMP library raise it to all cores for good; processes that train side by side
    would then wait for each other's threads, ten times slower.
    """
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
