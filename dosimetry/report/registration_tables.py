"""The tables of the registrations: quality, what became of structures and their activity, and the lights of pairs."""

from dataclasses import asdict

import numpy as np

from dosimetry.findings import Findings
from dosimetry.report.numbers import change_percent, percent, three
from dosimetry.report.palette import Looks
from dosimetry.report.tables import Row, Table

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
_SIMILARITY = ("ssim", "wssim", "lncc", "mi", "nmi", "tre_mm")


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
                ["", ""]
                if row is None
                else [change_percent(row.activity_change_percent), three(row.u_registration_mm, 2)]
            )
        rows.append(Row(structure, cells, looks.get(structure)))
    return Table(heads, rows)


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


def _arrow(*stages: str) -> str:
    return stages[0] if len(set(stages)) == 1 else " → ".join(stages)
