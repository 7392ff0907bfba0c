"""Clock times in DICOM: when a scan started and when the activity was given.

Dates (DA), times of day (TM) and date-times (DT) are local to the scanner unless an offset from UTC is
stated: in the DT itself, or by TimezoneOffsetFromUTC (0008,0201) for the whole object (PS3.3 C.12.1.1.8).
Times with and without an offset are never mixed.
"""

import logging
import re
from datetime import date, datetime, time, timedelta, timezone

from nufitdose.errors import InputError
from nufitdose.io.dicom.read.headers import Header, tag_name

_LOG = logging.getLogger(__name__)
_GIVE_ACQUIRED = (
    "Say when the scan began with --acquired-at 2018-11-15T13:06:00, or how many hours after administration with "
    "--hours; of one series among several with --for SERIES acquired_at=... or hours=..."
)
GIVE_ZONE = "Say the offset of the times that state none with --utc-offset, as +01:00"
_DATE = re.compile(r"(\d{4})[.-]?(\d{2})[.-]?(\d{2})")
_CLOCK = re.compile(r"(\d{2}):?(\d{2})(?::?(\d{2})(?:\.(\d{1,6}))?)?")
_OFFSET = re.compile(r"([+-])(\d{2})(\d{2})")
_DATE_TIME = re.compile(r"(\d{8})(\d{4,6}(?:\.\d{1,6})?)([+-]\d{4})?")


def seconds_between(later: datetime, earlier: datetime, header: Header) -> float:
    """`later - earlier` in seconds; `InputError` when only one has an offset from UTC."""
    if (later.tzinfo is None) != (earlier.tzinfo is None):
        raise InputError(
            f"of the times {earlier.isoformat()} and {later.isoformat()} only one states its offset from UTC",
            where=header.path,
            remedy="Give --administered-at in the same form as the acquisition times: with the offset, as "
            f"2018-11-15T09:22:00+01:00, or without. {GIVE_ZONE}",
        )
    return (later - earlier).total_seconds()


def date_and_time(header: Header, date_keyword: str, time_keyword: str) -> datetime | None:
    """A date and a time of day from two attributes, with the object's offset; None where either is absent."""
    if not (header.has(date_keyword) and header.has(time_keyword)):
        return None
    return datetime.combine(_date(header, date_keyword), clock_time(header, time_keyword), tzinfo=zone(header))


def clock_time(header: Header, keyword: str) -> time:
    """A time of day (TM), to the minute or better."""
    match = _CLOCK.fullmatch(header.text(keyword))
    try:
        assert match is not None
        return _clock(match)
    except (AssertionError, ValueError):
        raise header.wrong(keyword, "a time of day as HHMMSS.FFFFFF is wanted") from None


def zone(header: Header) -> timezone | None:
    """TimezoneOffsetFromUTC (0008,0201), or None where the object does not state it."""
    if not header.has("TimezoneOffsetFromUTC"):
        return None
    match = _OFFSET.fullmatch(header.text("TimezoneOffsetFromUTC"))
    if match is None or int(match[2]) > 14 or int(match[3]) > 59:
        raise header.wrong("TimezoneOffsetFromUTC", "an offset as +0100 is wanted")
    return _zone(match)


def date_alone(header: Header, keyword: str) -> date | None:
    """The date of an attribute that holds a date and no time of day; else None."""
    return _date(header, keyword) if _DATE.fullmatch(header.text(keyword)) else None


def date_time(header: Header, keyword: str, offset: timezone | None) -> datetime | None:
    """A date-time (DT), with its own offset or else `offset`; None where absent."""
    if not header.has(keyword):
        return None
    match = _DATE_TIME.fullmatch(header.text(keyword))
    try:
        assert match is not None
        day, clock = _DATE.fullmatch(match[1]), _CLOCK.fullmatch(match[2])
        assert day is not None
        assert clock is not None
        own = _OFFSET.fullmatch(match[3]) if match[3] else None
        return datetime.combine(_day(day), _clock(clock), tzinfo=_zone(own) if own else offset)
    except (AssertionError, ValueError):
        raise header.wrong(keyword, "a date and time as YYYYMMDDHHMMSS.FFFFFF&ZZXX is wanted") from None


def acquisition_time(header: Header) -> tuple[datetime, str]:
    """When the acquisition of an object started, and the attribute that says so.

    AcquisitionDateTime (0008,002A), else AcquisitionDate and AcquisitionTime (0008,0022), (0008,0032), else
    SeriesDate and SeriesTime, which is the start of the series (PS3.3 C.7.3.1). Raises `InputError` where all
    are absent, or where the first two disagree by more than a minute.
    """
    moment = date_time(header, "AcquisitionDateTime", zone(header))
    parts = date_and_time(header, "AcquisitionDate", "AcquisitionTime")
    if moment and parts:
        if moment.tzinfo is not None and parts.tzinfo is None:
            parts = parts.replace(tzinfo=moment.tzinfo)
        if abs(seconds_between(moment, parts, header)) > 60.0:
            raise header.wrong(
                "AcquisitionDateTime",
                f"AcquisitionDate and AcquisitionTime say {parts.isoformat()}: one of them is wrong",
                _GIVE_ACQUIRED,
            )
    if moment or parts:
        return (moment, "AcquisitionDateTime") if moment else (parts, "AcquisitionTime")  # type: ignore[return-value]
    series = date_and_time(header, "SeriesDate", "SeriesTime")
    if series is None:
        raise InputError(
            f"neither {tag_name('AcquisitionDate')} with {tag_name('AcquisitionTime')} nor SeriesDate with SeriesTime "
            "says when the scan was made",
            where=header.path,
            remedy=_GIVE_ACQUIRED,
        )
    return series, "SeriesTime"


def _date(header: Header, keyword: str) -> date:
    match = _DATE.fullmatch(header.text(keyword))
    try:
        assert match is not None
        return _day(match)
    except (AssertionError, ValueError):
        raise header.wrong(keyword, "a date as YYYYMMDD is wanted") from None


def _day(match: re.Match[str]) -> date:
    day = date(int(match[1]), int(match[2]), int(match[3]))
    if day.year < 1900:
        raise ValueError(day)
    return day


def _clock(match: re.Match[str]) -> time:
    second = 59 if match[3] == "60" else int(match[3] or 0)  # 60 is a leap second
    return time(int(match[1]), int(match[2]), second, int((match[4] or "0").ljust(6, "0")))


def _zone(match: re.Match[str]) -> timezone:
    minutes = int(match[2]) * 60 + int(match[3])
    return timezone(timedelta(minutes=-minutes if match[1] == "-" else minutes))
