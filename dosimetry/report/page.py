"""The page itself: everything the template needs, gathered and rendered."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from dosimetry.kinetics import OrganFit
from dosimetry.report import pictures, plots
from dosimetry.report.balance import balance_of
from dosimetry.report.budget import assumed_words, budget_bars, budget_table, front_rows
from dosimetry.report.checks import lights
from dosimetry.report.figures import Picture, house_style
from dosimetry.report.methods_paragraph import left_out, methods_paragraph, references
from dosimetry.report.numbers import percent, three, with_error
from dosimetry.report.palette import Look, by_colour, look
from dosimetry.report.planes import ORIENTATIONS, WORLD_LETTERS, Box, box_of
from dosimetry.report.radiobiology import radiobiology_notes, radiobiology_table
from dosimetry.report.recovery_words import recovery_fact
from dosimetry.report.tables import (
    agreement_tables,
    balance_table,
    comparison_table,
    dose_table,
    pair_lights,
    quality_table,
    structure_table,
    transport_table,
)
from dosimetry.results import PatientResults, StructureResult
from nufitdose.nuclides import canonical_name, half_life_h
from nufitdose.run import RunRecord, versions

REPORT = "report.html"
_SAID_ABOVE = (
    "patient",
    "nuclide",
    "reference",
    "administered_mbq",
    "administered_at",
    "scanner",
    "recovery",
)  # notes of the record that the page says elsewhere


@dataclass(frozen=True)
class ScanPictures:
    """Fused pictures of one moving scan."""

    id: str
    activity: Picture
    ct: Picture | None


@dataclass(frozen=True)
class CurvePanel:
    """One structure's curve, its parameters and what is to be said of them."""

    name: str
    look: Look
    picture: Picture
    parameters: tuple[tuple[str, str], ...]
    remarks: tuple[str, ...]


