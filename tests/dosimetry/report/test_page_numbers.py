"""Every number of the page is that of the csv and the map it comes from, and all come from the folder alone."""

import base64
import csv
import dataclasses
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from support.report_patient import everything, record, write_page
from support.results_folder import page_data

from dosimetry.config import ReportSettings
from dosimetry.findings.codec import encode
from dosimetry.findings.file import load_findings
from dosimetry.report import write_report
from dosimetry.report.curve_drawings import last_shown_h
from dosimetry.report.numbers import NOT_KNOWN, gray, percent, three, with_error, with_sign
from dosimetry.report.radiobiology import radiobiology_notes, radiobiology_table
from dosimetry.report.red_marrow import marrow_notes, marrow_table
from nufitdose.errors import InputError
from nufitdose.io.nifti import load_volume
from nufitdose.volume import Quantity


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    results = everything()
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
        return self.all_with_column(head)[0]

    def all_with_column(self, head: str) -> list[dict[str, dict[str, str]]]:
        return [table for table in self.tables if any(head in row for row in table.values())]


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
    assert plain.keys() == {"liver", "kidney_left", "tumour_1", "tumour_2", "healthy <liver>"}
    assert doses.keys() == plain.keys() | {"all_tumours"}
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
            assert name not in plain or plain[name][head] == gray(row[f"dose_{measure}_unregistered_gy"])
    for name, said in sizes.items():
        row = metrics[name]
        assert said["volume mL"] == three(row["volume_ml"])
        assert said["mass g"] == three(row["mass_g"])
        assert said["TIA MBq·h"] == with_error(row["tia_mbq_h"], row["u_tia_mbq_h"])
        assert said["TIAC h"] == with_error(row["tiac_h"], row["u_tiac_h"])
        if row["role"] not in ("derived", "tumour_burden"):
            assert said["Teff h"] == with_error(row["teff_h"], row["u_teff_h"])
            assert said["after last scan"].split()[0] == three(row["extrapolated_percent"])
            assert said["model"] == row["model"]
    for name, said in page.with_column("95 % within").items():
        row = metrics[name]
        assert said["mean dose Gy, ± total"] == gray(row["dose_mean_gy"], row["u_dose_mean_gy"])
        assert said["95 % within"] == f"{gray(row['dose_mean_low95_gy'])} – {gray(row['dose_mean_high95_gy'])}"
        assert said["light"] == row["light"]
        if np.isfinite(row["recovery"]):
            assert said["recovery"].startswith(with_error(row["recovery"], row["u_recovery"]))
        else:
            assert said["recovery"] == ""
    effects = page.with_column("BED mean Gy")
    assert effects.keys() == {name for name, row in metrics.items() if row["bed_mean_gy"] == row["bed_mean_gy"]}
    for name, said in effects.items():
        row = metrics[name]
        for quantity in ("bed", "eqd2"):
            wanted = gray(row[f"{quantity}_mean_gy"], row[f"u_{quantity}_mean_gy"])
            assert said[f"{quantity.upper()} mean Gy"] == wanted
        assert (said["α/β Gy"], said["Trep h"]) == (three(row["alpha_beta_gy"]), three(row["t_rep_h"]))
        assert said["G"] == three(row["protraction"])
        assert said["mean Gy"] == gray(row["dose_mean_gy"], row["u_dose_mean_gy"])
    assert metrics["healthy <liver>"]["u_bed_mean_gy"] > 0
    assert effects["all_tumours"]["α/β Gy"] == effects["tumour_2"]["α/β Gy"] != NOT_KNOWN
    assert effects["healthy <liver>"]["α/β Gy"] == NOT_KNOWN  # half of it answers as liver, half as tumour
    assert effects["liver"]["α/β Gy"] != NOT_KNOWN


