"""Against a real archive (Orthanc): it sends to the listener, an import takes from it, results go back into it."""

import gc
import json
import subprocess
import sys

import pydicom
import pytest
from support.archives import Listener, free_port, orthanc, wait_for
from support.dicom_files import ct, every, pet, rtstruct, write
from support.readers import READERS

pytest.importorskip("pynetdicom", reason="the extra 'archive' is not installed")
pytest.importorskip("dicomweb_client", reason="the extra 'archive' is not installed")

from nufitdose.errors import InputError, RunStopped
from nufitdose.io.dicom.net.sender import Peer, find_objects, send
from nufitdose.io.dicom.net.web import Wanted, fetch
from nufitdose.io.importer import ImportOptions, plan_import
from nufitdose.io.importer.archive import Archive
from nufitdose.io.study_folder import load_study


def nufitdose(*arguments):
    code = "from nufitdose.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """A patient's scan with structures, and an object that no import wants."""
    folder = tmp_path_factory.mktemp("scans")
    images = ct()
    every(images, PatientSex="", AccessionNumber="")
    write(folder, [*pet(), *images, rtstruct(images)])
    return folder


@pytest.fixture(scope="module")
def archive(tmp_path_factory, scans):
    port = free_port()
    with orthanc(tmp_path_factory.mktemp("archive") / "orthanc", {"us": ("NUFITDOSE", "127.0.0.1", port)}) as server:
        server.fill(scans)
        yield server, port


