"""Against a real archive (Orthanc): it sends to the listener, an import takes from it, results go back into it."""

import json
import subprocess
import sys

import pytest
from support.archives import Listener, free_port, orthanc, wait_for
from support.dicom_files import ct, every, pet, rtstruct, write

pytest.importorskip("pynetdicom", reason="the extra 'archive' is not installed")
pytest.importorskip("dicomweb_client", reason="the extra 'archive' is not installed")

from nufitdose.errors import InputError, RunStopped
from nufitdose.io.dicom.net.sender import Peer, find_objects, send
from nufitdose.io.dicom.net.web import Wanted, fetch
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


def test_what_the_archive_does_not_have_is_said(tmp_path, archive):
    server, _ = archive
    for asked in (["--patient-id", "P2"], ["--study", "1.2.3"], ["--patient-id", "P*"], []):
        told = nufitdose("import", "--dicomweb", server.web, *asked, "--out", tmp_path / "s")
        assert told.returncode == 2, (asked, told.stderr)
        assert "Traceback" not in told.stderr
    assert not list(tmp_path.iterdir())
    told = nufitdose(
        "import", "--dicomweb", f"http://127.0.0.1:{free_port()}/x", "--study", "1.2", "--out", tmp_path / "s"
    )
    assert told.returncode == 1
    assert "does not answer" in told.stderr
    with pytest.raises(RunStopped):
        fetch(f"http://127.0.0.1:{server.http_port}/nowhere", Wanted("P1"), tmp_path, lambda share: None)


@pytest.mark.parametrize(
    "arguments",
    [["DIR", "--dicomweb", "http://x"], [], ["DIR", "--study", "1.2"], ["--dicomweb", "ftp://x", "--study", "1.2"],
     ["--dicomweb", "http://name:word@x", "--study", "1.2"], ["--dicomweb", "http://x", "--study", "../x"]],
)  # fmt: skip
def test_one_source_of_files_is_wanted(tmp_path, arguments):
    from nufitdose.io.importer.archive import Archive

    place = tmp_path if "DIR" in arguments else None
    named = dict(zip(*[iter([word for word in arguments if word != "DIR"])] * 2, strict=True))
    with pytest.raises(InputError):
        Archive.named(place, named.get("--dicomweb"), None, tuple(filter(None, [named.get("--study")])))


def test_the_archive_sends_to_the_listener_and_results_go_back(tmp_path, archive, scans):
    server, port = archive
    with Listener(tmp_path / "in", "--port", str(port), "--quiet", "0.5", "--allow", "ORTHANC") as listener:
        (patient,) = server.ask("/patients")
        answer = server.ask("/modalities/us/store", json.dumps({"Resources": [patient]}).encode())
        assert answer["FailedInstancesCount"] == 0
        (study,) = wait_for(listener.studies)
    assert len(list(study.glob("*.dcm"))) == len(list(scans.glob("*.dcm")))
    assert nufitdose("import", tmp_path / "in", "--out", tmp_path / "study").returncode == 0
    results = tmp_path / "results"
    told = nufitdose(
        "dosimetry",
        tmp_path / "study",
        "--out",
        results,
        "--set",
        "registration.engine=none",
        "--set",
        "dose.engine=local",
    )
    assert told.returncode == 0, told.stderr
    objects = find_objects(results)
    before = {one["SOPInstanceUID"] for one in server.objects()}
    told = nufitdose("send", results, "--to", f"ORTHANC@127.0.0.1:{server.dicom_port}")
    assert told.returncode == 0, told.stderr
    new = [one for one in server.objects() if one["SOPInstanceUID"] not in before]
    assert len(new) == len(objects)
    assert "RTDOSE" in {one["Modality"] for one in new}


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


@pytest.mark.parametrize("text", ["X", "X@h", "X@h:0", "X@h:99999", "@h:1", f"{'A' * 17}@h:1"])
def test_a_peer_is_written_in_one_way(text):
    with pytest.raises(InputError):
        Peer.parse(text)