def test_curves_models_and_residuals_are_those_of_their_files(out):
    text = (out / "report.html").read_text(encoding="utf-8")
    page, curves = Tables(text), json.loads((out / "curves.json").read_text())
    weighed, points = page.all_with_column("its TIA MBq·h"), page.all_with_column("curve MBq")
    assert list(curves) == ["liver", "kidney_left", "tumour_1", "tumour_2", "rest", "whole_body"]
    assert len(points) == len(curves)
    assert len(weighed) == sum(bool(curve["models"]) for curve in curves.values()) > 0
    for said, curve in zip(weighed, (curve for curve in curves.values() if curve["models"]), strict=True):
        assert said.keys() == curve["models"].keys()
        for name, model in curve["models"].items():
            assert next(iter(said[name].values())) == three(model["weight"], 2)
            assert said[name]["its TIA MBq·h"] == with_error(model["tia_mbq_h"], model["u_tia_mbq_h"])
            rates, terms = np.array(model["rates_per_h"]), np.array(model["amplitudes_mbq"])
            assert (terms / rates).sum() == pytest.approx(model["tia_mbq_h"])  # the curve drawn is that of its integral
        assert sum(model["weight"] for model in curve["models"].values()) == pytest.approx(1.0)
    with (out / "tac.csv").open() as file:
        measured = [{key: number(value) for key, value in row.items()} for row in csv.DictReader(file)]
    for row in measured:
        said = points[list(curves).index(row["structure"])][row["timepoint"]]
        assert said["h"] == three(row["time_h"])
        assert said["measured MBq"] == with_error(row["activity_mbq"], row["u_activity_mbq"])
        assert said["curve MBq"] == three(row["fitted_mbq"])
        shown, difference = said["difference"], 100 * (row["activity_mbq"] / row["fitted_mbq"] - 1)
        assert shown == f"{with_sign(difference)} %" or abs(difference) < 1e-3  # of which six digits tell nothing


def test_every_model_is_drawn_where_its_curve_lies(out):
    """On the linear axis: pixels of the structure's own line give the scale, the others lie where curves.json says."""
    text, findings = (out / "report.html").read_text(encoding="utf-8"), load_findings(out)
    curve = json.loads((out / "curves.json").read_text())["liver"]
    start = text.index('class="tac linear"')
    found = re.findall(
        r'<polyline points="([^"]*)" class="(model|own)"', text[start : text.index('class="tac log', start)]
    )
    places = [(kind, np.array([pair.split(",") for pair in line.split()], dtype=float)) for line, kind in found]
    own = next(line for kind, line in places if kind == "own")
    models = [line for kind, line in places if kind == "model"]
    others = [model for name, model in curve["models"].items() if name != curve["model"]]
    assert len(models) == len(others) > 2
    left, end = own[0, 0], own[-1, 0]
    times_h = (own[:, 0] - left) / (end - left) * last_shown_h(findings)
    scale = np.polynomial.Polynomial.fit(activity(curve, times_h), own[:, 1], 1)
    late = times_h > 4.0  # before, a tenth of a pixel across is much of an uptake
    for line, model in zip(models, others, strict=True):
        np.testing.assert_allclose(line[late, 1], scale(activity(model, times_h))[late], atol=0.6)


def activity(curve, times_h):
    return np.exp(-np.outer(times_h, curve["rates_per_h"])) @ np.array(curve["amplitudes_mbq"])


def test_isodoses_and_red_marrow_are_those_of_their_files(out):
    page = Tables((out / "report.html").read_text(encoding="utf-8"))
    volumes = page.with_column("1 Gy")
    with (out / "isodoses.csv").open() as file:
        found = [{key: number(value) for key, value in row.items()} for row in csv.DictReader(file)]
    assert (
        volumes.keys() == {row["structure"] for row in found} == {*rows(out / "metrics.csv")} - {"rest", "all_tumours"}
    )
    for row in found:
        level, dose = row["isodose"], gray(row["dose_gy"])
        said = volumes[row["structure"]][level if level.endswith("Gy") else f"{level} ({dose} Gy)"]
        assert said == f"{three(row['volume_ml'])} ({percent(row['volume_percent'])})"
    marrow = page.with_column("self-dose Gy")["blood samples"]
    (row,) = rows(out / "red_marrow.csv", "method").values()
    for part in ("self", "cross", "total"):
        head = "self-dose Gy" if part == "self" else f"{part} dose Gy"
        assert marrow[head] == gray(row[f"dose_{part}_gy"], row[f"u_dose_{part}_gy"]) != NOT_KNOWN
    assert marrow["TIA MBq·h/mL"] == with_error(row["tia_mbq_h_per_ml"], row["u_tia_mbq_h_per_ml"])
    assert marrow["TIA of all marrow MBq·h"] == with_error(row["tia_mbq_h"], row["u_tia_mbq_h"])
    assert marrow["Teff h"] == three(row["teff_h"])
    assert f"blood samples: {row['basis']}" in (out / "report.html").read_text(encoding="utf-8")


