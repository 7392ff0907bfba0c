"""Tables of a run beside metrics.csv: the long form, the spreadsheet, units in image headers."""

import csv
import sys
from pathlib import Path

import nibabel as nib
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.small_study import small_study

from dosimetry import run_patient
from dosimetry.config import load_settings
from dosimetry.output.workbook import decimals_of, write_workbook
from nufitdose.errors import InputError

QUICK = ["registration.engine=none", "dose.engine=local"]


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run") / "out"
    run_patient(small_study(), out, load_settings(None, [*QUICK, "output.tables=csv"]))
    return out


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_long_table_holds_every_known_number_of_metrics(results):
    wide = {row["structure"]: row for row in table(results / "metrics.csv")}
    long = table(results / "metrics_long.csv")
    assert {row["patient"] for row in long} == {"P7"}
    assert {row["nuclide"] for row in long} == {"Lu-177"}
    for row in long:
        assert row["value"] == wide[row["structure"]][row["quantity"]]
        assert row["u"] == wide[row["structure"]].get(f"u_{row['quantity']}", "")
    for name, columns in wide.items():
        words = {"structure", "role", "model", "fit_flags", "recovery_method", "light", "light_reason"}
        known = {column for column, value in columns.items() if value and not column.startswith("u_")} - words
        assert {row["quantity"] for row in long if row["structure"] == name} == known


def test_the_spreadsheet_rounds_by_the_uncertainty_and_sets_it_beside(results):
    openpyxl = pytest.importorskip("openpyxl", reason="openpyxl is not installed (extra 'xlsx')")
    sheet = openpyxl.load_workbook(write_workbook(results))["metrics"]
    names = [cell.value for cell in sheet[1]]
    mean, u = names.index("dose_mean_gy"), names.index("u_dose_mean_gy")
    assert u == mean + 1
    wide = {row["structure"]: row for row in table(results / "metrics.csv")}
    for row in sheet.iter_rows(min_row=2, values_only=True):
        full = wide[row[0]]
        if full["u_dose_mean_gy"]:
            assert row[u] == pytest.approx(float(f"{float(full['u_dose_mean_gy']):.1e}"))
            assert abs(row[mean] - float(full["dose_mean_gy"])) <= float(full["u_dose_mean_gy"]) / 20
    (results / "tables.xlsx").unlink()


@given(st.floats(1e-9, 1e9))
def test_two_digits_of_u_are_told(u):
    """Once rounded to that decimal, u has a first and a second digit: 10 to 99 units of it."""
    assert 10 <= round(round(u, decimals_of(u)) * 10 ** decimals_of(u)) <= 99


def test_without_openpyxl_the_run_stops_before_it_begins(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    monkeypatch.setattr("dosimetry.output.workbook.find_spec", lambda name: None)
    with pytest.raises(InputError, match="openpyxl"):
        run_patient(small_study(), tmp_path / "out", load_settings(None, [*QUICK, "output.tables=xlsx"]))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("dose", "Gy"),
        ("tia", "Bq.h/mL"),
        ("effective_half_life", "h"),
        ("fit_rmse", "Bq/mL"),
        ("dose_uncertainty", "Gy"),
    ],
)
def test_maps_say_their_unit(results, name, unit):
    header = nib.load(results / "maps" / f"{name}.nii.gz").header
    assert header["intent_name"].item().decode() == unit
    assert header["descrip"].item().decode() == f"nufitdose, values in {unit}"
