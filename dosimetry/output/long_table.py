"""metrics_long.csv: one number a row, with whose it is, for tables of many patients."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from nufitdose.io.csv_table import Row, write_csv
from nufitdose.study import Study

_LONG = ("patient", "nuclide", "cycle", "structure", "role", "quantity", "value", "u")
_WORDS = ("structure", "role")


def write_long_table(study: Study, columns: Sequence[str], rows: Iterable[Row], folder: Path) -> None:
    """The numbers of metrics.csv that are known, each with its `u_<column>`; the cycle where `details` say one."""
    whose = {"patient": study.patient, "nuclide": study.nuclide, "cycle": study.details.cycle or ""}
    numbers = [name for name in columns if name not in _WORDS and not name.startswith("u_")]
    write_csv(folder / "metrics_long.csv", _LONG, (whose | found for row in rows for found in _numbers(row, numbers)))


def _numbers(row: Mapping[str, object], names: Sequence[str]) -> Iterable[dict[str, object]]:
    for name in names:
        value = row[name]
        if isinstance(value, float) and not math.isnan(value):
            of_it = {"quantity": name, "value": value, "u": row.get(f"u_{name}", float("nan"))}
            yield {word: row[word] for word in _WORDS} | of_it
