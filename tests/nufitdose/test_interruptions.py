"""Commands that are stopped, killed or run out of room: the exit code, and nothing half written that stays."""

import random
import re
import resource
import signal
import time

import pytest
from support.commands import start_command, unfinished, wait_for
from support.small_study import small_study_folder

SIMULATE = ["simulate", "patient", "--shape", "16,16,16", "--spacing", "16", "--times", "4,24", "--seed", "3"]
RUN = ["--set", "registration.engine=rigid", "--set", "dose.engine=local", "--set", "kinetics.model=mono"]
RUN += ["--device", "cpu"]


def contents(folder):
    """The files of a result by their bytes; without run.json and report.html, which tell the time, and seconds."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and path.name not in ("run.json", "report.html", "progress.jsonl", "cohort.html"):
            found[name] = path.read_bytes()
            if path.name == "findings.json":
                found[name] = re.sub(rb'"seconds": [0-9.e-]+', b'"seconds"', found[name])
            if path.name in ("registration.csv", "cohort.csv"):
                head, *rows = path.read_text().splitlines()
                named = head.split(",")
                left_out = [named.index(n) for n in ("seconds", "peak_mb", "status") if n in named]  # kept, not done
                found[name] = [[c for k, c in enumerate(row.split(",")) if k not in left_out] for row in rows]
    return found


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_command_clears_away_and_says_so_by_its_code(tmp_path, number, code):
    study, out = small_study_folder(tmp_path / "study"), tmp_path / "out"
    with start_command("dosimetry", study, "--out", out, *RUN) as process:
        wait_for(lambda: bool(unfinished(tmp_path)), process)
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
    assert process.returncode == code
    assert "Traceback" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["study"]


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
    def no_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    with start_command(
        *SIMULATE, "--out", tmp_path / "p", preexec_fn=no_room, environment={"NUMBA_CACHE_DIR": ""}
    ) as run:
        _, said = run.communicate(timeout=240)
    assert run.returncode in (1, 2)
    assert "File too large" in said
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir())


def test_two_runs_on_one_folder(tmp_path):
    study, out = small_study_folder(tmp_path / "study"), tmp_path / "out"
    with start_command("dosimetry", study, "--out", out, *RUN) as first:
        wait_for((tmp_path / ".out.lock").exists, first)
        first.send_signal(signal.SIGSTOP)
        with start_command("dosimetry", study, "--out", out, *RUN) as second:
            _, said = second.communicate(timeout=240)
        first.send_signal(signal.SIGCONT)
        first.send_signal(signal.SIGKILL)
        first.communicate()
    assert second.returncode == 2
    assert f"another run writes to this folder (process {first.pid}" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    "what", ["dosimetry", *(pytest.param(other, marks=pytest.mark.long) for other in ("simulate", "cohort"))]
)
def test_killed_at_any_moment_a_rerun_ends_as_if_nothing_had_been(tmp_path, what):
    for name in ("a", "b"):
        small_study_folder(tmp_path / "studies" / name, teff_h=50.0)
    command = {
        "simulate": SIMULATE,
        "dosimetry": ["dosimetry", tmp_path / "studies/a", *RUN],
        "cohort": ["cohort", tmp_path / "studies", "--workers", "2", *RUN],
    }[what]
    start = time.monotonic()
    with start_command(*command, "--out", tmp_path / "whole/out") as process:
        process.communicate(timeout=600)
    took = time.monotonic() - start
    assert process.returncode == 0
    draw = random.Random(what)
    for _ in range(3):
        with start_command(*command, "--out", tmp_path / "killed/out") as process:
            time.sleep(took * draw.uniform(0.2, 1.0))
            process.kill()
            process.communicate()
    time.sleep(6.0)  # for processes of its patients to end
    with start_command(*command, "--out", tmp_path / "killed/out") as process:
        _, said = process.communicate(timeout=600)
    if what == "simulate" and "already something here" in said:  # it had come to its end
        process.returncode = 0
    assert process.returncode == 0, said
    assert not unfinished(tmp_path)
    assert [path.name for path in (tmp_path / "killed").iterdir()] == ["out"]
    assert contents(tmp_path / "killed/out") == contents(tmp_path / "whole/out")
