"""The tables of a run as one spreadsheet (tables.xlsx), numbers rounded for people; the csv files hold all digits."""

import csv
import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nufitdose.errors import InputError
from nufitdose.files import whole_file
from nufitdose.text import significant

_SHEETS = (
    "metrics", "uncertainty", "tac", "registration", "registration_structures", "registration_activity", "dvh",
    "isodoses", "red_marrow",
)  # fmt: skip
_WIDEST = 40  # characters of a column
_MOST_DECIMALS = 12


def check_installed() -> None:
    """Raise `InputError` where openpyxl is not installed."""
    if find_spec("openpyxl") is None:
        raise InputError(
            "tables as xlsx need openpyxl, which is not installed",
            remedy="pip install 'nufitdose[xlsx]', or leave out --tables xlsx: the csv files hold the same numbers",
        )


def write_workbook(folder: Path) -> Path:
    """Put the csv tables of a results folder into tables.xlsx, a sheet each, the value beside its u.

    A value is rounded to the second digit of its standard uncertainty, one without uncertainty to three digits.
    """
    from openpyxl import Workbook
    from openpyxl.styles import Font

    book = Workbook()
    book.remove(book.active)
    for name in _SHEETS:
        path = folder / f"{name}.csv"
        if not path.is_file():
            continue
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            columns, rows = _beside(reader.fieldnames or ()), list(reader)
        sheet = book.create_sheet(name)
        for number, column in enumerate(columns, start=1):
            sheet.cell(1, number, column).font = Font(bold=True)
            for line, row in enumerate(rows, start=2):
                _fill(sheet.cell(line, number), row, column)
            letter = sheet.cell(1, number).column_letter
            widths = [len(column), *(len(row[column]) for row in rows)]
            sheet.column_dimensions[letter].width = min(max(widths) + 2, _WIDEST)
        sheet.freeze_panes = "B2"
    target = folder / "tables.xlsx"
    with whole_file(target) as aside:
        book.save(aside)
    return target


def _beside(columns: Sequence[str]) -> list[str]:
    """The columns, each `u_<column>` right after its column."""
    own = [name for name in columns if not (name.startswith("u_") and name[2:] in columns)]
    return [name for column in own for name in (column, f"u_{column}") if name in columns]


def _fill(cell: Any, row: Mapping[str, str], column: str) -> None:
    value = _number(row[column])
    if value is None:
        cell.value = row[column] or None
        if row[column]:
            cell.data_type = "s"  # a text is never a formula
        return
    u = _number(row.get(column if column.startswith("u_") else f"u_{column}", ""))
    decimals = decimals_of(u) if u is not None and u > 0 else _decimals_of_three(value)
    cell.value = round(value, decimals)
    shown = max(decimals, 0)
    cell.number_format = "0." + "0" * shown if shown else "0"


def decimals_of(u: float) -> int:
    """The decimals to which a value with this standard uncertainty is told: the second digit of u, once rounded."""
    return min(1 - math.floor(math.log10(float(f"{u:.1e}"))), _MOST_DECIMALS)


def _decimals_of_three(value: float) -> int:
    text = significant(value)
    if "e" in text:
        return _MOST_DECIMALS if abs(value) < 1 else 0
    return len(text.partition(".")[2]) if "." in text else 2 - math.floor(math.log10(abs(value))) if value else 0


def _number(text: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
