"""The tables of the report: rows of text, ready to be laid out."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from dosimetry.burden import TumourBurden
from dosimetry.findings import Findings
from dosimetry.findings.balance import Balance
from dosimetry.recovery import Recovery
from dosimetry.report.numbers import gray, percent, three, with_error, with_sign
from dosimetry.report.palette import Look, Looks
from dosimetry.results import DerivedResult, StructureResult

_WithDose = StructureResult | TumourBurden | DerivedResult

_QUALITY = {
    "ssim": "SSIM",
    "wssim": "wSSIM",
    "lncc": "local corr.",
    "mi": "mutual inf.",
    "nmi": "normalised",
    "tre_mm": "TRE mm",
    "jacobian_min": "Jacobian from",
    "jacobian_max": "to",
    "folding_percent": "folded",
    "ndv_percent": "NDV",
    "sd_log_jacobian": "SD log J",
    "inverse_consistency_mm": "there and back mm",
    "overlap_percent": "body in view",
    "displacement_max_mm": "largest shift mm",
    "activity_change_percent": "activity change",
}
_SCANS_ABREAST = 2
_LONG_NAME = 24  # characters
_SIMILARITY = ("ssim", "wssim", "lncc", "mi", "nmi", "tre_mm")


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
                f"{with_sign(change)} %" if np.isfinite(change) else three(change),
            ]
        rows.append(Row(s.name, cells, looks.get(s.name)))
    return Table(heads, rows)


def quality_table(results: Findings) -> Table | None:
    """The numbers of registration.csv, similarity before, by the rigid motion alone, and after; scans as columns."""
    moved = [(frame, frame.registration) for frame in results.frames if frame.registration is not None]
    if not moved:
        return None
    stages = [
        [asdict(q) for q in (found.unregistered, *((found.rigid.quality,) if found.rigid else ()), found.quality)]
        for _, found in moved
    ]
    rows = [Row("engine", [found.engine for _, found in moved])]
    rows.append(Row("seconds", [three(found.seconds, 2) for _, found in moved]))
    for key, name in _QUALITY.items():
        if not any(np.isfinite(some[-1][key]) for some in stages):
            continue
        if key in _SIMILARITY:
            cells = [_arrow(*(three(stage[key], 3) for stage in some)) for some in stages]
        else:
            cells = [percent(some[-1][key]) if key.endswith("_percent") else three(some[-1][key]) for some in stages]
        rows.append(Row(name, cells))
    u_mm = [frame.u_registration_mm for frame, _ in moved]
    if np.isfinite(u_mm).any():
        rows.append(Row("uncertainty of the displacement mm", [three(value) for value in u_mm]))
    return Table(("measure", *(frame.id for frame, _ in moved)), rows)


def pair_lights(results: Findings) -> list[tuple[str, str, str]]:
    """Scan, light and the sentence why, of every registered pair."""
    return [(f.id, f.light.state.value, f.light.why) for f in results.frames if f.light is not None]


def transport_table(results: Findings, looks: Looks) -> Table | None:
    """By structure and scan: how far the warp changed the activity, and the uncertainty of the displacement there."""
    scans = [(frame.id, {row.structure: row for row in frame.transport}) for frame in results.frames if frame.transport]
    if not scans:
        return None
    heads = ["structure", *(head for name, _ in scans for head in (f"{name}: activity", f"{name}: ± mm"))]
    rows = []
    for structure in dict.fromkeys(name for _, found in scans for name in found):
        cells = []
        for _, found in scans:
            row = found.get(structure)
            cells += (
                ["", ""] if row is None else [_change(row.activity_change_percent), three(row.u_registration_mm, 2)]
            )
        rows.append(Row(structure, cells, looks.get(structure)))
    return Table(heads, rows)


def _change(value: float) -> str:
    return f"{with_sign(value)} %" if np.isfinite(value) else three(value)


def agreement_tables(results: Findings, looks: Looks) -> list[Table]:
    """Centroid distance, Dice and HD95 of structures drawn on both scans, before and after; a few scans in a table."""
    scans = [(frame.id, {row.structure: row for row in frame.agreement}) for frame in results.frames if frame.agreement]
    tables = []
    for first in range(0, len(scans), _SCANS_ABREAST):
        some = scans[first : first + _SCANS_ABREAST]
        heads = ["structure"]
        for name, _ in some:
            heads += [f"{name}: centroid mm", "Dice", "HD95 mm"]
        rows = []
        for structure in dict.fromkeys(name for _, found in some for name in found):
            cells = []
            for _, found in some:
                row = found.get(structure)
                if row is None:
                    cells += [""] * 3
                    continue
                cells.append(_arrow(three(row.centroid_before_mm), three(row.centroid_after_mm)))
                cells.append(_arrow(f"{row.dice_before:.2f}", f"{row.dice_after:.2f}"))
                cells.append(_arrow(three(row.hd95_before_mm, 2), three(row.hd95_after_mm, 2)))
            rows.append(Row(structure, cells, looks.get(structure)))
        tables.append(Table(heads, rows))
    return tables


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


def _arrow(*stages: str) -> str:
    return stages[0] if len(set(stages)) == 1 else " → ".join(stages)
