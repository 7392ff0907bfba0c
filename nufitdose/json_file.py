"""JSON that came from outside, read without trust: an object of bounded length whose numbers are finite."""

import json
import math
from pathlib import Path
from typing import Any, NoReturn

from nufitdose.errors import InputError
from nufitdose.files import read_text

_LARGEST_BYTES = 16 << 20


def read_json(path: str | Path, problem: str) -> dict[str, Any]:
    """A JSON file whose top level is an object. Raises `InputError`, which begins with `problem`, otherwise."""
    try:
        content = json.loads(read_text(path, _LARGEST_BYTES), parse_constant=_no_number, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{problem} ({error})", where=path) from error
    if not isinstance(content, dict):
        raise InputError(f"{problem} (names with values are wanted)", where=path)
    return content


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is no number that a computer holds")
    return value
