"""Jobs on this machine, so many at once as processors and memory allow."""

import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace

from nufitdose.jobs.memory import available_mb
from nufitdose.jobs.process import JobProcess
from nufitdose.jobs.values import Job, Outcome, Running, Watch

TRIES = 2
_LOOK_S = 1.0
_RESERVE_MB = 500.0  # left to the machine; chosen here


class MemoryNeed:
    """What jobs will need: what they say, times the largest factor by which the finished ones were off."""

    def __init__(self) -> None:
        self._factors: list[float] = []
        self._largest_mb = 0.0  # of jobs that did not say

    def learn(self, job: Job, peak_mb: float) -> None:
        """Take note of what a job needed."""
        if not peak_mb > 0:
            return
        if job.memory_mb > 0:
            self._factors.append(peak_mb / job.memory_mb)
        else:
            self._largest_mb = max(self._largest_mb, peak_mb)

    def expected_mb(self, job: Job) -> float:
        """What a job will need."""
        return job.memory_mb * max(self._factors, default=1.0) if job.memory_mb > 0 else self._largest_mb

    def fits(self, job: Job, running: Sequence[tuple[Job, float]], free_mb: float) -> bool:
        """Whether a job may start beside those `running` (with what each holds now) where so much is free."""
        if not running or math.isnan(free_mb):
            return True
        to_come_mb = sum(max(0.0, self.expected_mb(other) - held) for other, held in running)
        return free_mb - to_come_mb - _RESERVE_MB >= self.expected_mb(job)


def run_local(
    jobs: Iterable[Job],
    take: Callable[[Outcome], None],
    *,
    workers: int,
    timeout_s: float | None = None,
    watch: Watch | None = None,
) -> None:
    """Do every job in a process of its own, at most `workers` at once; `take` gets each outcome as it comes.

    What fails is tried once more at the end, alone where want of memory may be why; bad input is not.
    """
    waiting, alone = deque(jobs), set[str]()
    tries = dict.fromkeys((job.key for job in waiting), 0)
    running: dict[Future[Outcome], tuple[Job, JobProcess]] = {}
    need, threads = MemoryNeed(), max(1, (os.cpu_count() or 1) // workers)
    with ThreadPoolExecutor(workers) as pool:
        try:
            looked_s = 0.0
            while waiting or running:
                while waiting and len(running) < workers and _may_start(waiting[0], running, need, alone):
                    job = waiting.popleft()
                    process = JobProcess(job, timeout_s=timeout_s, threads=threads)
                    running[pool.submit(process.wait)] = job, process
                done, _ = wait(running, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
                for future in done:
                    job, _ = running.pop(future)
                    tries[job.key] += 1
                    outcome = replace(future.result(), tries=tries[job.key])
                    need.learn(job, outcome.peak_mb)
                    if outcome.fault and outcome.fault.worth_a_retry and outcome.tries < TRIES:
                        waiting.append(job)
                        alone |= {job.key} if outcome.fault.of_memory else set()
                    else:
                        take(outcome)
                if time.monotonic() - looked_s >= _LOOK_S:
                    looked_s = time.monotonic()
                    seen: list[Running] = [process.look() for _, process in running.values()]
                    if watch:
                        watch(seen)
        finally:
            for _, process in running.values():
                process.stop()


def _may_start(
    job: Job, running: dict[Future[Outcome], tuple[Job, JobProcess]], need: MemoryNeed, alone: set[str]
) -> bool:
    if running and (job.key in alone or any(other.key in alone for other, _ in running.values())):
        return False
    at_work = [(other, process.held_mb()) for other, process in running.values()]
    return need.fits(job, at_work, available_mb())
