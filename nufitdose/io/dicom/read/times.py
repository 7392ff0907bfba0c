"""Clock times in DICOM: when a scan started and when the activity was given.

Dates (DA), times of day (TM) and date-times (DT) are local to the scanner unless an offset from UTC is
stated: in the DT itself, or by TimezoneOffsetFromUTC (0008,0201) for the whole object (PS3.3 C.12.1.1.8).
Times with and without an offset are never mixed.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone

from nufitdose.errors import InputError
from nufitdose.io.dicom.read.headers import Header, tag_name

_LOG = logging.getLogger(__name__)
_SAME_S = 1.0  # two statements of one moment may differ by this
_GIVE_TIME = "Give the time of administration with --administered-at, as 2018-11-15T09:22:00"
_GIVE_ACQUIRED = (
    "Say when the scan began with --acquired-at 2018-11-15T13:06:00, or how many hours after administration with "
    "--hours; of one series among several with --for SERIES acquired_at=... or hours=..."
)
_GIVE_ZONE = "Say the offset of the times that state none with --utc-offset, as +01:00"
_DATE = re.compile(r"(\d{4})[.-]?(\d{2})[.-]?(\d{2})")
_CLOCK = re.compile(r"(\d{2}):?(\d{2})(?::?(\d{2})(?:\.(\d{1,6}))?)?")
_OFFSET = re.compile(r"([+-])(\d{2})(\d{2})")
_DATE_TIME = re.compile(r"(\d{8})(\d{4,6}(?:\.\d{1,6})?)([+-]\d{4})?")


@dataclass(frozen=True)
class StartClaim:
    """What one series says about the administration; `moment` in full, `clock` where only the time of day is given.

    `acquired` is the start of that series' acquisition; `problem` is why what it says cannot be used.
    """

    header: Header
    acquired: datetime
    moment: datetime | None = None
    clock: time | None = None
    problem: InputError | None = field(default=None, compare=False)


def seconds_between(later: datetime, earlier: datetime, header: Header) -> float:
    """`later - earlier` in seconds; `InputError` when only one has an offset from UTC."""
    if (later.tzinfo is None) != (earlier.tzinfo is None):
        raise InputError(
            f"of the times {earlier.isoformat()} and {later.isoformat()} only one states its offset from UTC",
            where=header.path,
            remedy="Give --administered-at in the same form as the acquisition times: with the offset, as "
            f"2018-11-15T09:22:00+01:00, or without. {_GIVE_ZONE}",
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


def radiopharmaceutical(header: Header) -> Header | None:
    """The one item of RadiopharmaceuticalInformationSequence (0054,0016), or None."""
    items = header.items("RadiopharmaceuticalInformationSequence")
    if len(items) > 1:
        raise InputError(
            f"RadiopharmaceuticalInformationSequence (0054,0016) has {len(items)} items, one is wanted",
            where=header.path,
            remedy="Images of several nuclides at once are not read; export one image for each",
        )
    return items[0] if items else None


def start_claim(header: Header, acquired: datetime) -> StartClaim:
    """What an object says about the time of administration; what cannot be used is its `problem`, not an error."""
    try:
        return _claim(header, radiopharmaceutical(header), acquired)
    except InputError as problem:
        return StartClaim(header, acquired, problem=problem)


def _claim(header: Header, drug: Header | None, acquired: datetime) -> StartClaim:
    """The claim of an object.

    RadiopharmaceuticalStartDateTime (0018,1078) and RadiopharmaceuticalStartTime (0018,1072) must tell the same
    time of day where both are given. An offset in the DateTime of an object whose other times have none is
    accepted only when the time of day confirms that both are local. A date alone in the DateTime is that of the
    time of day.
    """
    if drug is None:
        return StartClaim(header, acquired)
    offset = zone(header)
    clock = clock_time(drug, "RadiopharmaceuticalStartTime") if drug.has("RadiopharmaceuticalStartTime") else None
    if clock is not None and _DATE.fullmatch(drug.text("RadiopharmaceuticalStartDateTime")):
        day = _date(drug, "RadiopharmaceuticalStartDateTime")
        return StartClaim(header, acquired, datetime.combine(day, clock, tzinfo=offset), clock)
    moment = date_time(drug, "RadiopharmaceuticalStartDateTime", offset)
    if moment is not None and offset is not None:
        moment = moment.astimezone(offset)
    if moment is not None and clock is not None:
        same_day = datetime.combine(moment.date(), clock)
        if abs((same_day - moment.replace(tzinfo=None)).total_seconds()) > _SAME_S:
            raise drug.wrong(
                "RadiopharmaceuticalStartDateTime",
                f"but RadiopharmaceuticalStartTime (0018,1072) is {clock.isoformat()}: one of them is wrong",
                _GIVE_TIME,
            )
        if offset is None:
            moment = moment.replace(tzinfo=None)
    return StartClaim(header, acquired, moment, clock)


def administration_time(claims: Sequence[StartClaim], given: datetime | None) -> datetime:
    """The one time of administration all series agree on, or the one given by the user.

    A time of day without a date is combined with the date of its own acquisition, where that puts it before
    the scan. Raises `InputError` where the time is missing, a date cannot be told, series disagree by more
    than 1 s, or a scan was made before the administration.
    """
    first = claims[0]
    for claim in claims[1:]:
        if (claim.acquired.tzinfo is None) != (first.acquired.tzinfo is None):
            raise InputError(
                f"the acquisition time {claim.acquired.isoformat()} and that of {first.header.path.name}, "
                f"{first.acquired.isoformat()}, do not both state their offset from UTC",
                where=claim.header.path,
                remedy=f"{_GIVE_ZONE}, or give --administered-at, whose offset then counts",
            )
    moment = _given(claims, given) if given else _agreed(claims)
    for claim in claims:
        if seconds_between(claim.acquired, moment, claim.header) < 0.0:
            raise InputError(
                f"the scan started at {claim.acquired.isoformat()}, before the administration at {moment.isoformat()}",
                where=claim.header.path,
                remedy=f"Check dates and time zones, take earlier scans out of the folder. {_GIVE_TIME}",
            )
    return moment


def _given(claims: Sequence[StartClaim], given: datetime) -> datetime:
    first = claims[0].acquired
    if (problem := claims[0].problem) is not None:
        _LOG.warning("administered at %s as given; %s", given.isoformat(), problem.problem)
    if given.tzinfo is None and first.tzinfo is not None:
        _LOG.warning("the given administration time %s is read with the scan's offset %s", given, first.strftime("%z"))
        given = given.replace(tzinfo=first.tzinfo)
    for claim in claims:
        if claim.moment and not _is_same(claim.moment, given):
            _LOG.warning(
                "administered at %s as given; %s says %s",
                given.isoformat(),
                claim.header.path,
                claim.moment.isoformat(),
            )
    return given


def _is_same(one: datetime, other: datetime) -> bool:
    comparable = (one.tzinfo is None) == (other.tzinfo is None)
    return comparable and abs((one - other).total_seconds()) <= _SAME_S


def _agreed(claims: Sequence[StartClaim]) -> datetime:
    if problem := next((claim.problem for claim in claims if claim.problem), None):
        raise problem
    full = [claim for claim in claims if claim.moment]
    if full:
        moment = full[0].moment
        assert moment is not None
        for claim in claims:
            stated = claim.moment
            if stated is None and claim.clock:
                stated = datetime.combine(moment.date(), claim.clock, tzinfo=moment.tzinfo)
            if stated is None:
                _LOG.warning("%s does not say when the activity was given; the other series do", claim.header.path)
            elif abs(seconds_between(stated, moment, claim.header)) > _SAME_S:
                raise _disagreement(claim, stated, full[0], moment)
        return moment
    dated = [(claim, _dated(claim)) for claim in claims]
    first, moment = dated[0]
    for claim, stated in dated[1:]:
        if abs(seconds_between(stated, moment, claim.header)) > _SAME_S:
            raise _disagreement(claim, stated, first, moment)
    for claim, stated in dated:
        _LOG.warning(
            "%s gives the administration as the time of day %s without a date; the date of the scan is taken: %s",
            claim.header.path,
            claim.clock,
            stated.isoformat(),
        )
    return moment


def _dated(claim: StartClaim) -> datetime:
    if claim.clock is None:
        raise InputError(
            "neither RadiopharmaceuticalStartDateTime (0018,1078) nor RadiopharmaceuticalStartTime (0018,1072) says "
            "when the activity was given",
            where=claim.header.path,
            remedy=_GIVE_TIME,
        )
    moment = datetime.combine(claim.acquired.date(), claim.clock, tzinfo=claim.acquired.tzinfo)
    if moment > claim.acquired:
        raise InputError(
            f"RadiopharmaceuticalStartTime (0018,1072) is {claim.clock.isoformat()} without a date, later in the day "
            f"than the scan of {claim.acquired.isoformat()}, so the day of the administration is unknown",
            where=claim.header.path,
            remedy=_GIVE_TIME,
        )
    return moment


def _disagreement(claim: StartClaim, stated: datetime, first: StartClaim, moment: datetime) -> InputError:
    undated = claim.moment is None or first.moment is None
    how = " (the files give the time of day only; each was put on the date of its own scan)" if undated else ""
    return InputError(
        f"the series disagree about the administration: {stated.isoformat()} here, {moment.isoformat()} in "
        f"{first.header.path}{how}",
        where=claim.header.path,
        remedy=f"{_GIVE_TIME}; import scans after different administrations one by one",
    )


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
