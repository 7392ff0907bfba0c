"""When the activity was given: what each series says of it, and the one time all agree on."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, time

from nufitdose.errors import InputError
from nufitdose.io.dicom.read.headers import Header
from nufitdose.io.dicom.read.times import GIVE_ZONE, clock_time, date_alone, date_time, seconds_between, zone

_LOG = logging.getLogger(__name__)
_SAME_S = 1.0  # two statements of one moment may differ by this
_GIVE_TIME = "Give the time of administration with --administered-at, as 2018-11-15T09:22:00"


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
    if clock is not None and (day := date_alone(drug, "RadiopharmaceuticalStartDateTime")) is not None:
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
                remedy=f"{GIVE_ZONE}, or give --administered-at, whose offset then counts",
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
