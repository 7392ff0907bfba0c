"""The storage listener: what is accepted is kept, what is not is refused in DICOM's words, nothing else is written."""

import contextlib
import re
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

import pydicom
import pytest
from support.archives import Listener, wait_for
from support.damage import mangle_attribute
from support.dicom_files import ct, every, nm, pet, write
from support.programs import find_program

pytest.importorskip("pynetdicom", reason="the extra 'archive' is not installed")
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage, NuclearMedicineImageStorage, PositronEmissionTomographyImageStorage

from nufitdose.errors import InputError
from nufitdose.io.dicom.net.listener import Door
from nufitdose.io.dicom.net.sender import Peer, associated
from nufitdose.io.dicom.net.spool import OUT_OF_RESOURCES, Limits, RefusedError, Spool

KINDS = (CTImageStorage, PositronEmissionTomographyImageStorage, NuclearMedicineImageStorage)


def connected(port, *, calling="SCANNER", called="NUFITDOSE"):
    entity = AE(calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 20
    for kind in KINDS:
        entity.add_requested_context(kind)
    return associated(entity, Peer(called, "127.0.0.1", port))


def sent(port, datasets, **how):
    """The statuses of objects sent over one connection; None where it was not let in."""
    with connected(port, **how) as association:
        if not association.is_established:
            return None
        return [association.send_c_store(dataset).get("Status") for dataset in datasets]


def uids(folder):
    return sorted(str(pydicom.dcmread(path).SOPInstanceUID) for path in folder.rglob("*.dcm"))


def test_a_study_appears_whole_and_its_objects_are_those_that_were_sent(tmp_path):
    scans = [*pet(), *ct()]
    with Listener(tmp_path / "in", "--quiet", "1") as listener:
        with connected(listener.port) as association:
            for dataset in scans:
                assert association.send_c_store(dataset).Status == 0x0000
            time.sleep(1.5)
            assert not listener.studies(), "a study whose sender is still connected is not whole"
        (study,) = wait_for(listener.studies)
        assert uids(study) == sorted(d.SOPInstanceUID for d in scans)
        for path in study.glob("*.dcm"):
            assert path.stat().st_mode & 0o077 == 0
            back = pydicom.dcmread(path)
            (own,) = [d for d in scans if d.SOPInstanceUID == back.SOPInstanceUID]
            assert back.PixelData == own.PixelData
            assert back.file_meta.MediaStorageSOPInstanceUID == back.SOPInstanceUID
        assert "P1" not in str(study.relative_to(tmp_path)), "no name on disk says whose images these are"
        late = every(ct("late"), StudyInstanceUID=scans[0].StudyInstanceUID)
        with connected(listener.port) as association:
            assert [association.send_c_store(dataset).Status for dataset in late] == [0] * len(late)
            association.abort()  # a sender that goes away holds nothing up
        wait_for(lambda: len(listener.studies()) == 2)
        assert listener.studies()[1].name == f"{study.name}.part2"
        code, out, err = listener.end(signal.SIGTERM)
    assert code == 128 + signal.SIGTERM
    assert f"study: {study} ({len(scans)} objects)" in out
    assert err == ""
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == [".arriving", study.parent.name]


def test_what_was_accepted_survives_kill_9(tmp_path):
    scans = ct()
    with Listener(tmp_path / "in", "--quiet", "600") as listener, connected(listener.port) as association:
        for dataset in scans[:4]:
            assert association.send_c_store(dataset).Status == 0x0000
        listener.end(signal.SIGKILL)
    (tmp_path / "in/.arriving/99-1.part").write_bytes(b"half")
    (tmp_path / "in/.arriving/patient-1/1.2").mkdir(parents=True)
    with Listener(tmp_path / "in", "--quiet", "600") as listener:
        assert sent(listener.port, scans[4:]) == [0] * len(scans[4:])
        listener.end(signal.SIGKILL)
    with Listener(tmp_path / "in", "--quiet", "1") as listener:
        (study,) = wait_for(listener.studies)
        assert uids(study) == sorted(d.SOPInstanceUID for d in scans), "as if it had never been killed"
        assert wait_for(lambda: not list((tmp_path / "in/.arriving").iterdir()))
        assert listener.end(signal.SIGINT)[0] == 130
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_only_those_who_may_are_let_in(tmp_path):
    with Listener(tmp_path / "in", "--allow", "PETCT,SPECT", "--quiet", "1") as listener:
        assert sent(listener.port, [nm()], calling="STRANGER") is None
        assert sent(listener.port, [nm()], calling="SPECT", called="OTHER") is None
        assert sent(listener.port, [nm()], calling="SPECT") == [0]
        assert "STRANGER at 127.0.0.1: not let in" in listener.end()[2]


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("StudyInstanceUID", "../../../tmp/x"),
        ("StudyInstanceUID", "1..2"),
        ("StudyInstanceUID", "."),
        ("StudyInstanceUID", ""),
        ("StudyInstanceUID", "1." * 40 + "1"),
        ("SeriesInstanceUID", "/etc/x"),
        ("StudyInstanceUID", "1.2\x00.3"),
    ],
)
def test_a_uid_that_is_none_is_refused(tmp_path, keyword, value):
    spool, dataset = Spool(tmp_path / "in", Limits(free_bytes=0), quiet_s=1), ct()[0]
    mangle_attribute(dataset, keyword, value)
    with spool.owned(), pytest.raises(RefusedError, match=keyword):
        spool.take(1, (write(tmp_path / "d", [dataset])[0].read_bytes(),))
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["CT_000.dcm"]


