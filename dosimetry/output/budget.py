"""uncertainty.csv, the parts of every structure's budget; and the intervals that metrics.csv states."""

from collections.abc import Iterable
from pathlib import Path

from dosimetry.results import CurveResult, PatientResults
from dosimetry.uncertainty.budget import Source, interval
from nufitdose.io.csv_table import Row, write_csv

_COLUMNS = (
    "structure", "part", "relative_u_percent", "share_percent", "source", "assumed", "relative_u_tia_percent", "basis",
)  # fmt: skip
_LEVELS = (68.27, 95.0)

#: Columns of the 68 and 95 % intervals of Ã and mean dose.
INTERVALS = tuple(
    f"{quantity}_{end}{level:.0f}_{unit}"
    for quantity, unit in (("tia", "mbq_h"), ("dose_mean", "gy"))
    for level in _LEVELS
    for end in ("low", "high")
)


def intervals(result: CurveResult) -> Row:
    """The values of `INTERVALS`."""
    sides = (
        side
        for value, u in (
            (result.tia_mbq_h, result.relative_u_tia),
            (result.dose.get("dose_mean_gy", float("nan")), result.budget.relative_u_dose),
        )
        for level in _LEVELS
        for side in interval(value, u, level / 100.0)
    )
    return dict(zip(INTERVALS, sides, strict=True))


def write_budget(results: PatientResults, folder: Path) -> None:
    """uncertainty.csv: a row for each part and one for the total; relative_u_percent is of the mean dose."""
    write_csv(folder / "uncertainty.csv", _COLUMNS, (row for result in results.rows for row in _rows(result)))


def _rows(result: CurveResult) -> Iterable[Row]:
    for part, share in result.budget.shares():
        yield {
            "structure": result.name,
            "part": part.name,
            "relative_u_percent": 100.0 * abs(part.dose),
            "share_percent": 100.0 * share,
            "source": part.source.value,
            "assumed": "yes" if part.source is Source.ASSUMED else "no",
            "relative_u_tia_percent": 100.0 * abs(part.tia),
            "basis": part.basis,
        }
    yield {
        "structure": result.name,
        "part": "total",
        "relative_u_percent": 100.0 * result.budget.relative_u_dose,
        "share_percent": 100.0,
        "source": "",
        "assumed": "",
        "relative_u_tia_percent": 100.0 * result.budget.relative_u_tia,
        "basis": "",
    }
