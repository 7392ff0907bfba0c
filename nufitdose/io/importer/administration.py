"""The one treatment behind all series: patient, nuclide, administered activity and its time.

Each fact is resolved in one order: what the user says, else what the files say, else a refusal. Where he says it, what
the files say is not judged; where they differ, that is recorded.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from nufitdose.errors import InputError
from nufitdose.io.dicom.read.claims import administration_time
from nufitdose.io.dicom.read.headers import Header
from nufitdose.io.dicom.read.isotope import nuclide_of
from nufitdose.io.importer.candidates import Candidate
from nufitdose.io.importer.options import ImportOptions
from nufitdose.study import Administration

_LOG = logging.getLogger(__name__)
ONE_AT_A_TIME = (
    "Import one patient at a time, each from a folder of its own; only if all are of one person, name that person with "
    "--patient"
)
_SAME_ACTIVITY = 0.001
#: Stands for the time of administration where the user gives hours alone.
NOMINAL = datetime(2000, 1, 1)


@dataclass(frozen=True)
class Treatment:
    """What was given when; `sources` says of each fact where it comes from.

    `clock` is the time all scans are counted from: that of the administration, or a nominal one.
    """

    nuclide: str
    administration: Administration
    clock: datetime
    sources: dict[str, str]


def check_one_patient(headers: Sequence[Header], given: str | None) -> None:
    """Refuse images of two patients, unless the user names the patient they are all of.

    Objects must agree in PatientID and birth date, where they state them, and in the name where no object
    has a PatientID. Names and birth dates are compared and never shown.
    """
    for keyword in ("PatientID", "PatientBirthDate", *([] if _known(headers, "PatientID") else ["PatientName"])):
        known = _known(headers, keyword)
        if len(known) < 2:
            continue
        one, other = list(known.values())[:2]
        which = f" ({', '.join(sorted(known))})" if keyword == "PatientID" else ""
        problem = f"the folder holds images of two patients: {keyword} differs from that of {one.path}{which}"
        if given is None:
            raise InputError(problem, where=other.path, remedy=ONE_AT_A_TIME)
        _LOG.warning("%s; all are taken for %s, as given with --patient", problem, given)


def patient_of(headers: Sequence[Header], given: str | None) -> str:
    """The name given by the user, or PatientID (0010,0020)."""
    patient = given or next((header.text("PatientID") for header in _known(headers, "PatientID").values()), "")
    if not patient:
        raise headers[0].missing("PatientID", "Give a name for the patient with --patient")
    return patient


def _known(headers: Sequence[Header], keyword: str) -> dict[str, Header]:
    """The different values of an attribute."""
    first: dict[str, Header] = {}
    for header in headers:
        if value := header.text(keyword).upper():
            first.setdefault(value, header)
    return first


def counted_from(candidates: Sequence[Candidate], options: ImportOptions) -> datetime | None:
    """What hours given by the user count from: the administration he gives, else a nominal time; None without any."""
    if all(candidate.given.hours is None for candidate in candidates):
        return None
    return options.given_at or NOMINAL


def settle_zones(scans: Sequence[Candidate], options: ImportOptions) -> None:
    """Read times that state no offset from UTC with the one offset the user, or else the other scans, state.

    Raises `InputError` where some scans state their offset, others do not, and nothing tells which it is.
    """
    for candidate in scans:
        if candidate.given.utc_offset is not None:
            candidate.scan = candidate.activity().in_zone(candidate.given.utc_offset)
    naive = [c for c in scans if c.activity().timing.started.tzinfo is None]
    if not naive or len(naive) == len(scans):
        return
    given = options.given_at
    offset = given.utcoffset() if given is not None else None
    if given is not None and offset is None:
        stated = {c.activity().timing.started.utcoffset() for c in scans} - {None}
        offset = stated.pop() if len(stated) == 1 else None
    if offset is None:
        return  # `administration_time` refuses
    for candidate in naive:
        candidate.scan = candidate.activity().in_zone(timezone(offset))
    _LOG.warning(
        "the times of %s state no offset from UTC; they are read as local to UTC%s, as the others are",
        " and ".join(candidate.name for candidate in naive),
        timezone(offset).tzname(None)[3:],
    )


def treatment_of(scans: Sequence[Candidate], options: ImportOptions) -> Treatment:
    """What all scans agree was given, and when; what the user says goes first."""
    read = [candidate.activity() for candidate in scans]
    names = {nuclide_of(scan.isotope, options.nuclide, scan.series.header): scan for scan in read}
    if len(names) > 1:
        raise InputError(
            f"the scans are of different nuclides: {', '.join(sorted(names))}",
            where=next(iter(names.values())).series.header.path,
            remedy="Import the scans of one nuclide at a time, or give the right one with --nuclide",
        )
    sources = {
        "nuclide": "file" if options.nuclide is None else "--nuclide",
        "administered_mbq": "file" if options.administered_mbq is None else "--administered-mbq",
    }
    activity_mbq = _activity_mbq(scans, options.administered_mbq)
    by_hours = [candidate.given.hours is not None for candidate in scans]
    if options.given_at is None and any(by_hours):
        if not all(by_hours):
            late = scans[by_hours.index(False)]
            raise InputError(
                f"hours after administration were given for some scans, and not for {late.name}",
                where=late.activity().series.where,
                remedy=f"Give them for all, as --for {late.gathered.number} hours=..., or the time of administration "
                "with --administered-at",
            )
        sources["administered_at"] = "not known: hours were given"
        return Treatment(next(iter(names)), Administration(activity_mbq, None), NOMINAL, sources)
    moment = administration_time([scan.claim for scan in read], options.given_at)
    sources["administered_at"] = "file" if options.given_at is None else "--administered-at"
    return Treatment(next(iter(names)), Administration(activity_mbq, moment), moment, sources)


def _activity_mbq(scans: Sequence[Candidate], given: float | None) -> float:
    read = [candidate.activity() for candidate in scans]
    known = [scan for scan in read if scan.isotope.activity_mbq is not None]
    if given is None:
        for scan in read:
            if problem := scan.isotope.problems.get("activity_mbq"):
                raise problem
    wanted = given if given is not None else next((scan.isotope.activity_mbq for scan in known), None)
    if wanted is None:
        raise InputError(
            "RadionuclideTotalDose (0018,1074) is missing, so the administered activity is unknown",
            where=read[0].series.header.path,
            remedy="Give it with --administered-mbq",
        )
    for scan in known:
        mbq = scan.isotope.activity_mbq or 0.0
        if abs(mbq / wanted - 1.0) <= _SAME_ACTIVITY:
            continue
        if given is None:
            raise InputError(
                f"the series disagree about the administered activity: {mbq:.6g} MBq here, {wanted:.6g} MBq in "
                f"{known[0].series.header.path}",
                where=scan.series.header.path,
                remedy="Give the right one with --administered-mbq; import different administrations one by one",
            )
        _LOG.warning("%g MBq administered as given; %s says %g MBq", given, scan.series.header.path, mbq)
    return wanted
