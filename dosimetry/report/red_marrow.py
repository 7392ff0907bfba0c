"""Red marrow on the page."""

from dosimetry.findings import Findings
from dosimetry.report.numbers import gray, three, with_error
from dosimetry.report.tables import Row, Table

_METHODS = {"red_marrow_image": "image of a structure of the spine", "red_marrow_blood": "blood samples"}


def marrow_table(results: Findings) -> Table | None:
    """A row a method; None where red marrow was not looked for."""
    if not results.red_marrow:
        return None
    heads = ("method", "TIA MBq·h/mL", "T_eff h", "self-dose Gy", "TIA of all marrow MBq·h")
    rows = [
        Row(
            _METHODS.get(found.method, found.method),
            (
                with_error(found.tia_mbq_h_per_ml, found.u_tia_mbq_h_per_ml),
                three(found.teff_h),
                gray(found.dose_self_gy, found.u_dose_self_gy),
                with_error(found.tia_mbq_h, found.u_tia_mbq_h),
            ),
        )
        for found in results.red_marrow
    ]
    return Table(heads, rows)


def marrow_notes(results: Findings) -> list[str]:
    """What each method rests on."""
    return [f"{_METHODS.get(found.method, found.method)}: {found.basis}" for found in results.red_marrow]
