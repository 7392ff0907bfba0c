"""Red marrow on the page."""

import math

from dosimetry.findings import Findings
from dosimetry.report.numbers import gray, three, with_error
from dosimetry.report.tables import Row, Table

_METHODS = {"red_marrow_image": "image of a structure of the spine", "red_marrow_blood": "blood samples"}
_CROSS = (
    "Cross dose: photons of marrow and all the body in the field of view, as the drawn vertebra gets them: its dose "
    "less that of its own electrons and alpha particles; electrons that cross its surface count with it. Its ± is that "
    "of the vertebra's whole dose, an upper bound."
)
_NO_CROSS = (
    "No cross dose and no total: these need a drawn vertebra (metrics.red_marrow.structure) and a dose engine that "
    "follows photons."
)


def marrow_table(results: Findings) -> Table | None:
    """A row a method; None where red marrow was not looked for."""
    if not results.red_marrow:
        return None
    heads = (
        "method",
        "TIA MBq·h/mL",
        "T_eff h",
        "self-dose Gy",
        "cross dose Gy",
        "total dose Gy",
        "TIA of all marrow MBq·h",
    )
    rows = [
        Row(
            _METHODS.get(found.method, found.method),
            (
                with_error(found.tia_mbq_h_per_ml, found.u_tia_mbq_h_per_ml),
                three(found.teff_h),
                gray(found.dose_self_gy, found.u_dose_self_gy),
                gray(found.dose_cross_gy, found.u_dose_cross_gy),
                gray(found.dose_total_gy, found.u_dose_total_gy),
                with_error(found.tia_mbq_h, found.u_tia_mbq_h),
            ),
        )
        for found in results.red_marrow
    ]
    return Table(heads, rows)


def marrow_notes(results: Findings) -> list[str]:
    """What each method rests on, and the cross dose of all."""
    if not results.red_marrow:
        return []
    said = [f"{_METHODS.get(found.method, found.method)}: {found.basis}" for found in results.red_marrow]
    known = any(math.isfinite(found.dose_cross_gy) for found in results.red_marrow)
    return [*said, _CROSS if known else _NO_CROSS]
