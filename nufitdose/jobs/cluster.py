"""Jobs on a cluster, through the scheduler of Dask distributed (extra `cluster`)."""

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from nufitdose.errors import InputError
from nufitdose.jobs.local import TRIES
from nufitdose.jobs.process import JobProcess
from nufitdose.jobs.values import Fault, FaultKind, Job, Outcome, Running, Watch

_LOOK_S = 1.0
_CONNECT_S = 20.0


def run_on_cluster(
    jobs: Iterable[Job],
    take: Callable[[Outcome], None],
    *,
    scheduler: str,
    timeout_s: float | None = None,
    watch: Watch | None = None,
) -> None:
    """As `run_local`, by the workers of the scheduler at an address (tcp://host:8786, or the path of a scheduler file).

    Each job runs in a process of its own below its worker, so many at once as the worker has threads. A job whose
    worker is lost goes to another one; an outcome that was taken is never asked for again. What is at work when this
    process ends is finished by its worker. Raises `InputError` without Dask or where no scheduler answers.
    """
    try:
        from distributed import Client, wait
    except ImportError as error:
        raise InputError(
            "a scheduler was named, and Dask distributed is not installed",
            remedy="Install the extra 'cluster' here and on every machine: pip install 'nufitdose[cluster]'",
        ) from error
    where = {"scheduler_file": scheduler} if os.path.isfile(scheduler) else {"address": scheduler}
    try:
        client = Client(**where, timeout=_CONNECT_S)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"no scheduler answers at {scheduler} ({error})", remedy="Check --scheduler") from error
    with client:
        tries: dict[str, int] = {}
        first_seen_s: dict[str, float] = {}

        def submit(job: Job) -> Any:
            tries[job.key] = tries.get(job.key, 0) + 1
            name = f"{job.key}#{tries[job.key]}-{os.urandom(4).hex()}"
            return client.submit(run_here, job, timeout_s, key=name, pure=False)

        pending = {submit(job): job for job in jobs}
        while pending:
            try:
                done = wait(list(pending), timeout=_LOOK_S, return_when="FIRST_COMPLETED").done
            except TimeoutError:
                done = set()
            for future in done:
                job = pending.pop(future)
                outcome = replace(_read(future, job), tries=tries[job.key])
                future.release()
                if outcome.fault and outcome.fault.worth_a_retry and outcome.tries < TRIES:
                    pending[submit(job)] = job
                else:
                    take(outcome)
            if watch:
                watch(_at_work(client, first_seen_s))


def run_here(job: Job, timeout_s: float | None) -> Outcome:
    """One job, on a worker."""
    from distributed import get_worker

    threads = max(1, (os.cpu_count() or 1) // get_worker().state.nthreads)
    return JobProcess(job, timeout_s=timeout_s, threads=threads).wait()


def _read(future: Any, job: Job) -> Outcome:
    try:
        outcome: Outcome = future.result()
    except Exception as error:  # whatever the cluster says of a task that came to nothing
        fault = Fault(FaultKind.KILLED, f"its workers were lost ({type(error).__name__}: {error})"[:1000])
        return Outcome(job.key, None, fault, float("nan"), float("nan"), "")
    return outcome


def _at_work(client: Any, first_seen_s: dict[str, float]) -> list[Running]:
    now_s = time.monotonic()
    names = [str(name) for found in client.processing().values() for name in found]
    return [Running(name.rpartition("#")[0], now_s - first_seen_s.setdefault(name, now_s)) for name in names]
