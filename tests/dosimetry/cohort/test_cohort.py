"""Many patients: the numbers of single runs, failures as rows, and nothing done twice."""

import csv
import json
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.dask_cluster import dask_cluster
from support.dicom_files import nm, write
from support.small_study import small_study_folder
from typer.testing import CliRunner

from dosimetry import run_patient
from dosimetry.cohort.finished import is_finished
from dosimetry.cohort.run import Machines, run_cohort, wanted_of
from dosimetry.cohort.values import Status
from dosimetry.config import load_settings
from nufitdose.cli import app
from nufitdose.errors import InputError

FAST = ["registration.engine=rigid", "dose.engine=local", "kinetics.model=mono"]
SETTINGS = load_settings(None, FAST)


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def when(folder):
    """When each result was written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("patients/*/run.json")}


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """Two good patients, one broken one."""
    place = tmp_path_factory.mktemp("cohort") / "studies"
    for number, teff_h in enumerate((40.0, 80.0, 60.0), start=1):
        small_study_folder(place / f"p{number}", teff_h=teff_h)
    (place / "p3/study.yaml").write_text("patient: P3\nnuclide: Lu-178\n")
    return place


@pytest.fixture(scope="module")
def finished(studies, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "run"
    return out, run_cohort(studies, out, SETTINGS, Machines(workers=2), device="cpu")


def test_a_cohort_has_the_numbers_of_single_runs(studies, finished, tmp_path):
    out, members = finished
    assert [(member.study, member.status) for member in members] == [
        ("p1", Status.DONE), ("p2", Status.DONE), ("p3", Status.FAILED),
    ]  # fmt: skip
    run_patient(studies / "p2", tmp_path / "alone", SETTINGS, device="cpu")
    alone = rows(tmp_path / "alone/metrics.csv")
    told = [row for row in rows(out / "structures.csv") if row["study"] == "p2"]
    assert [{name: row[name] for name in alone[0]} for row in told] == alone
    assert (out / "patients/p2/maps/dose.nii.gz").read_bytes() == (tmp_path / "alone/maps/dose.nii.gz").read_bytes()


def test_a_broken_patient_is_a_row_and_heads_the_page(finished):
    out, _ = finished
    table = {row["study"]: row for row in rows(out / "cohort.csv")}
    assert [row["status"] for row in table.values()] == ["done", "done", "failed"]
    assert table["p3"]["fault"].startswith("bad input")
    assert table["p3"]["tries"] == "1"
    assert not (out / "patients/p3").exists()
    page = (out / "cohort.html").read_text()
    assert page.index("Failed") < page.index("What to look at") < page.index("Dose by structure")
    assert page.count("data:image/svg+xml") == 1
    assert json.loads((out / "run.json").read_text())["patients"]["p3"] == "failed"


def test_the_page_tells_the_spread_over_patients(finished):
    out, _ = finished
    doses = [float(row["dose_mean_gy"]) for row in rows(out / "structures.csv") if row["structure"] == "liver"]
    assert np.ptp(doses) > 0.1 * np.mean(doses)  # of half-lives of 40 to 80 h
    assert f"<td>{np.median(doses):.3g}</td>" in (out / "cohort.html").read_text()


def test_progress_is_a_line_a_second(finished):
    out, _ = finished
    lines = [json.loads(line) for line in (out / "progress.jsonl").read_text().splitlines()]
    assert lines[-1] | {"seconds": 0} == {
        "seconds": 0, "patients": 3, "done": 2, "kept": 0, "failed": 1, "waiting": 0, "running": [],
    }  # fmt: skip
    seconds = np.array([line["seconds"] for line in lines])
    assert (np.diff(seconds) >= 0).all()
    assert len(lines) <= seconds[-1] + 3
    assert any(one["memory_mb"] for line in lines for one in line["running"])


def test_what_is_done_is_kept_and_what_changed_is_done_again(studies, finished, tmp_path):
    out, place = tmp_path / "out", tmp_path / "studies"
    shutil.copytree(finished[0], out)
    shutil.copytree(studies, place)
    shutil.rmtree(place / "p3")
    before = when(out)
    manifest = (place / "p1/study.yaml").read_text()
    (place / "p1/study.yaml").write_text(manifest.replace("7400", "7300"))
    members = run_cohort(place, out, SETTINGS, device="cpu")
    assert [member.status for member in members] == [Status.DONE, Status.KEPT]
    after = when(out)
    assert (after["p2"], after["p1"] > before["p1"]) == (before["p2"], True)


def test_a_result_counts_only_as_what_would_be_written_now(studies, finished, tmp_path):
    study, results, wanted = studies / "p1", tmp_path / "p1", wanted_of(SETTINGS, "cpu", 0)
    shutil.copytree(finished[0] / "patients/p1", results)
    assert is_finished(study, results, wanted)
    other = wanted_of(load_settings(None, [*FAST, "dose.density_floor_g_ml=0.3"]), "cpu", 0)
    for changed in (
        other,
        replace(wanted, seed=1),
        replace(wanted, device="auto"),
        replace(wanted, version="0"),
    ):
        assert not is_finished(study, results, changed)
    assert not is_finished(studies / "p2", results, wanted)
    record = json.loads((results / "run.json").read_text())
    (results / "run.json").write_text(json.dumps({**record, "weights_sha256": "0" * 64}))
    assert not is_finished(study, results, wanted)
    (results / "run.json").write_text(json.dumps(record))
    (results / "metrics.csv").unlink()
    assert not is_finished(study, results, wanted)


@pytest.mark.slow
@pytest.mark.long
def test_a_killed_dask_worker_loses_no_patient_and_the_numbers_are_those_of_one_process(studies, finished, tmp_path):
    pytest.importorskip("distributed", reason="Dask distributed (extra 'cluster') is not installed")
    place, out = tmp_path / "studies", tmp_path / "out"
    shutil.copytree(studies, place)
    shutil.copytree(place / "p1", place / "p4")
    began = time.time_ns()
    with dask_cluster(tmp_path) as (scheduler, workers):

        def kill():
            """Once a patient is being written, end the worker that does so."""
            while not (found := list(out.glob("patients/.p*.unfinished-*"))):
                time.sleep(0.02)
            child = int(found[0].name.rpartition("-")[2].partition("t")[0])
            parent = int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1])
            killed.append(next(worker for worker in workers if worker.pid == parent))
            killed[0].kill()

        killed = []
        thread = threading.Thread(target=kill)
        thread.start()
        members = run_cohort(place, out, SETTINGS, Machines(scheduler=str(scheduler)), device="cpu")
        thread.join()
    assert killed
    assert [member.status.value for member in members] == ["done", "done", "failed", "done"]
    assert all(began < written for written in when(out).values())
    assert not list(out.glob("patients/.*"))
    for name in ("p1", "p2"):
        for file in ("metrics.csv", "tac.csv", "uncertainty.csv", "maps/dose.nii.gz", "maps/tia.nii.gz"):
            whole = finished[0] / "patients" / name / file
            assert (out / "patients" / name / file).read_bytes() == whole.read_bytes()


def test_the_command_ends_with_1_where_a_patient_failed(studies, finished, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(finished[0], out)
    chosen = [part for text in FAST for part in ("--set", text)]
    run = CliRunner().invoke(app, ["cohort", str(studies), "--out", str(out), "--device", "cpu", "--json", *chosen])
    assert run.exit_code == 1, run.output
    told = json.loads(run.stdout)["patients"]
    assert [row["status"] for row in told] == ["kept", "kept", "failed"]


def test_a_patient_that_is_dicom_yet_is_a_row_that_says_to_import_it_first(studies, tmp_path):
    place = tmp_path / "studies"
    shutil.copytree(studies / "p3", place / "ward/broken")
    for name in ("ward/raw", "other"):
        write(place / name / "series 1", [nm()])
    (place / "notes").mkdir()
    (place / "notes/letter.txt").write_text("dear")
    members = run_cohort(place, tmp_path / "out", SETTINGS, device="cpu")
    assert [member.study for member in members] == ["other", "ward/broken", "ward/raw"]
    for member in members:
        assert member.row["status"] == "failed"
        assert ("nufitdose import DICOM_DIR --out DIR" in member.row["fault"]) == (member.study != "ward/broken")
        assert member.row["tries"] == 1


def test_folders_that_are_no_place_for_it_are_refused(studies, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    with pytest.raises(InputError, match="no cohort run"):
        run_cohort(studies, tmp_path / "mine", SETTINGS)
    with pytest.raises(InputError, match="inside the input"):
        run_cohort(studies, studies / "p1/out", SETTINGS)
    with pytest.raises(InputError, match=r"no folder here holds a study\.yaml"):
        run_cohort(tmp_path / "mine", tmp_path / "out", SETTINGS)
    assert not (tmp_path / "out").exists()