def test_names_on_disk_are_not_the_senders_choice(tmp_path):
    dataset = ct()[0]
    dataset.PatientID, dataset.PatientName = "../../P", "/etc/passwd"
    spool = Spool(tmp_path / "in", Limits(free_bytes=0), quiet_s=1)
    with spool.owned():
        place = spool.take(1, (write(tmp_path / "d", [dataset])[0].read_bytes(),))
    assert place.resolve().is_relative_to(tmp_path / "in/.arriving")
    assert place.parent.parent.name.removeprefix("patient-").isalnum()


@pytest.mark.parametrize("garbage", [b"", b"GET / HTTP/1.0\r\n", b"\0" * 128 + b"DICM" + b"\xff" * 200])
def test_what_is_no_dicom_is_refused(tmp_path, garbage):
    spool = Spool(tmp_path / "in", Limits(free_bytes=0), quiet_s=1)
    with spool.owned(), pytest.raises(RefusedError):
        spool.take(1, (garbage,))


def test_no_room_is_out_of_resources(tmp_path):
    content = write(tmp_path / "d", ct()[:1])[0].read_bytes()
    for limits in (Limits(free_bytes=1 << 60), Limits(most_object_bytes=100, free_bytes=0)):
        spool = Spool(tmp_path / "in", limits, quiet_s=1)
        with spool.owned(), pytest.raises(RefusedError) as caught:
            spool.take(1, (content,))
        assert caught.value.status == OUT_OF_RESOURCES == 0xA700
    with Listener(tmp_path / "full", "--most-studies", "1", "--quiet", "600") as listener:
        first, second = ct("a")[0], ct("b")[0]
        second.StudyInstanceUID = "1.2.3"
        assert sent(listener.port, [first, second, ct("a")[1]]) == [0, 0xA700, 0]


def test_an_object_too_large_ends_the_connection_and_the_listener_goes_on(tmp_path):
    large = nm()
    large.PixelData = bytes(6 << 20)
    with Listener(tmp_path / "in", "--most-object-mb", "2", "--quiet", "600") as listener:
        assert sent(listener.port, [large]) == [None]
        assert sent(listener.port, [nm()]) == [0]
        assert "refused: an object of more than 2 MB" in listener.end()[2]


def test_a_length_that_is_a_lie_takes_no_memory(tmp_path):
    """The first PDU of a connection states 4 GB, before anybody could be asked who they are."""
    with Listener(tmp_path / "in", "--quiet", "600") as listener:
        with socket.create_connection(("127.0.0.1", listener.port), timeout=20) as liar:
            liar.sendall(struct.pack(">BBL", 1, 0, 0xFFFFFFFF))
            with contextlib.suppress(OSError):  # the listener hangs up
                for _ in range(400):
                    liar.sendall(bytes(1 << 20))
        told = Path(f"/proc/{listener.process.pid}/status").read_text()
        assert int(re.search(r"VmHWM:\s+(\d+) kB", told)[1]) < 300_000
        assert sent(listener.port, [nm()]) == [0]


def test_one_folder_has_one_listener(tmp_path):
    spool = Spool(tmp_path / "in", Limits(), quiet_s=1)
    with (
        spool.owned(),
        pytest.raises(InputError, match="another run writes to this folder"),
        Spool(tmp_path / "in", Limits(), quiet_s=1).owned(),
    ):
        pass
    with spool.owned():
        pass


def test_a_study_is_whole_after_quiet_time_and_never_while_its_sender_is_there(tmp_path):
    now = [0.0]
    spool = Spool(tmp_path / "in", Limits(free_bytes=0), quiet_s=10.0, clock=lambda: now[0])
    content = write(tmp_path / "d", ct()[:1])[0].read_bytes()
    with spool.owned():
        spool.take(1, (content,))
        now[0] = 100.0
        assert spool.hand_over() == []
        spool.leave(1)
        (place,) = spool.hand_over()
        assert place.parent.parent == tmp_path / "in"
        spool.take(2, (content,))
        spool.leave(2)
        now[0] = 109.0
        assert spool.hand_over() == []


@pytest.mark.parametrize(
    "how", [{"bind": "0.0.0.0"}, {"bind": "archive"}, {"ae_title": ""}, {"ae_title": "A" * 17}, {"allow": ("A\\B",)}]
)
def test_a_door_that_cannot_be_is_refused(how):
    with pytest.raises(InputError):
        Door(**how)


def test_dcmtk_is_understood(tmp_path):
    storescu = find_program("storescu")
    scans = write(tmp_path / "d", [nm(), *ct()])
    with Listener(tmp_path / "in", "--quiet", "0.5", "--allow", "DCMTK") as listener:
        command = [
            storescu,
            "-R",
            "-aet",
            "DCMTK",
            "-aec",
            "NUFITDOSE",
            "127.0.0.1",
            str(listener.port),
            *map(str, scans),
        ]
        subprocess.run(command, check=True, capture_output=True)
        (study,) = wait_for(listener.studies)
        assert uids(study) == uids(tmp_path / "d")
