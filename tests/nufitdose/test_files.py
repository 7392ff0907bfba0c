import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.processes import ended_process

from nufitdose.files import sweep, whole_file, whole_folder, write_whole


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_with_its_ending(tmp_path):
    target = tmp_path / "map.nii.gz"
    target.write_text("before")
    with whole_file(target) as aside:
        assert aside.name.endswith(".nii.gz")
        assert aside.name.startswith(".")
        aside.write_text("half")
        assert target.read_text() == "before"
        aside.write_text("whole")
    assert target.read_text() == "whole"
    assert names(tmp_path) == ["map.nii.gz"]


@pytest.mark.parametrize("name", ["study.yaml", "noending", ".hidden", "a.b.c", "star*[1].csv"])
def test_any_name_can_be_written(tmp_path, name):
    assert write_whole(tmp_path / name, "täxt\n").read_bytes() == "täxt\n".encode()
    assert names(tmp_path) == [name]


def test_a_failure_leaves_what_was_there(tmp_path):
    (tmp_path / "a.txt").write_text("before")
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "a.txt"):
        (tmp_path / "missing").read_text()
    assert (tmp_path / "a.txt").read_text() == "before"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("umask", [0o022, 0o007, 0o077])
def test_rights_are_those_of_any_new_file(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_whole(tmp_path / "a.txt", b"x")
        with whole_folder(tmp_path / "folder") as place:
            (place / "b.txt").touch()
    finally:
        os.umask(before)
    rights = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.txt", "folder", "folder/b.txt")]
    assert rights == [0o666 & ~umask, 0o777 & ~umask, 0o666 & ~umask]


@pytest.mark.parametrize("durable", [False, True])
def test_a_folder_takes_the_place_of_another(tmp_path, durable):
    target = tmp_path / "deep" / "out"
    for name in ("first", "second"):
        with whole_folder(target, durable=durable) as place:
            (place / "below").mkdir()
            (place / "below" / name).touch()
    assert names(target / "below") == ["second"]
    assert names(target.parent) == ["out"]
    with pytest.raises(KeyError), whole_folder(target) as place:
        raise KeyError
    assert names(target / "below") == ["second"]
    assert names(target.parent) == ["out"]


def test_threads_may_write_one_file_at_once(tmp_path):
    barrier, target = threading.Barrier(4), tmp_path / "a.bin"

    def write(n):
        with whole_file(target) as aside:
            aside.write_bytes(bytes([n]) * 1000)
            barrier.wait()

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(target.read_bytes())) == 1
    assert names(tmp_path) == ["a.bin"]


def test_what_killed_runs_left_is_swept_and_nothing_else(tmp_path):
    gone, alive = ended_process(), os.getppid()
    swept = [f".a.txt.unfinished-{gone}-0.txt", f".a.txt.previous-{gone}", f".a.txt.unfinished-{gone}"]
    kept = [f".a.txt.unfinished-{alive}-0.txt", f".b.txt.unfinished-{gone}-0.txt", ".a.txt.unfinished-mine", ".a.txt"]
    for name in (*swept, *kept):
        (tmp_path / name).touch()
    sweep(tmp_path / "a.txt")
    assert names(tmp_path) == sorted(kept)
    sweep(tmp_path / "not" / "there")


def test_what_a_process_of_the_same_number_left_is_swept(tmp_path):
    alive = os.getppid()
    (tmp_path / f".a.txt.unfinished-{alive}t1-0.txt").touch()  # began with the machine
    sweep(tmp_path / "a.txt")
    assert names(tmp_path) == []


def test_a_process_that_ended_and_waits_for_its_parent_is_no_writer(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.read()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    (tmp_path / f".a.unfinished-{child.pid}").mkdir()
    sweep(tmp_path / "a")
    assert names(tmp_path) == []
    child.communicate()


def test_a_folder_that_cannot_be_renamed_is_filled(tmp_path, monkeypatch):
    target = tmp_path / "mounted"
    target.mkdir()
    (target / "old").touch()
    rename = Path.rename

    def refused(self, to):
        if self == target:
            raise OSError(errno.EBUSY, "Device or resource busy")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", refused)
    with whole_folder(target) as place:
        (place / "maps").mkdir()
        (place / "maps" / "dose").write_text("1")
        (place / "run.json").write_text("{}")
    assert names(target) == ["maps", "run.json"]
    assert names(target / "maps") == ["dose"]
    assert names(tmp_path) == ["mounted"]


def test_a_mounted_folder_is_written_within(tmp_path, monkeypatch):
    target = tmp_path / "mounted"
    target.mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == target)
    with whole_folder(target) as place:
        assert place.parent == target
        (place / "run.json").write_text("{}")
    assert names(target) == ["run.json"]
