"""Jobs in processes of their own: outcomes, faults, retries, and nothing that outlives its parent."""

import os
import signal
import subprocess
import sys
import time

import pytest
from support import jobs

from nufitdose.errors import InputError
from nufitdose.jobs import FaultKind, Job, run_jobs
from nufitdose.jobs.local import MemoryNeed
from nufitdose.jobs.memory import available_mb, peak_mb


def outcomes_of(todo, **how):
    found = {}
    run_jobs(todo, lambda outcome: found.setdefault(outcome.key, outcome), **how)
    return found


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{process}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"


def gone_within(process: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not alive(process):
            return True
        time.sleep(0.05)
    return False


def test_every_job_is_done_once_and_bad_ones_do_not_end_the_others(tmp_path):
    todo = [Job(f"n{n}", jobs.once, (tmp_path, n)) for n in range(3)] + [Job("bad", jobs.refuse, ("beer",))]
    seen = []
    found = outcomes_of(todo, workers=2, watch=seen.extend)
    assert {key: outcome.value for key, outcome in found.items()} == {"n0": 0, "n1": 1, "n2": 2, "bad": None}
    assert [(tmp_path / f"{n}.done").read_text() for n in range(3)] == ["x"] * 3
    assert found["bad"].fault.kind is FaultKind.INPUT
    assert found["bad"].fault.text == "beer."
    assert found["bad"].tries == 1
    assert all(0 < outcome.peak_mb < 2000 for outcome in found.values())
    assert {running.key for running in seen} <= set(found)


@pytest.mark.parametrize("how", ["kill", "abort", "exit", "memory", "divide"])
def test_what_fails_once_is_done_the_second_time(tmp_path, how):
    found = outcomes_of([Job("a", jobs.fail_first, (tmp_path / "mark", how))])
    assert (found["a"].value, found["a"].fault, found["a"].tries) == (7, None, 2)


@pytest.mark.parametrize(
    ("how", "kind", "says"),
    [
        ("kill", FaultKind.KILLED, "signal 9"),
        ("abort", FaultKind.ERROR, "SIGABRT"),
        ("exit", FaultKind.ERROR, "exit code 3"),
        ("memory", FaultKind.MEMORY, "no more"),
        ("divide", FaultKind.ERROR, "ZeroDivisionError: by nought"),
    ],
)
def test_what_fails_twice_says_why(tmp_path, monkeypatch, how, kind, says):
    monkeypatch.setattr("nufitdose.jobs.local.TRIES", 1)
    fault = outcomes_of([Job("a", jobs.fail_first, (tmp_path / "mark", how))])["a"].fault
    assert fault.kind is kind
    assert says in fault.text
    assert "about to fail" in fault.said


def test_what_takes_too_long_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr("nufitdose.jobs.local.TRIES", 1)
    start = time.monotonic()
    fault = outcomes_of([Job("a", jobs.fail_first, (tmp_path / "mark", "sleep"))], timeout_s=2.0)["a"].fault
    assert fault.kind is FaultKind.TIMEOUT
    assert time.monotonic() - start < 20


def test_an_exception_of_the_taker_ends_the_processes(tmp_path):
    def stop(outcome):
        raise KeyError(outcome.key)

    todo = [Job("quick", jobs.square, (3,)), Job("long", jobs.hold, (tmp_path / "mark", 60.0))]
    with pytest.raises(KeyError):
        run_jobs(todo, stop, workers=2)
    mark = tmp_path / "mark"
    assert not mark.exists() or gone_within(int(mark.read_text()), 10)


def test_a_killed_parent_takes_its_jobs_with_it(tmp_path):
    code = (
        "import sys; from pathlib import Path; from nufitdose.jobs import Job, run_jobs; from support import jobs\n"
        f"run_jobs([Job('a', jobs.hold, (Path({str(tmp_path / 'mark')!r}), 60.0))], print)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    parent = subprocess.Popen([sys.executable, "-c", code], env=environment)
    end = time.monotonic() + 30
    while not (tmp_path / "mark").exists() or not (tmp_path / "mark").read_text():
        assert time.monotonic() < end
        time.sleep(0.05)
    child = int((tmp_path / "mark").read_text())
    assert alive(child)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert gone_within(child, 10)


def test_jobs_wait_for_memory_and_expectations_learn():
    small, large = Job("small", jobs.square, memory_mb=100.0), Job("large", jobs.square, memory_mb=1000.0)
    need = MemoryNeed()
    assert need.fits(large, [], 0.0)  # one always runs
    assert need.fits(large, [(small, 100.0)], 1501.0)
    assert not need.fits(large, [(small, 100.0)], 1499.0)
    assert not need.fits(large, [(small, 0.0)], 1501.0)  # what that one will still take
    assert need.fits(large, [(small, 100.0)], float("nan"))
    need.learn(small, 250.0)
    need.learn(small, 150.0)
    assert need.expected_mb(large) == 2500.0


def test_memory_is_that_of_the_process_itself():
    code = "from nufitdose.jobs.memory import peak_mb; print(peak_mb())"
    child = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert peak_mb() > 100 > child > 1  # although the parent, of which it is a fork, holds more
    assert available_mb() > 0


def test_nonsense_is_refused():
    with pytest.raises(InputError, match="one name"):
        outcomes_of([Job("a", jobs.square, (1,)), Job("a", jobs.square, (2,))])
    with pytest.raises(InputError, match="workers"):
        outcomes_of([Job("a", jobs.square, (1,))], workers=0)
