"""One run at a time writes to a folder, and none that has ended, however it ended, is in the way."""

import os
import signal
import subprocess
import sys
import time

import pytest

from nufitdose.errors import InputError
from nufitdose.locks import holds_something, locked
from nufitdose.phantom.writer import require_free_folder
from nufitdose.run import growing_folder, output_folder

HOLD = """
import sys, time
from nufitdose.locks import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds `out`."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", HOLD, str(tmp_path / "out")]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_folder_in_use_is_refused_with_who_uses_it_until_that_ends(tmp_path, holder):
    out = tmp_path / "out"
    for use in (
        lambda: locked(out),
        lambda: output_folder(out, kind="dosimetry"),
        lambda: growing_folder(out, marker="done", kind="evaluation"),
    ):
        with pytest.raises(InputError, match=rf"another run writes to this folder \(process {holder.pid} on"), use():
            pass
    with pytest.raises(InputError, match="another run"):
        require_free_folder(out)
    start = time.monotonic()
    with pytest.raises(InputError, match="another run"), locked(out, wait_s=0.5):
        pass
    assert time.monotonic() - start >= 0.5
    holder.send_signal(signal.SIGKILL)
    with locked(out, wait_s=10.0):
        assert [path.name for path in tmp_path.iterdir()] == [".out.lock"]
    assert not list(tmp_path.iterdir())


def test_the_lock_goes_with_the_block_even_when_it_fails(tmp_path):
    for _ in range(2):
        with pytest.raises(KeyError), locked(tmp_path / "out"):
            raise KeyError
    assert not list(tmp_path.iterdir())


def test_a_lock_inside_the_folder_counts_as_nothing(tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.setattr("nufitdose.locks.workplace", lambda target: target)  # as where its parent cannot be written
    with locked(out):
        assert [path.name for path in out.iterdir()] == [".out.lock"]
        assert not holds_something(out)
    (out / "letter.txt").write_text("dear")
    assert holds_something(out)


def test_a_folder_that_grows_is_taken_up_again(tmp_path):
    out = tmp_path / "out"
    with growing_folder(out, marker="done", kind="evaluation") as place:
        (place / "done/first").write_text("x")
    with growing_folder(out, marker="done", kind="evaluation") as place:
        assert (place / "done/first").read_text() == "x"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    with (
        pytest.raises(InputError, match="no evaluation"),
        growing_folder(tmp_path / "mine", marker="done", kind="evaluation"),
    ):
        pass
