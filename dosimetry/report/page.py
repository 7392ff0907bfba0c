"""The page itself: everything the template needs, gathered from the files of a results folder and rendered."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from dosimetry.findings import Findings
from dosimetry.findings.file import PLACE, load_findings
from dosimetry.lights.values import tally
from dosimetry.report import plots
from dosimetry.report.budget import assumed_words, budget_bars, budget_table, front_rows
from dosimetry.report.checks import lights
from dosimetry.report.curve_panels import curve_panels
from dosimetry.report.figures import Picture, house_style, read_jpeg
from dosimetry.report.head import half_life_in_words, head_facts, program_of, worst_light
from dosimetry.report.histograms import histogram_panels, json_for_page
from dosimetry.report.isodoses import isodose_table
from dosimetry.report.methods_paragraph import left_out, methods_paragraph, references
from dosimetry.report.numbers import three
from dosimetry.report.palette import Looks, by_colour, looks_of
from dosimetry.report.pdf import css_string
from dosimetry.report.pictures import SAID
from dosimetry.report.radiobiology import radiobiology_notes, radiobiology_table
from dosimetry.report.red_marrow import marrow_notes, marrow_table
from dosimetry.report.registration_tables import agreement_tables, pair_lights, quality_table, transport_table
from dosimetry.report.tables import balance_table, comparison_table, dose_table, structure_table
from dosimetry.report.templates import find_template
from dosimetry.report.viewer import viewer_content
from nufitdose.errors import InputError
from nufitdose.files import write_whole
from nufitdose.run import read_record

REPORT = "report.html"
_STAGES = ("before", "rigid", "after")
_FIELD = ("displacement", "jacobian")
#: What of run.json the page says elsewhere.
_SAID_ELSEWHERE = frozenset({
    "command", "started", "finished", "versions", "config", "seed", "device", "inputs", "timings_s", "warnings",
    "files", "patient", "nuclide", "reference", "administered_mbq", "administered_at", "scanner", "recovery",
})  # fmt: skip


@dataclass(frozen=True)
class ScanPictures:
    """Pictures of one moving scan by stage of its registration, and of its field."""

    id: str
    activity: Mapping[str, Picture]
    ct: Mapping[str, Picture]
    field: Mapping[str, Picture]


def write_report(folder: Path) -> Path:
    """Write `folder`/report.html from the files of this results folder alone, and return its path.

    The page needs nothing beside it; its links lead to the other files. Raises `InputError` where files are missing or
    of another version.
    """
    record, findings = read_record(folder, "dosimetry"), load_findings(folder)
    try:
        with house_style():
            content = _content(folder, findings, record)
    except FileNotFoundError as error:
        raise InputError(
            f"{error.filename} is missing, the report needs it", where=folder, remedy="Run 'nufitdose dosimetry' again"
        ) from error
    return write_whole(folder / REPORT, find_template("dosimetry.report", "report.html.j2").render(content))


def _content(folder: Path, results: Findings, record: Mapping[str, Any]) -> dict[str, Any]:
    looks = looks_of(found.name for found in results.structures)
    said = json.loads((folder / PLACE / SAID).read_text(encoding="utf-8"))
    return {
        **_head(results, record, looks),
        **_registration(folder, results, looks),
        **_curves(results, looks),
        **_doses(folder, results, looks),
        **_record(results, record),
        "planes": said["planes"],
        "isodoses": [f"{level:g}" for level in said["isodoses_gy"]],
        "links": _links(folder),
        "viewer": json_for_page(viewer_content(folder, results, looks)),
        "scripts": {name: _asset(name) for name in ("niivue.umd.js", "viewer.js", "report.js")},
    }


def _head(results: Findings, record: Mapping[str, Any], looks: Looks) -> dict[str, Any]:
    front, checks = front_rows(results, looks), lights(results)
    return {
        "patient": results.study.patient,
        "patient_css": Markup(css_string(f"Dosimetry report, {results.study.patient}")),  # noqa: S704
        "facts": head_facts(results, record),
        "worst": worst_light(front, checks),
        "tally": tally([(row.role, row.light.state.colour) for row in front]),
        "front": front,
        "assumed": assumed_words(results),
        "flags": results.flag_lines,
        "lights": checks,
        "warnings": results.warnings,
        "looks": looks,
        "colours": by_colour(looks),
        "has_ct": results.study.has_ct,
        "reference": results.study.reference_id,
    }


def _registration(folder: Path, results: Findings, looks: Looks) -> dict[str, Any]:
    return {
        "engine": results.settings.registration.engine,
        "scans": [_scan(folder, frame.id) for frame in results.frames if frame.registration is not None],
        "quality": quality_table(results),
        "pairs": pair_lights(results),
        "transport": transport_table(results, looks),
        "agreement": agreement_tables(results, looks),
    }


def _curves(results: Findings, looks: Looks) -> dict[str, Any]:
    balance = results.balance
    return {
        "physical": half_life_in_words(results.study.nuclide),
        "has_errors": results.settings.kinetics.u_activity_percent is not None,
        "curves": curve_panels(results, looks),
        "balance_picture": plots.balance(results.times_h, balance, list(looks.values())),
        "balance": balance_table(results, balance),
        "balance_is_cut": bool(np.isnan(balance.parts_mbq).any()),
    }


def _doses(folder: Path, results: Findings, looks: Looks) -> dict[str, Any]:
    """What of the dose is shown; derived structures have looks beside those of the drawn ones."""
    all_looks = looks_of(found.name for found in results.with_histograms)
    return {
        "overlay": read_jpeg(folder / PLACE / "dose.jpg"),
        "structures": structure_table(results, all_looks),
        "doses": dose_table(results, all_looks),
        "small": [s.name for s in results.structures if np.isfinite(s.dose["dose_d35mm3_gy"])],
        "voxel_mm3": three(results.voxel_volume_ml * 1000.0),
        "histograms": histogram_panels(results, all_looks),
        "isodose_volumes": isodose_table(results, all_looks),
        "red_marrow": marrow_table(results),
        "marrow_notes": marrow_notes(results),
        "budget_picture": budget_bars(results),
        "budget": budget_table(results, looks),
        "effects": radiobiology_table(results, all_looks),
        "effect_notes": radiobiology_notes(results),
        "comparison": comparison_table(results, all_looks),
    }


def _record(results: Findings, record: Mapping[str, Any]) -> dict[str, Any]:
    notes = {key: value for key, value in record.items() if value and key not in _SAID_ELSEWHERE}
    return {
        "methods": methods_paragraph(results, program_of(record)),
        "left_out": left_out(results),
        "references": references(results),
        "settings": [*_flat(record["config"]), ("seed", str(record["seed"])), ("device", record["device"])],
        "versions": record["versions"],
        "inputs": {entry["path"]: entry["sha256"] for entry in record["inputs"]},
        "timings": {name: f"{seconds:.1f} s" for name, seconds in record["timings_s"].items()},
        "notes": list(_flat(notes)),
    }


def _scan(folder: Path, name: str) -> ScanPictures:
    def pictures(names: Mapping[str, str]) -> dict[str, Picture]:
        paths = {stage: folder / PLACE / f"{name}_{file}.jpg" for stage, file in names.items()}
        return {stage: read_jpeg(path) for stage, path in paths.items() if path.is_file()}

    activity, ct = (pictures({stage: f"{kind}_{stage}" for stage in _STAGES}) for kind in ("activity", "ct"))
    return ScanPictures(name, activity, ct, pictures({kind: kind for kind in _FIELD}))


def _links(folder: Path) -> list[str]:
    """The other files of the result that a reader may want, in order."""
    tables = sorted(path.name for path in folder.iterdir() if path.suffix in (".csv", ".txt", ".json", ".xlsx"))
    places = [path for place in ("maps", "registered", "dicom") for path in sorted((folder / place).glob("*"))]
    return [*tables, *(path.relative_to(folder).as_posix() for path in places if path.is_file())]


def _asset(name: str) -> Markup:
    """A script of this package, which is no template."""
    return Markup((files("dosimetry.report") / "assets" / name).read_text(encoding="utf-8"))  # noqa: S704


def _flat(content: Mapping[str, Any], above: str = "") -> Iterable[tuple[str, str]]:
    for key, value in content.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        elif isinstance(value, list | tuple):
            yield name, ", ".join(str(item) for item in value)
        else:
            yield name, str(value)