def relative(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_import_by_dicomweb_equals_one_from_the_folder(tmp_path, archive, scans):
    server, _ = archive
    told = nufitdose("import", scans, "--out", tmp_path / "a")
    assert told.returncode == 0, told.stderr
    told = nufitdose("import", "--dicomweb", server.web, "--patient-id", "P1", "--out", tmp_path / "b")
    assert told.returncode == 0, told.stderr
    here, there = relative(tmp_path / "a"), relative(tmp_path / "b")
    records = [json.loads(found.pop("run.json")) for found in (here, there)]
    assert here == there
    assert records[1]["config"]["dicomweb"] == server.web
    assert load_study(tmp_path / "b").timepoints[0].structures is not None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"], "what was fetched is gone"


@pytest.mark.parametrize("wanted", [Wanted("P2"), Wanted(studies=("1.2.3",)), Wanted("P1", ("1.2.3",))])
def test_what_the_archive_does_not_have_is_said(tmp_path, archive, wanted):
    with pytest.raises(InputError, match="no series"):
        fetch(archive[0].web, wanted, tmp_path, lambda share: None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("how", [{}, {"patient_id": "P*"}, {"patient_id": " "}, {"studies": ("../x",)}])
def test_what_is_wanted_of_the_archive_is_named(how):
    with pytest.raises(InputError):
        Wanted(**how)


def test_an_archive_that_does_not_answer_is_said_and_nothing_stays(tmp_path, archive):
    told = nufitdose(
        "import", "--dicomweb", f"http://127.0.0.1:{free_port()}/x", "--study", "1.2", "--out", tmp_path / "s"
    )
    assert told.returncode == 1
    assert "does not answer" in told.stderr
    assert "Traceback" not in told.stderr
    assert not list(tmp_path.iterdir())
    with pytest.raises(RunStopped):
        fetch(f"http://127.0.0.1:{archive[0].http_port}/nowhere", Wanted("P1"), tmp_path, lambda share: None)


@pytest.mark.parametrize(
    "arguments",
    [["DIR", "--dicomweb", "http://x"], [], ["DIR", "--study", "1.2"], ["--dicomweb", "ftp://x", "--study", "1.2"],
     ["--dicomweb", "http://name:word@x", "--study", "1.2"], ["--dicomweb", "http://x", "--study", "../x"]],
)  # fmt: skip
def test_one_source_of_files_is_wanted(tmp_path, arguments):
    place = tmp_path if "DIR" in arguments else None
    named = dict(zip(*[iter([word for word in arguments if word != "DIR"])] * 2, strict=True))
    with pytest.raises(InputError):
        Archive.named(place, named.get("--dicomweb"), None, tuple(filter(None, [named.get("--study")])))


def received(tmp_path, server, port):
    """The patient of the archive, sent by it to a listener."""
    with Listener(tmp_path / "in", "--port", str(port), "--quiet", "0.5", "--allow", "ORTHANC") as listener:
        held = {one: len(server.ask(f"/patients/{one}/instances")) for one in server.ask("/patients")}
        patient = max(held, key=held.__getitem__)  # the scans; what was sent back before are few objects
        answer = server.ask("/modalities/us/store", json.dumps({"Resources": [patient]}).encode())
        assert answer["FailedInstancesCount"] == 0
        (study,) = wait_for(listener.studies)
    return study


def sent_back(server, results):
    """The objects that the archive has after `send` and had not before, with those of the results folder."""
    before = {one["SOPInstanceUID"] for one in server.objects()}
    told = nufitdose("send", results, "--to", f"ORTHANC@127.0.0.1:{server.dicom_port}")
    assert told.returncode == 0, told.stderr
    new = [one for one in server.objects() if one["SOPInstanceUID"] not in before]
    own = [str(pydicom.dcmread(path).SOPInstanceUID) for path in find_objects(results)]
    assert sorted(one["SOPInstanceUID"] for one in new) == sorted(own)
    return {one["Modality"] for one in new}


def test_the_archive_sends_to_the_listener_and_objects_go_back(tmp_path, archive, scans):
    server, port = archive
    study = received(tmp_path, server, port)
    assert len(list(study.glob("*.dcm"))) == len(list(scans.glob("*.dcm")))
    assert plan_import(tmp_path / "in", ImportOptions()).study.timepoints[0].structures is not None
    (tmp_path / "results/dicom").mkdir(parents=True)
    READERS["seg"]().make(tmp_path / "drawn")
    (tmp_path / "drawn/SEG_000.dcm").rename(tmp_path / "results/dicom/seg.dcm")
    READERS["rtdose"]().make(tmp_path / "results/dicom")
    assert sent_back(server, tmp_path / "results") == {"RTDOSE", "SEG"}


@pytest.mark.slow
def test_from_the_archive_through_the_run_and_back(tmp_path, archive):
    server, port = archive
    received(tmp_path, server, port)
    assert nufitdose("import", tmp_path / "in", "--out", tmp_path / "study").returncode == 0
    chosen = ["--set", "registration.engine=none", "--set", "dose.engine=local"]
    told = nufitdose("dosimetry", tmp_path / "study", "--out", tmp_path / "results", *chosen)
    assert told.returncode == 0, told.stderr
    assert "RTDOSE" in sent_back(server, tmp_path / "results")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a socket that pynetdicom leaves
def test_an_archive_that_is_not_there_or_refuses_is_said(tmp_path, scans):
    paths = sorted(scans.glob("*.dcm"))
    with pytest.raises(RunStopped, match="cannot be reached"):
        send(paths, Peer("X", "127.0.0.1", free_port()), on_progress=lambda share: None)
    with Listener(tmp_path / "in", "--most-studies", "1", "--allow", "NUFITDOSE") as listener:
        peer = Peer("NUFITDOSE", "127.0.0.1", listener.port)
        with pytest.raises(RunStopped, match="did not let us in"):
            send(paths, peer, calling="X", on_progress=lambda share: None)
        assert send(paths, peer, on_progress=lambda share: None) == len(paths)
        other = write(tmp_path / "other", every(ct("other")[:1], StudyInstanceUID="1.2.3"))
        with pytest.raises(RunStopped, match="status A700"):
            send(other, peer, on_progress=lambda share: None)
    gc.collect()


@pytest.mark.parametrize("text", ["X", "X@h", "X@h:0", "X@h:99999", "@h:1", f"{'A' * 17}@h:1"])
def test_a_peer_is_written_in_one_way(text):
    with pytest.raises(InputError):
        Peer.parse(text)
