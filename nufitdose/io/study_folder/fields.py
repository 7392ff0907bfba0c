"""Kinds of values in YAML files of a study: names, numbers, moments, paths; what is nearly one is refused."""

import re
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from nufitdose.printable import is_printable

_LONGEST_DICOM = 64  # characters
_LONGEST_PATH, _LONGEST_FILE_NAME = 1024, 255  # characters, bytes: what every system takes
_DICOM_FORMS = {
    "UID": re.compile(r"[0-9]+(?:\.[0-9]+)*"),
    "Date": re.compile(r"(?:[0-9]{8})?"),
    "Time": re.compile(r"(?:[0-9]{2}){0,3}(?:(?<=[0-9]{6})\.[0-9]{1,6})?"),
}


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


def _as_path(value: str) -> str:
    if len(value) > _LONGEST_PATH or any(len(part.encode()) > _LONGEST_FILE_NAME for part in value.split("/")):
        raise ValueError("this is longer than the name of a file can be")
    return value


def _shown(value: str) -> str:
    if not is_printable(value):
        raise ValueError("text without control characters is wanted")
    return value


def fits_dicom(keyword: str, value: str) -> bool:
    """Whether a DICOM object may carry the value under this keyword (PS3.5 6.2: UI, DA, TM, and short texts)."""
    form = "UID" if keyword.endswith("UID") else keyword.removeprefix("Study")
    wanted = _DICOM_FORMS.get(form)
    return (
        len(value) <= _LONGEST_DICOM and "\\" not in value and (wanted is None or wanted.fullmatch(value) is not None)
    )


def _as_dicom(values: dict[str, str]) -> dict[str, str]:
    for keyword, value in values.items():
        if not fits_dicom(keyword, value):
            raise ValueError(f"{keyword} cannot be {value!r} in DICOM")
    return values


Text = Annotated[str, Field(max_length=4096), AfterValidator(_shown)]
Name = Annotated[Text, BeforeValidator(_as_name), Field(min_length=1, max_length=200)]
Moment = Annotated[datetime, BeforeValidator(_as_moment)]
Number = Annotated[float, BeforeValidator(_as_number)]
Uid = Annotated[str, Field(max_length=_LONGEST_DICOM, pattern=r"^[0-9]+(?:\.[0-9]+)*$")]
DicomValues = Annotated[dict[Text, Text], AfterValidator(_as_dicom)]
FilePath = Annotated[Text, AfterValidator(_as_path)]
Paths = Annotated[list[FilePath], BeforeValidator(_as_list), Field(min_length=1)]
