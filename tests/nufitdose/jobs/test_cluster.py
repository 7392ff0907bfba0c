"""Jobs through a scheduler of Dask with two worker processes: one killed mid-way loses nothing and doubles nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from support import jobs

from nufitdose.errors import InputError
from nufitdose.jobs import Job, run_jobs

pytest.importorskip("distributed", reason="Dask distributed (extra 'cluster') is not installed")


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


def test_a_killed_worker_loses_nothing_and_nothing_is_done_twice(tmp_path):
    """The marks count how often each job got to its end: once each, with the job of the killed worker begun anew."""
    places = tmp_path / "marks"
    places.mkdir()
    todo = [Job(f"n{n}", jobs.count_to_the_end, (places, n, 1.0)) for n in range(6)]
    todo.append(Job("bad", jobs.refuse, ("beer",)))
    found, killed = {}, []
    with dask_cluster(tmp_path) as (scheduler, workers):

        def take(outcome):
            assert outcome.key not in found
            found[outcome.key] = outcome
            if len(found) == 2:
                workers[0].send_signal(signal.SIGKILL)
                killed.append(time.monotonic())

        run_jobs(todo, take, scheduler=str(scheduler))
    assert killed
    assert {key: outcome.value for key, outcome in found.items()} == {**{f"n{n}": n for n in range(6)}, "bad": None}
    assert [(places / f"{n}.done").read_text() for n in range(6)] == ["x"] * 6
    begun = sum(len((places / f"{n}.begun").read_text()) for n in range(6))
    assert begun in (6, 7)


def test_no_scheduler_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("nufitdose.jobs.cluster._CONNECT_S", 1.0)
    with pytest.raises(InputError, match="no scheduler answers"):
        run_jobs([Job("a", jobs.square, (1,))], print, scheduler="tcp://127.0.0.1:9")
    file = tmp_path / "scheduler.json"
    file.write_text(json.dumps({"address": "tcp://127.0.0.1:9"}))
    with pytest.raises(InputError, match="no scheduler answers"):
        run_jobs([Job("a", jobs.square, (1,))], print, scheduler=str(file))
