"""Every number of the page is that of the csv and the map it comes from, and all come from the folder alone."""

import base64
import csv
import dataclasses
import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from support.report_patient import patient, record, write_page
from support.results_folder import page_data

from dosimetry.config import ReportSettings
from dosimetry.findings.codec import encode
from dosimetry.findings.file import load_findings
from dosimetry.report import write_report
from dosimetry.report.numbers import gray, percent, three, with_error
from nufitdose.errors import InputError
from nufitdose.io.nifti import load_volume
from nufitdose.volume import Quantity


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    results = patient()
    settings = results.settings.model_copy(update={"report": ReportSettings(operator="A. Reader")})
    return write_page(dataclasses.replace(results, settings=settings), record(), tmp_path_factory.mktemp("run")).parent


class Tables(HTMLParser):
    """The tables of a page: column heads, and cells by the name of their row."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[dict[str, dict[str, str]]] = []
        self.heads: list[str] = []
        self.row: list[str] = []
        self.cell: str | None = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self.tables.append({})
            self.heads = []
        elif tag in ("th", "td"):
            self.cell = ""

    def handle_data(self, data):
        if self.cell is not None:
            self.cell += data

    def handle_endtag(self, tag):
        if tag in ("th", "td"):
            self.row.append(" ".join((self.cell or "").split()))
            self.cell = None
        elif tag == "tr":
            if self.heads:
                self.tables[-1][self.row[0]] = dict(zip(self.heads[1:], self.row[1:], strict=False))
            else:
                self.heads = self.row
            self.row = []

    def with_column(self, head: str) -> dict[str, dict[str, str]]:
        return next(table for table in self.tables if any(head in row for row in table.values()))


def rows(path: Path, key: str = "structure") -> dict[str, dict[str, float | str]]:
    with path.open() as file:
        return {row[key]: {name: number(text) for name, text in row.items()} for row in csv.DictReader(file)}


def number(text: str) -> float | str:
    try:
        return float(text) if text else float("nan")
    except ValueError:
        return text


def test_the_tables_say_what_the_csv_files_say(out):
    page, metrics = Tables((out / "report.html").read_text(encoding="utf-8")), rows(out / "metrics.csv")
    doses, sizes = page.with_column("D98% Gy"), page.with_column("TIAC h")
    plain = page.with_column("mean without")
    assert doses.keys() == plain.keys() == {"liver", "kidney_left", "tumour_1"}
    for name in doses:
        row, said = metrics[name], doses[name]
        assert said["mean Gy"] == gray(row["dose_mean_gy"], row["u_dose_mean_gy"])
        assert said["Gy/GBq"] == gray(row["dose_mean_gy_per_gbq"])
        for head, column in (("D2% Gy", "dose_d2_gy"), ("D50% Gy", "dose_d50_gy"), ("D98% Gy", "dose_d98_gy")):
            assert said[head] == gray(row[column])
        assert said["max Gy"] == gray(row["dose_max_gy"])
        assert said["HI"] == three(row["homogeneity_index"])
        assert said["V2Gy %"] == percent(row["v_2gy_percent"]).removesuffix(" %")
        for measure in ("mean", "d2", "d98"):
            head = f"{measure.upper() + '%' if measure != 'mean' else measure} without"
            assert plain[name][head] == gray(row[f"dose_{measure}_unregistered_gy"])
    for name, said in sizes.items():
        row = metrics[name]
        assert said["volume mL"] == three(row["volume_ml"])
        assert said["mass g"] == three(row["mass_g"])
        assert said["TIA MBq·h"] == with_error(row["tia_mbq_h"], row["u_tia_mbq_h"])
        assert said["TIAC h"] == with_error(row["tiac_h"], row["u_tiac_h"])


def test_the_balance_and_the_budget_are_those_of_their_files(out):
    page = Tables((out / "report.html").read_text(encoding="utf-8"))
    balance, budget = page.with_column("admin. × decay"), page.with_column("mean dose")
    with (out / "tac.csv").open() as file:
        points = [row for row in csv.DictReader(file) if row["structure"] not in ("rest", "whole_body")]
    for scan, said in balance.items():
        held = sum(float(row["activity_mbq"]) for row in points if row["timepoint"] == scan)
        assert said["structures"] == three(held)
    activity = load_volume(out / "registered/tp1_activity.nii.gz", Quantity.ACTIVITY)
    assert balance["tp1"]["field of view"] == three(activity.total_mbq())
    with (out / "uncertainty.csv").open() as file:
        for row in csv.DictReader(file):
            if row["part"] == "total" and row["structure"] in budget:
                assert budget[row["structure"]]["mean dose"] == percent(float(row["relative_u_percent"]))


def test_mean_and_extremes_are_those_of_the_map(out):
    page = Tables((out / "report.html").read_text(encoding="utf-8")).with_column("D98% Gy")
    dose = load_volume(out / "maps/dose.nii.gz", Quantity.DOSE)
    for found in load_findings(out).structures:
        values = found.region.values(dose)
        mass = found.histogram.mass_g  # of the doses in falling order
        order = np.argsort(-values, kind="stable")
        assert page[found.name]["max Gy"] == gray(float(values.max()))
        assert found.dose["dose_mean_gy"] == pytest.approx(float(values[order] @ mass / mass.sum()), rel=1e-6)


def test_histograms_are_those_of_the_csv_and_the_viewer_shows_the_maps(out, tmp_path):
    text = (out / "report.html").read_text(encoding="utf-8")
    start = text.index('<script type="application/json">') + len('<script type="application/json">')
    curves = json.loads(text[start : text.index("</script>", start)])["curves"]
    with (out / "dvh.csv").open() as file:
        points = [
            (float(r["dose_gy"]), float(r["volume_percent"])) for r in csv.DictReader(file) if r["structure"] == "liver"
        ]
    np.testing.assert_allclose(np.transpose(curves["liver"]), points, rtol=1e-5, atol=1e-6)
    data = page_data(text, "viewer-data")
    assert [image["name"] for image in data["images"]] == [
        "CT", "activity", "dose", "isodoses", "structures"
    ]  # fmt: skip
    dose = load_volume(out / "maps/dose.nii.gz", Quantity.DOSE)
    shown = image_of(data["images"][2], tmp_path / "shown.nii.gz", Quantity.DOSE)
    np.testing.assert_allclose(shown.grid.affine, dose.grid.affine)
    np.testing.assert_allclose(shown.data, dose.data, atol=dose.data.max() / 32767)
    at = np.round(dose.grid.index(np.array(data["structures"][0]["at_mm"]))).astype(int)
    labels = image_of(data["images"][-1], tmp_path / "labels.nii.gz", Quantity.LABELS)
    assert labels.data[tuple(at)] == 1
    assert data["start_mm"] == data["structures"][2]["at_mm"]  # of the one tumour


def image_of(image, path, quantity):
    path.write_bytes(base64.b64decode(image["nifti"]))
    return load_volume(path, quantity)


def test_the_page_is_built_again_from_the_folder_alone(out, tmp_path):
    """Moved elsewhere, to the same bytes."""
    again = tmp_path / "moved"
    shutil.copytree(out, again)
    first = (again / "report.html").read_bytes()
    (again / "report.html").unlink()
    assert write_report(again).read_bytes() == first
    assert "A. Reader" in first.decode()


def test_a_folder_without_what_the_page_needs_is_refused(out, tmp_path):
    with pytest.raises(InputError, match="no result of 'nufitdose dosimetry'"):
        write_report(tmp_path)
    broken = tmp_path / "broken"
    shutil.copytree(out, broken)
    (broken / "report/findings.json").write_text('{"form": 1, "findings": {"~value": "os:system", "is": {}}}')
    with pytest.raises(InputError, match="not of this program"):
        write_report(broken)
    (broken / "report/findings.json").unlink()
    with pytest.raises(InputError, match=r"no report/findings\.json"):
        write_report(broken)


def test_findings_come_back_to_the_last_bit(out):
    found = load_findings(out)
    again: dict[str, np.ndarray] = {}
    assert json.dumps(encode(found, again)) == json.dumps(
        json.loads((out / "report/findings.json").read_text())["findings"]
    )
    with np.load(out / "report/findings.npz") as stored:
        assert stored.files == list(again)
        assert all(np.array_equal(stored[name], again[name], equal_nan=True) for name in again)
