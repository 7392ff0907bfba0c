"""Kinds of values in YAML files of a study: names, numbers, moments, paths; what is nearly one is refused."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from nufitdose.printable import is_printable


def _as_name(value: Any) -> Any:
    if isinstance(value, bool | float):
        raise ValueError("a name is wanted; write it in quotes")
    return str(value) if isinstance(value, int) else value


def _as_number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a number is wanted, not yes or no")
    return value


def _as_moment(value: Any) -> Any:
    if isinstance(value, bool | int | float):  # it would be read as seconds since 1970
        raise ValueError("a date with a time of day in quotes is wanted, as '2018-11-15T09:22:00'")
    return value


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _shown(value: str) -> str:
    if not is_printable(value):
        raise ValueError("text without control characters is wanted")
    return value


Text = Annotated[str, Field(max_length=4096), AfterValidator(_shown)]
Name = Annotated[Text, BeforeValidator(_as_name), Field(min_length=1, max_length=200)]
Moment = Annotated[datetime, BeforeValidator(_as_moment)]
Number = Annotated[float, BeforeValidator(_as_number)]
Paths = Annotated[list[Text], BeforeValidator(_as_list), Field(min_length=1)]
