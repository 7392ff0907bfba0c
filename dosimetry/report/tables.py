"""The tables of the report: rows of text, ready to be laid out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dosimetry.burden import TumourBurden
from dosimetry.findings import Findings
from dosimetry.findings.balance import Balance
from dosimetry.recovery import Recovery
from dosimetry.report.numbers import change_percent, gray, percent, three, with_error
from dosimetry.report.palette import Look, Looks
from dosimetry.results import DerivedResult, StructureResult

_WithDose = StructureResult | TumourBurden | DerivedResult

_LONG_NAME = 24  # characters


@dataclass(frozen=True)
class Row:
    """A name, the look of its structure if it is one, and the cells after it."""

    name: str
    cells: Sequence[str]
    look: Look | None = None
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Column heads (the first is that of the names) and rows."""

    heads: Sequence[str]
    rows: Sequence[Row]

    @property
    def has_long_names(self) -> bool:
        """Whether a name needs more room than names usually do."""
        return any(len(row.name) > _LONG_NAME for row in self.rows)


def structure_table(results: Findings, looks: Looks) -> Table:
    """Size and kinetics of every structure, the remainder and the whole body; then of what has no curve of its own."""
    heads = (
        "structure",
        "role",
        "volume mL",
        "mass g",
        "TIA MBq·h",
        "TIAC h",
        "T_eff h",
        "model",
        "after last scan",
    )
    rows = [
        Row(
            s.name,
            (
                s.role,
                three(s.volume_ml),
                three(s.mass_g),
                with_error(s.tia_mbq_h, s.relative_u_tia * s.tia_mbq_h),
                with_error(s.tiac_h, s.relative_u_tia * s.tiac_h),
                with_error(s.curve.teff_h, s.curve.u_teff_h),
                s.curve.model,
                _share(s.fit.extrapolated_fraction, s.fit.u_extrapolated_fraction),
            ),
            looks.get(s.name),
        )
        for s in results.rows
    ]
    if results.burden is not None:
        rows.append(_without_curve("burden", results.burden, results.burden.relative_u_tia, looks))
    rows += [_without_curve("derived", found, float("nan"), looks) for found in results.derived]
    return Table(heads, rows)


def _without_curve(role: str, s: TumourBurden | DerivedResult, relative_u: float, looks: Looks) -> Row:
    sizes = three(s.volume_ml), three(s.mass_g)
    integrals = (with_error(value, relative_u * value) for value in (s.tia_mbq_h, s.tiac_h))
    return Row(s.name, (role, *sizes, *integrals, "", "", ""), looks.get(s.name))


def _share(fraction: float, u: float) -> str:
    """A share with its standard uncertainty, in percent."""
    return f"{with_error(100.0 * fraction, 100.0 * u)} %" if np.isfinite(u) and u > 0 else percent(100.0 * fraction)


def recovery_cell(name: str, recovery: Recovery) -> str:
    """Measured activity over that without blur, and whether it was corrected for."""
    value = recovery.value(name)
    if not np.isfinite(value):
        return ""
    method = recovery.method_of(name)
    said = "corrected" if method != "none" else "assumed, not corrected" if recovery.assumed else "not corrected"
    return f"{with_error(value, recovery.relative_u(name) * value)} {said}"


def dose_table(results: Findings, looks: Looks) -> Table:
    """Dose metrics of every structure; D35mm³ only where a structure is small enough to have one."""
    small = any(np.isfinite(s.dose["dose_d35mm3_gy"]) for s in results.structures)
    thresholds, volumes = results.settings.metrics.volume_at_gy, results.settings.metrics.dose_at_ml
    uniform = any(np.isfinite(s.dose["geud_gy"]) for s in results.structures)
    spheres = any(np.isfinite(s.sphere_gy) for s in results.structures)
    columns = ["dose_d2_gy", "dose_d50_gy", "dose_d98_gy", "dose_max_gy", *(["dose_d35mm3_gy"] if small else [])]
    heads = [
        "structure", "mean Gy", *(["as a sphere Gy"] if spheres else []),
        "Gy/GBq", "D2% Gy", "D50% Gy", "D98% Gy", "max Gy",
        *(["D35mm³ Gy"] if small else []), "HI", *(["gEUD Gy"] if uniform else []),
        *(f"V{gy:g}Gy %" for gy in thresholds), *(f"D{ml:g}cc Gy" for ml in volumes),
    ]  # fmt: skip
    rows = []
    for s in results.with_doses:
        mean = s.dose["dose_mean_gy"]
        sphere = [gray(s.sphere_gy if isinstance(s, StructureResult) else float("nan"))] if spheres else []
        cells = [gray(mean, s.u_dose_mean_gy), *sphere, gray(per_gbq(s, results))]
        cells += [gray(s.dose[column]) for column in columns]
        cells += [three(s.dose["homogeneity_index"]), *([gray(s.dose["geud_gy"])] if uniform else [])]
        cells += [percent(s.dose[f"v_{gy:g}gy_percent"]).removesuffix(" %") for gy in thresholds]
        cells += [gray(s.dose[f"d_{ml:g}cc_gy"]) for ml in volumes]
        rows.append(Row(s.name, cells, looks.get(s.name)))
    return Table(heads, rows)


def per_gbq(result: _WithDose, results: Findings) -> float:
    """Mean dose per administered activity, Gy/GBq."""
    return result.dose["dose_mean_gy"] / results.study.administration.activity_mbq * 1e3


def comparison_table(results: Findings, looks: Looks) -> Table | None:
    """Mean, D2% and D98% without and with registration; None where nothing was registered."""
    if not results.compared or not results.structures:
        return None
    heads = ["structure"]
    for name in ("mean", "D2%", "D98%"):
        heads += [f"{name} without", "with", "difference"]
    rows = []
    for s in results.with_histograms:
        cells = []
        for key in ("dose_mean_gy", "dose_d2_gy", "dose_d98_gy"):
            plain, registered = s.unregistered[key], s.dose[key]
            change = 100.0 * (registered / plain - 1.0) if plain > 0 else float("nan")
            cells += [
                gray(plain),
                gray(registered),
                change_percent(change),
            ]
        rows.append(Row(s.name, cells, looks.get(s.name)))
    return Table(heads, rows)


def balance_table(results: Findings, balance: Balance) -> Table:
    """Activity at each scan, MBq, and its shares."""
    heads = ["scan", "h", "admin. × decay", "field of view", "share"]
    if results.structures:
        heads += ["structures", "share of view"]
    rows = []
    for n, frame in enumerate(results.frames):
        whole, expected = float(balance.whole_mbq[n]), float(balance.administered_mbq[n])
        cells = [three(frame.time_h), three(expected), three(whole), percent(100.0 * whole / expected)]
        if results.structures:
            held = float(balance.structures_mbq[n])
            cut = "*" if np.isnan(balance.parts_mbq[:, n]).any() else ""
            cells += [three(held) + cut, percent(100.0 * held / whole if whole > 0 else float("nan"))]
        rows.append(Row(frame.id, cells))
    return Table(heads, rows)
