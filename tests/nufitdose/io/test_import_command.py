"""The import as it is typed: exit codes, numbers of series, facts per series, what a terminal shows, what is kept."""

import json
import sys
from datetime import timedelta

import pytest
import yaml
from support.dicom_files import ACQUIRED, ct, every, nm, pet, rtstruct, stored_values, write

from nufitdose import cli
from nufitdose.io.study_folder import load_study

LATER = ACQUIRED + timedelta(days=1)


@pytest.fixture
def typed(monkeypatch, capsys):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["nufitdose", *map(str, words)])
        try:
            cli.main()
            code = 0
        except SystemExit as stopped:
            code = stopped.code or 0
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


@pytest.fixture
def folder(tmp_path):
    scan, anatomy = pet("early"), ct("low dose")
    write(tmp_path / "in/1", scan)
    write(tmp_path / "in/2", anatomy)
    write(tmp_path / "in/3", pet("late", values=stored_values(5), acquired=LATER))
    write(tmp_path / "in/4", [rtstruct(scan, "tumour 1")])
    return tmp_path / "in"


def test_a_dry_run_that_is_refused_exits_with_2_and_ends_with_what_to_type(typed, folder):
    write(folder / "5", every(pet("bad", acquired=LATER + timedelta(days=1)), Units="CPS"))
    code, out, _ = typed("import", folder, "--dry-run")
    assert code == 2
    assert "refused: " in out
    last = out.rstrip().splitlines()[-1]
    assert last.startswith(f"next: nufitdose import {folder} --dry-run --calibration")
    code, out, _ = typed("import", folder, "--dry-run", "--series", "1", "--series", "3")
    assert code == 0
    assert out.rstrip().splitlines()[-1] == f"next: nufitdose import {folder} --out STUDY --series 1 --series 3"


def test_a_dry_run_tells_the_same_as_json(typed, folder):
    code, out, _ = typed("import", folder, "--dry-run", "--json")
    told = json.loads(out)
    assert (code, told["refusal"]) == (0, None)
    assert [row["description"] for row in told["series"]][:2] == ["early", "low dose"]
    assert told["series"][0]["hours"] == pytest.approx(4.0)
    assert len(told["treatment"]["timepoints"]) == 2
    _, text, _ = typed("import", folder, "--dry-run")
    assert text.count("warning:") == len(told["warnings"])
    write(folder / "5", every(pet("bad", acquired=LATER + timedelta(days=1)), Units="CPS"))
    code, out, _ = typed("import", folder, "--dry-run", "--json")
    assert code == 2
    assert "--calibration" in json.loads(out)["refusal"]["remedy"]


def test_the_table_fits_a_terminal_and_says_where_facts_come_from(typed, folder):
    _, out, _ = typed("import", folder, "--dry-run", "--administered-at", "2024-01-01T09:00:00")
    table = out[: out.index("warning: ")].splitlines()
    assert max(len(line) for line in table) <= 80
    text = " ".join(out.split())
    for words in (
        "# type description files hours MBq use",
        "1 PT early 6 4.000",
        "nuclide: Lu-177 (file)",
        "administered: 7400 MBq (file), 2024-01-01T09:00:00 (--administered-at)",
        "acquired: AcquisitionTime",
        "Bq/mL: in the file",
        "decay: ADMIN: administration at 2024-01-01T09:00:00",
        "tumour 1: tumour,",
    ):
        assert words in text


def test_series_are_named_by_number(typed, folder, tmp_path):
    code, _, _ = typed("import", folder, "--out", tmp_path / "out", "--series", "3")
    assert code == 0
    assert [tp.time_h for tp in load_study(tmp_path / "out").timepoints] == [pytest.approx(28.0)]
    code, out, _ = typed("import", folder, "--dry-run", "--series", "9")
    assert code == 2
    assert "series 9 is not in the folder" in " ".join(out.split())


def test_facts_of_single_series(typed, tmp_path):
    write(tmp_path / "in/1", [nm("a")])
    write(tmp_path / "in/2", [nm("b", acquired=LATER)])
    code, out, _ = typed(
        "import", tmp_path / "in", "--dry-run", "--for", "1", "calibration=3",
        "--for", "2", "calibration=4", "hours=30",
        "--administered-at", "2024-01-01T09:00:00",
    )  # fmt: skip
    assert code == 0
    assert "3 Bq/mL per count (--for 1)" in out
    assert "4 Bq/mL per count (--for 2)" in out
    assert "30.000" in out
    assert "--for 2 hours=30" in out.splitlines()[-1]


