"""Tables for a terminal, numbers as a person reads them, and values as JSON for programs."""

import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table


def text_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, width: int = 160, words: int = 1) -> str:
    """An aligned table; the first columns, so many as hold `words`, to the left, the others to the right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < words else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console(file=io.StringIO(), width=width, color_system=None, markup=False)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()).strip("\n")


def significant(value: float, digits: int = 3) -> str:
    """A number with three significant digits and no exponent where it can be read without; '-' if unknown."""
    if not math.isfinite(value):
        return "-"
    if value == 0:
        return "0"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    if not -6 < decimals < 9:
        return f"{value:.{digits - 1}e}"
    return f"{round(value, decimals):.{max(decimals, 0)}f}"


def json_text(value: object) -> str:
    """A value as JSON that every reader takes: numbers that are not finite are null."""
    return json.dumps(_with_null(value), indent=2, ensure_ascii=False, default=str, allow_nan=False)


def _with_null(value: object) -> object:
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _with_null(part) for name, part in value.items()}
    return [_with_null(part) for part in value] if isinstance(value, list | tuple) else value
