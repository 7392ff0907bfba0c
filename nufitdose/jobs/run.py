"""Jobs in processes of their own, here or on a cluster."""

from collections.abc import Callable, Sequence

from nufitdose.errors import InputError
from nufitdose.jobs.values import Job, Outcome, Watch

_MOST_WORKERS = 1024


def run_jobs(
    jobs: Sequence[Job],
    take: Callable[[Outcome], None],
    *,
    workers: int = 1,
    scheduler: str | None = None,
    timeout_s: float | None = None,
    watch: Watch | None = None,
) -> None:
    """Do every job; `take` gets each outcome as it comes, `watch` about once a second what is at work.

    `workers` processes of this machine work at once, or the workers of a Dask scheduler where its address is given.
    What fails is tried once more, bad input is not. When this process ends, however it does, those of its jobs on this
    machine end too. Raises `InputError` on jobs of one key, workers that make no sense, and a scheduler that is not
    there.
    """
    if len({job.key for job in jobs}) != len(jobs):
        raise InputError("two jobs have one name")
    if not 1 <= workers <= _MOST_WORKERS:
        raise InputError(f"{workers} workers were asked for, 1 to {_MOST_WORKERS} are wanted", remedy="Give --workers")
    if scheduler is not None:
        from nufitdose.jobs.cluster import run_on_cluster

        run_on_cluster(jobs, take, scheduler=scheduler, timeout_s=timeout_s, watch=watch)
    else:
        from nufitdose.jobs.local import run_local

        run_local(jobs, take, workers=workers, timeout_s=timeout_s, watch=watch)