def write_report(results: PatientResults, record: RunRecord, folder: Path) -> Path:
    """Write `folder`/report.html, one page that needs nothing beside it, and return its path."""
    with house_style():
        content = _content(results, record)
    environment = Environment(
        loader=PackageLoader("dosimetry.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    path = folder / REPORT
    path.write_text(environment.get_template("report.html.j2").render(content), encoding="utf-8")
    return path


def _content(results: PatientResults, record: RunRecord) -> dict[str, Any]:
    looks = {s.name: look(number) for number, s in enumerate(results.structures)}
    box = box_of(results)
    balance = balance_of(results)
    known = versions()
    overlay, isodoses = pictures.dose_overlay(results, box, looks)
    return {
        "patient": results.study.patient,
        "facts": _facts(results, record, known),
        "front": front_rows(results, looks),
        "assumed": assumed_words(results),
        "budget_picture": budget_bars(results),
        "budget": budget_table(results, looks),
        "flags": results.flag_lines,
        "lights": lights(results),
        "warnings": results.warnings,
        "looks": looks,
        "colours": by_colour(looks),
        "has_ct": results.study.reference.ct is not None,
        "reference": results.study.reference_id,
        "engine": results.settings.registration.engine,
        "planes": _planes(box.at_mm),
        "scans": _scans(results, box, looks),
        "quality": quality_table(results),
        "pairs": pair_lights(results),
        "transport": transport_table(results, looks),
        "agreement": agreement_tables(results, looks),
        "physical": _half_life(results.study.nuclide),
        "has_errors": results.settings.kinetics.u_activity_percent is not None,
        "curves": _curve_panels(results, looks),
        "balance_picture": plots.balance(results.times_h, balance, list(looks.values())),
        "balance": balance_table(results, balance),
        "balance_is_cut": bool(np.isnan(balance.parts_mbq).any()),
        "overlay": overlay,
        "isodoses": [f"{level:g}" for level in isodoses],
        "structures": structure_table(results, looks),
        "doses": dose_table(results, looks),
        "small": [s.name for s in results.structures if np.isfinite(s.dose["dose_d35mm3_gy"])],
        "voxel_mm3": three(results.maps.dose.grid.voxel_volume_ml * 1000.0),
        "histogram": plots.dose_volume(results, looks) if results.structures else None,
        "effects": radiobiology_table(results, looks),
        "effect_notes": radiobiology_notes(results),
        "comparison": comparison_table(results, looks),
        "methods": methods_paragraph(results, f"nufitdose {known.get('nufitdose', '')}".strip()),
        "left_out": left_out(results),
        "references": references(results),
        "settings": [*list(_flat(record.config)), ("seed", str(record.seed)), ("device", record.device)],
        "versions": known,
        "inputs": record.inputs,
        "timings": {name: f"{seconds:.1f} s" for name, seconds in record.timings_s.items()},
        "notes": list(_flat({k: value for k, value in record.notes.items() if value and k not in _SAID_ABOVE})),
    }


def _scans(results: PatientResults, box: Box, looks: dict[str, Look]) -> list[ScanPictures]:
    reference = results.study.reference
    scans = []
    for frame, timepoint in zip(results.frames, results.study.timepoints, strict=True):
        if frame.registration is not None:
            activity = pictures.fused_activity(reference, timepoint, frame.registration, box, looks)
            ct = pictures.fused_ct(reference, timepoint, frame.registration, box)
            scans.append(ScanPictures(frame.id, activity, ct))
    return scans


def _facts(results: PatientResults, record: RunRecord, known: Mapping[str, str]) -> list[tuple[str, str]]:
    study, given = results.study, results.study.administration
    when = _clock(given.time) if given.time else "time of day not given"
    program = f"nufitdose {known.get('nufitdose', '')}".strip()
    return [
        ("Patient", study.patient),
        ("Nuclide", f"{canonical_name(study.nuclide)}, half-life {_half_life(study.nuclide)} (ICRP Publication 107)"),
        ("Administered", f"{three(given.activity_mbq / 1e3, 4)} GBq, {when}"),
        ("Scans", "; ".join(_scan(results, frame.id, frame.time_h) for frame in results.frames)),
        (
            "Activity",
            f"Bq/mL at each acquisition, decay corrections of the files undone; {recovery_fact(results)}",
        ),
        ("Calculated", f"{datetime.fromisoformat(record.started):%Y-%m-%d %H:%M %Z}, {program}"),
    ]


def _half_life(nuclide: str) -> str:
    hours = half_life_h(nuclide)
    if hours >= 72:
        return f"{three(hours / 24.0, 4)} d ({three(hours, 4)} h)"
    return f"{three(hours, 4)} h" if hours >= 3 else f"{three(hours * 60.0, 4)} min"


def _scan(results: PatientResults, name: str, time_h: float) -> str:
    given = results.study.administration.time
    clock = f" ({_clock(given + timedelta(hours=time_h))})" if given else ""
    mark = ", reference" if name == results.study.reference_id and len(results.frames) > 1 else ""
    return f"{name} at {three(time_h)} h{clock}{mark}"


def _clock(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} {time:%z}".strip()


def _planes(at_mm: np.ndarray) -> str:
    """Where the three planes lie, in words of the patient."""
    words = []
    for plane in ORIENTATIONS:
        position = float(at_mm[plane.through])
        words.append(f"{plane.name} at {WORLD_LETTERS[plane.through][position >= 0]} {abs(position):.0f} mm")
    return ", ".join(words)


def _curve_panels(results: PatientResults, looks: dict[str, Look]) -> list[CurvePanel]:
    physical_h, end_h = half_life_h(results.study.nuclide), plots.last_shown_h(results)
    return [
        CurvePanel(
            s.name,
            looks[s.name],
            plots.time_activity(s, physical_h, end_h, looks[s.name]),
            _parameters(s),
            _remarks(results, s),
        )
        for s in results.structures
    ]


def _parameters(s: StructureResult) -> tuple[tuple[str, str], ...]:
    fit, curve = s.fit, s.curve
    known = np.isfinite(fit.u_tia_mbq_h) and fit.rates_per_h.size == 1 and np.isfinite(fit.covariance).all()
    u_amplitude = float(np.sqrt(fit.covariance[0, 0])) if known else float("nan")
    amplitude = "A(0) of the tail" if fit.rising_share > 0 or fit.rates_per_h.size > 1 else "A(0)"
    weight = f", Akaike weight {three(curve.akaike_weight, 2)}" if np.isfinite(curve.akaike_weight) else ""
    integral = "TIA, mean of models" if curve.averaged else "TIA"
    if curve.average is not None:
        weight = f" leads with probability {three(curve.average.models[curve.average.best].weight, 2)}, bayes"
        integral = "TIA, median of models"
    return (
        ("model", f"{curve.model}{weight}"),
        (amplitude, f"{with_error(fit.amplitude_mbq, u_amplitude)} MBq"),
        ("T_eff", f"{with_error(curve.teff_h, curve.u_teff_h)} h"),
        (integral, f"{with_error(curve.tia_mbq_h, curve.u_tia_mbq_h)} MBq·h"),
        *_interval_rows(fit),
        ("before first scan", percent(100.0 * fit.before_first_fraction)),
        ("after last scan", percent(100.0 * fit.extrapolated_fraction)),
        ("voxel sum / curve", f"{three(s.sum_to_curve)} before scaling"),
        ("fit", re.split(r"[:,(]", fit.status.meaning)[0].strip()),
    )


def _interval_rows(fit: OrganFit) -> tuple[tuple[str, str], ...]:
    """95 % intervals, where they were asked for."""
    found = fit.intervals
    if found is None:
        return ()
    share = f"{100.0 * found.level:.0f} %"
    pairs = (("TIA", found.tia_mbq_h, "MBq·h"), ("T_eff", found.teff_h, "h"))
    return tuple((f"{what}, {share}", f"{three(low)} to {three(high)} {unit}") for what, (low, high), unit in pairs)


def _remarks(results: PatientResults, s: StructureResult) -> tuple[str, ...]:
    remarks = [flag for flag in s.flags if flag != s.fit.status.meaning]
    if s.fit.dof <= 0 and not np.isfinite(s.curve.u_tia_mbq_h) and not any("degree" in remark for remark in remarks):
        remarks.insert(0, "no degree of freedom: no fit error")
    cut = [f.id for f, activity in zip(results.frames, s.curve.activity_mbq, strict=True) if np.isnan(activity)]
    if cut:
        remarks.append(f"left out, cut by the field of view: {', '.join(cut)}")
    return tuple(remarks)


def _flat(content: Mapping[str, Any], above: str = "") -> Iterable[tuple[str, str]]:
    for key, value in content.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        elif isinstance(value, list | tuple):
            yield name, ", ".join(str(item) for item in value)
        else:
            yield name, str(value)