def test_what_is_not_known_of_derived_structures_and_red_marrow_is_a_dash_with_its_reason(out):
    found = load_findings(out)
    assert any("as the drawn vertebra gets them" in line for line in marrow_notes(found))
    unknown = ("dose_cross_gy", "u_dose_cross_gy", "dose_total_gy", "u_dose_total_gy")
    marrow = dataclasses.replace(found.red_marrow[0], **dict.fromkeys(unknown, float("nan")))
    bare = dataclasses.replace(found.derived[0], biological=None)
    less = dataclasses.replace(found, red_marrow=(marrow,), derived=(bare,))
    table = marrow_table(less)
    assert [table.rows[0].cells[table.heads.index(f"{part} dose Gy") - 1] for part in ("cross", "total")] == [
        NOT_KNOWN, NOT_KNOWN
    ]  # fmt: skip
    assert any("No cross dose" in line for line in marrow_notes(less))
    assert not any("as the drawn vertebra gets them" in line for line in marrow_notes(less))
    assert any(line.startswith("BED of healthy <liver>: each voxel") for line in radiobiology_notes(found))
    assert any(line.startswith("No BED of healthy <liver>") for line in radiobiology_notes(less))
    assert "healthy <liver>" not in {row.name for row in radiobiology_table(less, {}).rows}


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
            if row["structure"] not in budget:
                continue
            said, wanted = budget[row["structure"]], percent(float(row["relative_u_percent"]))
            if row["part"] == "total":
                assert said["mean dose"] == wanted
            else:
                assert said[row["part"]] == wanted.removesuffix(" %") + ("*" if row["source"] == "assumed" else "")


def test_the_registration_is_that_of_its_files(out):
    page = Tables((out / "report.html").read_text(encoding="utf-8"))
    quality, agreement = page.with_column("tp2"), page.with_column("tp2: centroid mm")
    lights, transport = page.with_column("why"), page.with_column("tp2: activity")
    for scan, row in rows(out / "registration.csv", "timepoint").items():
        for head, column in (("largest shift mm", "displacement_max_mm"), ("Jacobian from", "jacobian_min")):
            assert quality[head][scan] == three(row[column])
        for head, column in (("folded", "folding_percent"), ("activity change", "activity_change_percent")):
            assert quality[head][scan] == percent(row[column])
        assert quality["local corr."][scan].split(" → ")[-1] == three(row["lncc"])
        assert quality["uncertainty of the displacement mm"][scan] == three(row["u_registration_mm"])
        assert (quality["engine"][scan], quality["seconds"][scan]) == (row["engine"], three(row["seconds"], 2))
        assert [lights[scan][head] for head in ("state", "why")] == [row["light"], row["why"]]
    with (out / "registration_activity.csv").open() as file:
        moved = list(csv.DictReader(file))
    assert len(moved) == 2 * len(transport) > 0
    for row in moved:
        change, said = number(row["activity_change_percent"]), transport[row["structure"]]
        wanted = f"{with_sign(change)} %" if np.isfinite(change) else NOT_KNOWN
        assert said[f"{row['timepoint']}: activity"] == wanted
        assert said[f"{row['timepoint']}: ± mm"] == three(float(row["u_registration_mm"]), 2)
    with (out / "registration_structures.csv").open() as file:
        for row in csv.DictReader(file):
            if row["timepoint"] == "tp2":
                ends = (three(float(row[f"centroid_{when}_mm"])) for when in ("before", "after"))
                assert agreement[row["structure"]]["tp2: centroid mm"] == " → ".join(ends)


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
    second = text.index('<script type="application/json">', start) + len('<script type="application/json">')
    steps = json.loads(text[second : text.index("</script>", second)])
    assert steps["kind"] == "differential"
    dose_gy, percent_per_gy = np.array(steps["curves"]["liver"])[:, 1:-1]  # both ends of every step
    with (out / "dvh.csv").open() as file:
        held = [r["volume_ml_per_gy"] for r in csv.DictReader(file) if r["structure"] == "liver"][:-1]
    lost_ml = np.add.reduceat(np.array(held, dtype=float) * np.diff([d for d, _ in points]), np.arange(0, 199, 5))
    shares = 100.0 * lost_ml / rows(out / "metrics.csv")["liver"]["volume_ml"] / np.diff(dose_gy)[::2]
    np.testing.assert_allclose(percent_per_gy[::2], shares, rtol=2e-3, atol=1e-6)
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
    hottest = max(("tumour_1", "tumour_2"), key=lambda name: rows(out / "metrics.csv")[name]["dose_mean_gy"])
    assert data["start_mm"] == next(one["at_mm"] for one in data["structures"] if one["name"] == hottest)


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
