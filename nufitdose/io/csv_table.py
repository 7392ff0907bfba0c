"""Tables as CSV files, numbers written alike everywhere."""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from nufitdose.printable import printable, without_formula

Row = Mapping[str, object]


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Row]) -> None:
    """A table with these columns; numbers with six significant digits, unknown ones left empty.

    Texts that a spreadsheet would take for a formula get an apostrophe before them.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([_cell(row[column]) for column in columns] for row in rows)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else ""
    return without_formula(printable(value)) if isinstance(value, str) else str(value)
