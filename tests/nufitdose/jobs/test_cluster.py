"""Jobs through a scheduler of Dask with two worker processes: one killed mid-way loses nothing and doubles nothing."""

import json
import signal

import pytest
from support import jobs
from support.dask_cluster import dask_cluster

from nufitdose.errors import InputError
from nufitdose.jobs import Job, run_jobs

pytest.importorskip("distributed", reason="Dask distributed (extra 'cluster') is not installed")


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
                killed.append(workers[0])

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
