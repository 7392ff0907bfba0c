import errno
import json
import logging
import os
import sys
import time

import pytest
from support.processes import ended_process

from nufitdose.errors import InputError, RunStopped
from nufitdose.progress import Steps, one_clock
from nufitdose.run import RunRecord, collected_warnings, output_folder, sha256, write_record


def test_a_run_appears_whole(tmp_path):
    with output_folder(tmp_path / "out", kind="dosimetry") as place:
        (place / "a.txt").write_text("x")
        assert not (tmp_path / "out").exists()
    assert (tmp_path / "out/a.txt").read_text() == "x"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_failed_run_leaves_nothing_and_the_earlier_result(tmp_path):
    with output_folder(tmp_path / "out", kind="dosimetry") as place:
        write_record(RunRecord("dosimetry", {}), place)
    with pytest.raises(FileNotFoundError), output_folder(tmp_path / "out", kind="dosimetry") as place:
        (place / "half.txt").rename(place / "whole.txt")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["run.json"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_want_of_room_is_told_with_its_folder_and_leaves_nothing(tmp_path):
    error = OSError(errno.ENOSPC, "No space left on device")
    with (
        pytest.raises(RunStopped, match=r"out: .*No space left on device"),
        output_folder(tmp_path / "out", kind="dosimetry"),
    ):
        raise error
    assert not list(tmp_path.iterdir())


def test_a_run_killed_while_it_replaces_a_result_leaves_no_result_that_looks_whole(tmp_path, monkeypatch):
    out = tmp_path / "out"
    result(out, "first", "maps/both")
    monkeypatch.setattr("nufitdose.run.pour", lambda *_, **__: os._exit(9))
    child = os.fork()
    if child == 0:
        result(out, "second", "maps/both")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    monkeypatch.undo()
    record = json.loads((out / "run.json").read_text())
    assert ("finished" in record, record["files"]) == (False, ["first", "maps/both", "run.json", "second"])
    result(out, "third")
    assert contents(out) == ["run.json", "third"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def result(out, *names, kind="dosimetry"):
    with output_folder(out, kind=kind) as place:
        for name in names:
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(kind)
        write_record(RunRecord(kind, {}), place)


def contents(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_an_earlier_result_is_replaced_file_by_file(tmp_path):
    result(tmp_path / "out", "first", "maps/old", "maps/both")
    result(tmp_path / "out", "second", "maps/both")
    assert contents(tmp_path / "out") == ["maps/both", "run.json", "second"]
    assert json.loads((tmp_path / "out/run.json").read_text())["files"] == ["maps/both", "run.json", "second"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_what_is_the_users_stays(tmp_path):
    out = tmp_path / "out"
    result(out, "maps/old", "report.html")
    (out / "notes.txt").write_text("mine")
    (out / "maps/mine.nii.gz").write_text("mine")
    (out / "empty").mkdir()
    result(out, "report.html")
    assert contents(out) == ["maps/mine.nii.gz", "notes.txt", "report.html", "run.json"]
    assert (out / "empty").is_dir()
    assert (out / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("kind", ["import", "pretrain", "register"])
def test_a_result_of_another_kind_is_left_alone(tmp_path, kind):
    """A study and a training run hold a run.json too."""
    result(tmp_path / "out", "study.yaml", kind=kind)
    with pytest.raises(InputError, match=f"a result of '{kind}'"):
        result(tmp_path / "out", "report.html")
    assert contents(tmp_path / "out") == ["run.json", "study.yaml"]


@pytest.mark.parametrize("text", ["{}", "[]", "no json", '{"command": null}'])
def test_a_record_of_somebody_else_makes_no_result(tmp_path, text):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/run.json").write_text(text)
    with pytest.raises(InputError, match="no earlier result"):
        result(tmp_path / "out", "report.html")
    assert (tmp_path / "out/run.json").read_text() == text


def test_a_result_to_keep_is_kept(tmp_path):
    result(tmp_path / "out", "study.yaml", kind="import")
    with pytest.raises(InputError, match="already here"), output_folder(tmp_path / "out", kind="import", keep=True):
        pass
    assert contents(tmp_path / "out") == ["run.json", "study.yaml"]


@pytest.mark.parametrize("name", ["../outside", "/{}/outside", "below"])
def test_a_record_cannot_make_a_run_delete_what_lies_elsewhere(tmp_path, name):
    result(tmp_path / "out", "a")
    (tmp_path / "outside").write_text("mine")
    (tmp_path / "out/below").mkdir()
    record = json.loads((tmp_path / "out/run.json").read_text())
    record["files"] += [name.format(tmp_path), 7, None]
    (tmp_path / "out/run.json").write_text(json.dumps(record))
    result(tmp_path / "out", "b")
    assert (tmp_path / "outside").read_text() == "mine"
    assert contents(tmp_path / "out") == ["b", "run.json"]
    assert (tmp_path / "out/below").is_dir()


def test_somebody_elses_folder_is_left_alone(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/me.jpg").touch()
    with pytest.raises(InputError, match="not empty"), output_folder(tmp_path / "photos", kind="dosimetry"):
        pass
    assert (tmp_path / "photos/me.jpg").exists()


@pytest.mark.parametrize("out", ["study", "study/results", "."])
def test_output_and_input_stay_apart(tmp_path, out):
    (tmp_path / "study").mkdir()
    with (
        pytest.raises(InputError, match="input"),
        output_folder(tmp_path / out, inputs=[tmp_path / "study"], kind="dosimetry"),
    ):
        pass


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(InputError, match="a folder is wanted"), output_folder(tmp_path / "out", kind="dosimetry"):
        pass


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(InputError, match="cannot be made"),
        output_folder(tmp_path / "file/below/out", kind="dosimetry"),
    ):
        pass


def test_the_record_says_how_it_came_about(tmp_path):
    (tmp_path / "input.txt").write_text("abc")
    record = RunRecord("dosimetry", {"engine": "rigid"}, seed=3)
    with collected_warnings(record):
        logging.getLogger("dosimetry.somewhere").warning("mind %d things", 2)
        logging.getLogger("dosimetry.somewhere").warning("mind %d things", 2)
        logging.getLogger("dosimetry.somewhere").info("quiet")
    logging.getLogger("dosimetry.somewhere").addHandler(logging.NullHandler())
    record.add_inputs([tmp_path / "input.txt"], tmp_path)
    write_record(record, tmp_path)
    found = json.loads((tmp_path / "run.json").read_text())
    assert found["warnings"] == ["mind 2 things"]
    assert found["inputs"] == [{"path": "input.txt", "sha256": sha256(tmp_path / "input.txt")}]
    assert found["inputs"][0]["sha256"].startswith("ba7816bf")  # FIPS 180-2, "abc"
    assert found["seed"] == 3
    assert found["versions"]["python"]


def test_steps_are_timed_and_told_in_plain_lines(capsys):
    with Steps(3.0, sys.stderr) as steps:
        with steps.step("one") as on_progress:
            on_progress(0.5)
        with steps.step("two", 2.0):
            pass
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("] ")[1] for line in lines] == ["one", "two"]
    assert set(steps.seconds) == {"one", "two"}


def test_parts_of_one_command_share_a_clock_and_the_next_command_has_its_own(capsys, monkeypatch):
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    for _ in range(2):
        with one_clock():
            for part in ("simulate", "run"):
                now += 7.0
                with one_clock(), Steps(1.0, sys.stderr) as steps, steps.step(part):
                    now += 1.0
                assert steps.seconds == {part: 1.0}
    with Steps(1.0, sys.stderr) as steps, steps.step("alone"):
        pass
    shown = [line.split() for line in capsys.readouterr().err.splitlines()]
    assert [(float(seconds), name) for _, seconds, _, name in shown] == [
        (7.0, "simulate"), (15.0, "run"), (7.0, "simulate"), (15.0, "run"), (0.0, "alone")
    ]  # fmt: skip


def test_the_bar_of_a_later_part_has_the_time_of_the_whole_command(monkeypatch):
    import pty

    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as stream, one_clock():
        now += 30.0
        with Steps(1.0, stream) as steps, steps.step("writing"):
            assert steps._bar.tasks[0].elapsed == 30.0
    os.close(master)


def read_terminal(master: int) -> str:
    """All that was written to a pseudo terminal whose other side is closed: one read may bring only the first part."""
    shown = b""
    try:
        while part := os.read(master, 65536):
            shown += part
    except OSError as error:  # Linux says so that the other side is closed
        if error.errno != errno.EIO:
            raise
    finally:
        os.close(master)
    return shown.decode()


def test_on_a_terminal_a_bar_with_the_remaining_time_is_shown():
    import pty

    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as stream, Steps(2.0, stream) as steps:
        with steps.step("training") as on_progress:
            steps.note("loss 0.1234")
            on_progress(0.5)
            steps._bar.refresh()
        with steps.step("registering tp2") as on_progress:
            on_progress(0.5)
        steps._bar.refresh()
    shown = read_terminal(master)
    assert "training, loss 0.1234" in shown
    assert "registering tp2, loss" not in shown
    assert "registering tp2" in shown
    assert "%" in shown


def test_an_output_folder_may_be_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    with output_folder(tmp_path / "out", kind="dosimetry") as place:
        (place / "a.txt").touch()
    assert (tmp_path / "out").is_symlink()
    assert [p.name for p in (tmp_path / "disk").iterdir()] == ["a.txt"]


def test_what_a_killed_run_left_is_swept_by_the_next(tmp_path):
    left = tmp_path / f".out.unfinished-{ended_process()}"
    running = tmp_path / f".out.unfinished-{os.getppid()}"
    left.mkdir()
    running.mkdir()
    with output_folder(tmp_path / "out", kind="dosimetry"):
        pass
    assert not left.exists()
    assert running.exists()
