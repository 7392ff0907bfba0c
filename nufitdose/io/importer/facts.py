"""Facts of single series as the user writes them: `--for SERIES key=value`, or a YAML file of them.

A facts file holds what the options hold (`nuclide`, `administered_mbq`, ...) and, under `series`, the facts of each
series by its number or UID.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from nufitdose.config import read_yaml
from nufitdose.errors import InputError
from nufitdose.io.dicom.read.decay import STATEMENTS

#: What a facts file may say of the whole treatment.
OF_ALL = ("nuclide", "administered_mbq", "administered_at", "patient", "reference")


@dataclass(frozen=True)
class Fact:
    """How a fact is written: in words what is wanted, how it is parsed, how it is shown."""

    wanted: str
    parse: Callable[[Any], Any]
    show: Callable[[Any], Any] = lambda value: value


def parse_moment(value: datetime | str, what: str) -> datetime:
    """A date with a time of day (ISO 8601); a date alone would be read as midnight and is refused."""
    if isinstance(value, datetime):
        return value
    text = str(value).strip()
    try:
        if ":" not in text:
            raise ValueError(text)
        return datetime.fromisoformat(text)
    except ValueError:
        raise InputError(
            f"the {what} {value!r} was given",
            remedy="Write it as 2018-11-15T09:22:00, with an offset as +01:00 if the files state theirs",
        ) from None


def parse_fact(name: str, value: Any) -> Any:
    """The value of a fact. Raises `InputError` on an unknown fact or a value that cannot be."""
    if name not in FACTS:
        raise InputError(f"the fact {name!r} was given, wanted one of {', '.join(FACTS)}")
    try:
        return FACTS[name].parse(value)
    except (ValueError, TypeError):
        words = name.replace("_", " ")
        raise InputError(f"the {words} {value!r} was given, wanted {FACTS[name].wanted}") from None


def parse_for(statements: Sequence[tuple[str, str]]) -> dict[str, dict[str, Any]]:
    """`--for SERIES key=value`, repeated, as facts by series."""
    found: dict[str, dict[str, Any]] = {}
    for series, text in statements:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--for {series} {text!r} was given, wanted key=value, as --for 2 hours=24")
        found.setdefault(series, {})[name.strip().replace("-", "_")] = parse_fact(
            name.strip().replace("-", "_"), value.strip()
        )
    return found


def read_facts(path: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """A facts file: facts of all, and facts by series."""
    content = read_yaml(path)
    if not isinstance(content, Mapping):
        raise InputError("a table of facts is wanted", where=path, remedy="Write one with --dry-run --write-facts FILE")
    unknown = sorted(set(content) - {*OF_ALL, "series"})
    if unknown:
        raise InputError(
            f"the fact {unknown[0]!r} was given, wanted one of {', '.join((*OF_ALL, 'series'))}", where=path
        )
    by_series: dict[str, dict[str, Any]] = {}
    series = content.get("series") or {}
    if not isinstance(series, Mapping):
        raise InputError("'series': numbers or UIDs with their facts are wanted", where=path)
    for name, facts in series.items():
        if facts is not None and not isinstance(facts, Mapping):
            raise InputError(f"series {name}: facts as 'key: value' are wanted", where=path)
        try:
            parsed = {str(fact): parse_fact(str(fact), value) for fact, value in (facts or {}).items()}
        except InputError as error:
            raise error.located(f"{path}, series {name}") from error
        if parsed:
            by_series[str(name)] = parsed
    return {key: _of_all(key, content[key], path) for key in OF_ALL if content.get(key) is not None}, by_series


def _of_all(key: str, value: Any, path: Path) -> str | float | datetime:
    """A fact of the whole treatment: a number of MBq, a moment, else text."""
    try:
        if key == "administered_at":
            return parse_moment(str(value), "administration time")
        if key == "administered_mbq":
            return _number(0.0)(value)
        if isinstance(value, bool | float | Mapping | Sequence) and not isinstance(value, str):
            raise ValueError(value)
    except (ValueError, TypeError):
        wanted = "a positive number" if key == "administered_mbq" else "text"
        raise InputError(f"{key!r} is {str(value)[:80]!r}, {wanted} is wanted", where=path) from None
    except InputError as error:
        raise error.located(path) from error
    return str(value)


def _moment(value: Any) -> datetime:
    if isinstance(value, int | float):
        raise ValueError(value)
    return parse_moment(value, "acquisition time")


def _number(low: float, *, above: bool = True) -> Callable[[Any], float]:
    def parse(value: Any) -> float:
        if isinstance(value, bool):
            raise ValueError(value)
        number = float(value)
        if not math.isfinite(number) or number < low or (above and number == low):
            raise ValueError(value)
        return number

    return parse


def _step(value: Any) -> float:
    number = float(value)
    if isinstance(value, bool) or not math.isfinite(number) or number == 0.0:
        raise ValueError(value)
    return number


def _offset(value: Any) -> timezone:
    if isinstance(value, timezone):
        return value
    match = re.fullmatch(r"([+-])(\d{2}):?(\d{2})", str(value).strip())
    if match is None or int(match[2]) > 14 or int(match[3]) > 59:
        raise ValueError(value)
    minutes = 60 * int(match[2]) + int(match[3])
    return timezone(timedelta(minutes=-minutes if match[1] == "-" else minutes))


def _correction(value: Any) -> str:
    text = str(value).strip().upper()
    if text not in STATEMENTS:
        raise ValueError(value)
    return text


def _yes(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    words = {"true": True, "yes": True, "false": False, "no": False}
    if str(value).strip().lower() not in words:
        raise ValueError(value)
    return words[str(value).strip().lower()]


FACTS: dict[str, Fact] = {
    "calibration": Fact("a positive number, Bq/mL per count", _number(0.0)),
    "sensitivity": Fact("a positive number, cps/MBq", _number(0.0)),
    "acquired_at": Fact("a date and time, as 2018-11-15T13:06:00", _moment, lambda value: value.isoformat()),
    "hours": Fact("hours after administration, 0 or more", _number(0.0, above=False)),
    "utc_offset": Fact("an offset from UTC, as +01:00", _offset, str),
    "decay_correction": Fact(f"one of {', '.join(STATEMENTS)}", _correction),
    "duration_s": Fact("seconds, a positive number", _number(0.0)),
    "slice_step_mm": Fact("millimetres from one slice to the next, not zero", _step),
    "reconstruction": Fact("true or false", _yes),
    "accept_uncorrected": Fact("true or false", _yes),
    "accept_implausible": Fact("true or false", _yes),
}