@pytest.mark.parametrize("words", [["--for", "1"], ["--for", "1", "color=red"], ["--for", "1", "hours=-3"], ["--for"]])
def test_facts_that_are_none_are_refused(typed, folder, words):
    code, _, err = typed("import", folder, "--dry-run", *words)
    assert code == 2
    assert "for" in err or "wanted" in err


def test_facts_are_written_ready_to_edit_and_read_again(typed, tmp_path):
    write(tmp_path / "in/1", [nm("a")])
    write(tmp_path / "in/2", [nm("b", acquired=LATER)])
    file = tmp_path / "facts.yaml"
    code, _, _ = typed("import", tmp_path / "in", "--dry-run", "--write-facts", file, "--for", "1", "calibration=3")
    assert code == 2  # series 2 holds counts
    assert yaml.safe_load(file.read_text())["series"]["1"] == {"calibration": 3.0}
    text = file.read_text()
    at = text.index("# calibration:", text.index("'2'"))
    file.write_text(text[:at] + "calibration: 4" + text[text.index("\n", at) :])
    code, out, _ = typed("import", tmp_path / "in", "--dry-run", "--facts", file)
    assert code == 0
    assert "4 Bq/mL per count (--for 2)" in out
    code, _, err = typed("import", tmp_path / "in", "--dry-run", "--write-facts", file)
    assert code == 2
    assert "already a file" in err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[1, 2]", "key: value"),
        ("color: red", "color"),
        ("series: {1: red}", "facts"),
        ("series: {1: {hours: x}}", "hours"),
    ],
)
def test_a_broken_facts_file_is_named(typed, folder, tmp_path, content, words):
    (tmp_path / "facts.yaml").write_text(content)
    code, _, err = typed("import", folder, "--dry-run", "--facts", tmp_path / "facts.yaml")
    assert code == 2
    assert words in err


def test_a_study_with_edits_is_replaced_with_force_only(typed, folder, tmp_path):
    out = tmp_path / "out"
    assert typed("import", folder, "--out", out)[0] == 0
    (out / "notes.txt").write_text("mine")
    (out / "study.yaml").write_text((out / "study.yaml").read_text().replace("P1", "P2"))
    code, _, err = typed("import", folder, "--out", out)
    assert code == 2
    assert "--force" in err
    assert load_study(out).patient == "P2"
    assert typed("import", folder, "--out", out, "--force")[0] == 0
    assert load_study(out).patient == "P1"
    assert (out / "notes.txt").read_text() == "mine"


def test_a_patient_run_does_not_take_a_study_for_its_result(typed, folder, tmp_path):
    assert typed("import", folder, "--out", tmp_path / "study")[0] == 0
    assert typed("import", folder, "--out", tmp_path / "other")[0] == 0
    before = sorted(p.name for p in (tmp_path / "other").rglob("*"))
    code, _, err = typed("dosimetry", tmp_path / "study", "--out", tmp_path / "other")
    assert code == 2
    assert "a result of 'import'" in err
    assert sorted(p.name for p in (tmp_path / "other").rglob("*")) == before


def test_a_scanner_file_comes_into_the_study_with_its_factor_applied(typed, folder, tmp_path):
    (tmp_path / "scanner.yaml").write_text("name: A\nfwhm_mm: 6.5\ncalibration: {factor: 1.1, u_percent: 3}\n")
    assert typed("import", folder, "--out", tmp_path / "plain")[0] == 0
    assert typed("import", folder, "--out", tmp_path / "out", "--scanner", tmp_path / "scanner.yaml")[0] == 0
    plain, found = load_study(tmp_path / "plain"), load_study(tmp_path / "out")
    assert found.scanner is not None
    assert found.scanner.fwhm_mm == (6.5, 6.5, 6.5)
    assert found.scanner.factor == 1.0
    assert found.reference.activity.total_mbq() == pytest.approx(1.1 * plain.reference.activity.total_mbq(), rel=1e-5)
    code, _, err = typed("import", folder, "--out", tmp_path / "other", "--scanner", tmp_path / "none.yaml")
    assert code == 2
    assert "none.yaml" in err
