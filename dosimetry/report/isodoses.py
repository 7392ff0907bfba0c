"""Isodoses on the page: the volume within each, by structure and in the body."""

import math

from dosimetry.findings import Findings
from dosimetry.report.numbers import gray, percent, three
from dosimetry.report.palette import Looks
from dosimetry.report.tables import Row, Table


def isodose_table(results: Findings, looks: Looks) -> Table | None:
    """A row a structure, a column an isodose: mL, and percent of the structure; None where no isodose was asked for."""
    if not results.isodoses:
        return None
    levels = {found.isodose: found.dose_gy for found in results.isodoses}
    heads = [level if level.endswith("Gy") else f"{level} ({gray(dose)} Gy)" for level, dose in levels.items()]
    cells: dict[str, list[str]] = {}
    for found in results.isodoses:
        share = "" if math.isnan(found.volume_percent) else f" ({percent(found.volume_percent)})"
        cells.setdefault(found.structure, []).append(f"{three(found.volume_ml)}{share}")
    rows = [Row(name, own, looks.get(name)) for name, own in cells.items()]
    return Table(("structure", *heads), rows)
