"""The command line as a user meets it: exit codes, one readable paragraph, nothing half-written."""

import json
import subprocess
import sys

import pytest
import yaml
from support.small_study import small_study_folder

from nufitdose import __version__


def nufitdose(*arguments, cwd=None):
    """Run the command in a process of its own."""
    code = "from nufitdose.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False, cwd=cwd
    )


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['nufitdose', '--help']\n"
        "from nufitdose.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'monai', 'numba', 'scipy', 'matplotlib', 'pydicom', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    stages = ("pretrain", "finetune", "dosimetry")
    archives, many = ("import", "listen", "send"), ("cohort", "accumulate", "evaluate")
    for command in (*stages, *archives, *many, "demo", "simulate", "tune", "register", "kernels", "config"):
        assert command in found.stdout


def test_version_is_told():
    assert nufitdose("--version").stdout.strip() == f"nufitdose {__version__}"


def edited(folder, **changes):
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))


RUN = ("dosimetry", "S", "--out", "T/out")
#: What a user does wrong -> arguments (S: a study folder, T: an empty place) and what the message must say.
MISTAKES = {
    "no such command": (["dosimetree"], "dosimetree"),
    "no study": (["dosimetry", "--out", "T/out"], "STUDY"),
    "no out": (["dosimetry", "S"], "--out"),
    "study not there": (["dosimetry", "T/nothing", "--out", "T/out"], "study.yaml"),
    "study is some file": (["dosimetry", "T/bad.txt", "--out", "T/out"], "bad.txt: this is a file, a study folder"),
    "DICOM is a file": (["import", "T/bad.txt", "--dry-run"], "bad.txt: this is a file, a folder is wanted"),
    "setting of nothing": ([*RUN, "--set", "dose.engine="], "'dose.engine' is empty: .*known: local, kernel"),
    "folder without manifest": (["dosimetry", "T", "--out", "T/out"], "nufitdose import"),
    "out inside the study": (["dosimetry", "S", "--out", "S/out"], "inside the input"),
    "out is the study": (["dosimetry", "S", "--out", "S"], "inside the input"),
    "out is somebody's folder": (["dosimetry", "S", "--out", "T"], "not empty"),
    "unknown setting": ([*RUN, "--set", "dose.engin=local"], "did you mean 'dose.engine'"),
    "setting without its group": ([*RUN, "--set", "engine=rigid"], "'registration.engine' or 'dose.engine'"),
    "setting of a group": ([*RUN, "--set", "registration=rigid"], "a group of settings is wanted: registration"),
    "setting with another name": (
        [*RUN, "--set", "output.dicom=yes"], "'output.dicom' is 'yes': .*'auto', 'always' or 'never'"),
    "setting that is no name": ([*RUN, "--set", "dose.engine=3"], "'dose.engine' is 3: .*known: local, kernel"),
    "setting without value": ([*RUN, "--set", "dose.engine"], "key=value"),
    "impossible setting": ([*RUN, "--set", "dose.density_floor_g_ml=-1"], "greater than 0"),
    "kernel without ending": (["kernels", "Lu-177", "--out", "T/kernel"], r"\.npz or \.csv"),
    "kernel of two sides": (["kernels", "Lu-177", "--spacing", "4,4", "--out", "T/k.npz"], "three numbers"),
    "kernel of no nuclide": (["kernels", "Lu-999", "--out", "T/k.npz"], "ICRP Publication 107"),
    "kernel into no folder": (["kernels", "Lu-177", "--out", "T/nowhere/k.npz"], "no folder"),
    "unknown dose engine": ([*RUN, "--set", "dose.engine=magic"], "magic"),
    "unknown registration engine": ([*RUN, "--set", "registration.engine=magic"], "rigid"),
    "unknown engine": (["register", "S", "--out", "T/out", "--engine", "magic"], "rigid"),
    "no weights there": (["register", "S", "--out", "T/out", "--weights", "T/w 1.st"], "T/w 1.st: there is no such"),
    "no weights there either": ([*RUN, "--weights", "T/w.safetensors"], "T/w.safetensors: there is no such weights"),
    "elastix without CT": (["register", "N", "--out", "T/out", "--engine", "elastix"], "peers|a CT on both"),
    "unknown device": ([*RUN, "--device", "tpu"], "tpu"),
    "config not there": ([*RUN, "--config", "T/none.yaml"], "none.yaml"),
    "config is no yaml": ([*RUN, "--config", "T/bad.yaml"], "bad.yaml"),
    "negative seed": ([*RUN, "--seed", "-1"], "seed"),
    "pretrain without config": (["pretrain", "T/none.yaml", "--out", "T/out"], "none.yaml"),
    "pretrain on nothing": (["pretrain", "T/train.yaml", "--out", "T/out"], "no such cohort"),
    "pretrain with a misspelt key": (
        ["pretrain", "T/train.yaml", "--out", "T/out", "--set", "loop.step=5"], "did you mean 'loop.steps'"),
    "pretrain into somebody's folder": (["pretrain", "T/train.yaml", "--out", "T"], "not empty"),
    "finetune from nothing": (["finetune", "T/train.yaml", "--out", "T/out", "--set", "start=T/nowhere"], "no weights"),
    "finetune without start": (["finetune", "T/train.yaml", "--out", "T/out"], "'start' is missing"),
    "import from nowhere": (["import", "T/nothing", "--out", "T/out"], "nothing"),
    "import from a folder without DICOM": (["import", "T", "--out", "T/out"], "DICOM"),
    "import without out": (["import", "T"], "--out"),
    "import from two places": (["import", "T/dicom", "--dicomweb", "http://x", "--out", "T/out"], "one of the two"),
    "import of nothing named": (["import", "--dicomweb", "http://127.0.0.1/x", "--out", "T/out"], "--patient-id"),
    "study of no archive": (["import", "T/dicom", "--study", "1.2", "--out", "T/out"], "--dicomweb URL"),
    "listening to everybody": (["listen", "--out", "T/in", "--bind", "0.0.0.0"], "--allow"),
    "sending to no peer": (["send", "S", "--to", "X"], "AE@host:port"),
    "sending a study": (["send", "S", "--to", "A@h:104"], "no DICOM objects"),
    "import of a nuclide that is none": (["import", "T/dicom", "--out", "T/out", "--nuclide", "Xx-9"], "Xx-9|DICOM"),
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mistakes")
    small_study_folder(folder / "S")
    small_study_folder(folder / "N", hours=(4.0, 24.0), ct=False)
    (folder / "T").mkdir()
    (folder / "T/bad.yaml").write_text("dose: [1")
    (folder / "T/bad.txt").write_text("hello")
    (folder / "T/train.yaml").write_text("data: {cohort: T/no_cohort}")
    (folder / "T/dicom").mkdir()
    (folder / "T/dicom/readme.txt").write_text("no DICOM here")
    return folder


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_in_one_paragraph_and_exit_code_2(place, mistake, capfd, monkeypatch):
    import re

    from nufitdose.cli import main

    arguments, said = MISTAKES[mistake]
    before = sorted(path.relative_to(place) for path in place.rglob("*"))
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "argv", ["nufitdose", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    told = capfd.readouterr().err
    assert left.value.code == 2, told
    assert re.search(said, told), told
    assert "Traceback" not in told
    assert "?." not in told
    assert sorted(path.relative_to(place) for path in place.rglob("*")) == before


def test_a_dry_run_that_refuses_says_so_in_json_too(place, capfd, monkeypatch):
    from nufitdose.cli import main

    monkeypatch.setattr(sys, "argv", ["nufitdose", "import", str(place / "T/dicom"), "--dry-run", "--json"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    found = json.loads(capfd.readouterr().out)
    assert "no DICOM images" in found["refusal"]["problem"]
    assert found["series"] == []


def test_the_same_in_a_process_of_its_own(place):
    found = nufitdose("dosimetry", "T/nothing", "--out", "T/out", cwd=place)
    assert found.returncode == 2
    assert found.stdout == ""
    assert found.stderr.startswith("nufitdose: T/nothing: there is no study.yaml here.")
    assert len(found.stderr.strip().splitlines()) == 1


def test_register_writes_scans_fields_and_tables(tmp_path, monkeypatch, capfd):
    from nufitdose.cli import main

    small_study_folder(tmp_path / "S", hours=(4.0, 24.0))
    monkeypatch.setattr(
        sys, "argv", ["nufitdose", "register", str(tmp_path / "S"), "--engine", "none", "--out", str(tmp_path / "out")]
    )
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0, capfd.readouterr().err
    found = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found == {
        "run.json", "registration.csv", "registration_structures.csv", "registered/tp1_activity.nii.gz",
        "registered/tp1_ct.nii.gz", "registered/tp2_activity.nii.gz", "registered/tp2_ct.nii.gz",
        "registered/tp2_field.nii.gz", "registered/tp2_u_registration_mm.nii.gz", "registration_activity.csv",
    }  # fmt: skip


def test_register_tells_of_two_patients_on_the_terminal_and_as_json(tmp_path, monkeypatch, capfd):
    from nufitdose.cli import main

    for name in ("A", "B"):
        small_study_folder(tmp_path / name, hours=(4.0, 24.0))
    edited(tmp_path / "B", patient="P8")
    studies = ["register", str(tmp_path / "A"), str(tmp_path / "B")]
    monkeypatch.setattr(
        sys, "argv", ["nufitdose", *studies, "--engine", "none", "--out", str(tmp_path / "out"), "--json"]
    )
    with pytest.raises(SystemExit) as left:
        main()
    shown = capfd.readouterr()
    assert left.value.code == 0, shown.err
    assert "warning: the studies name two patients, 'P7' and 'P8'" in shown.err
    told = json.loads(shown.out)
    assert any("two patients" in warning for warning in told["warnings"])
    assert [(scan["timepoint"], scan["engine"]) for scan in told["scans"]] == [("tp1", "none"), ("tp2", "none")]


def test_evaluate_prints_its_summary_as_json(tmp_path, monkeypatch, capfd):
    from dosimetry.evaluation import run
    from dosimetry.evaluation.comparison import Comparison
    from nufitdose.cli import main

    nan = float("nan")
    row = Comparison("TRE organs", "mm", "rigid", 3, 2.5, 0.5, 2.4, nan, nan, nan, "")
    monkeypatch.setattr(run, "run_evaluation", lambda *_, **__: run.Evaluation((), (row,), "rigid"))
    words = ["evaluate", "COHORT", "--engines", "rigid", "--out", str(tmp_path / "out"), "--json"]
    monkeypatch.setattr(sys, "argv", ["nufitdose", *words])
    with pytest.raises(SystemExit) as left:
        main()
    shown = capfd.readouterr()
    assert left.value.code == 0, shown.err
    told = json.loads(shown.out)
    assert told["ours"] == "rigid"
    assert (told["comparisons"][0]["mean"], told["comparisons"][0]["p"]) == (2.5, None)


def test_completion_of_a_shell_is_offered(monkeypatch):
    found = nufitdose("--help")
    assert "--install-completion" in found.stdout
    monkeypatch.setenv("_NUFITDOSE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "nufitdose reg")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert nufitdose().stdout.split() == ["register"]


def test_a_missing_image_is_named_with_its_time_point(tmp_path, capfd, monkeypatch):
    from nufitdose.cli import main

    folder = small_study_folder(tmp_path / "S")
    (folder / "tp2/activity.nii.gz").unlink()
    monkeypatch.setattr(sys, "argv", ["nufitdose", "dosimetry", str(folder), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert "'tp2/activity.nii.gz' of time point 'tp2' does not exist" in capfd.readouterr().err


def test_kernels_writes_the_kernel_of_the_library_and_balances_its_energy(tmp_path, monkeypatch, capfd):
    import numpy as np

    from dosimetry.dose import voxel_kernel
    from nufitdose.cli import main

    asked = ["nufitdose", "kernels", "177Lu", "--spacing", "4.8,4.8,5", "--density", "1.04", "--reach", "40", "--out"]
    for name in ("k.npz", "k.csv"):
        monkeypatch.setattr(sys, "argv", [*asked, str(tmp_path / name)])
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == 0
        said = capfd.readouterr().out
        assert said.startswith("Lu-177, ")
        part = float(said.split("included, ")[1].split(" %")[0])
        assert 80.0 < part < 99.0  # most of the photons' energy lies beyond 40 mm
    expected = voxel_kernel("Lu-177", (4.8, 4.8, 5.0), 1.04, reach_mm=40.0)
    with np.load(tmp_path / "k.npz") as held:
        np.testing.assert_array_equal(held["kernel"], expected)
        assert held["nuclide"] == "Lu-177"
    octant = np.loadtxt(tmp_path / "k.csv", delimiter=",", skiprows=2)
    i, j, k = (octant[:, :3].astype(int) + np.array(expected.shape) // 2).T
    np.testing.assert_allclose(octant[:, 3], expected[i, j, k], rtol=1e-6)
