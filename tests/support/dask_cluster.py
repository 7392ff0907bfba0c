"""A scheduler of Dask and its workers, as processes of their own on this machine."""

import os
import subprocess
import sys
import time
from contextlib import contextmanager


@contextmanager
def dask_cluster(folder, workers=2):
    """A scheduler and its workers as processes of their own: the scheduler file, and the workers' processes."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "30s",
        "OMP_NUM_THREADS": "1",
        "NUMBA_NUM_THREADS": "1",
    }
    file = folder / "scheduler.json"
    dask = [sys.executable, "-m", "distributed.cli."]
    common = {"env": environment, "cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}

    def start(what, *options):
        return subprocess.Popen([*dask[:-1], dask[-1] + what, *options], **common)

    options = ("--scheduler-file", str(file), "--no-dashboard")
    started = [start("dask_scheduler", "--host", "127.0.0.1", "--port", "0", *options)]
    try:
        end = time.monotonic() + 120
        while not file.is_file():
            assert time.monotonic() < end
            assert started[0].poll() is None
            time.sleep(0.1)
        started += [
            start("dask_worker", "--nthreads", "1", "--no-nanny", "--host", "127.0.0.1", *options)
            for _ in range(workers)
        ]
        yield file, started[1:]
    finally:
        for process in started:
            process.kill()
            process.wait()
