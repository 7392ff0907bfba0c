"""The one treatment behind all series: patient, nuclide, administered activity and its time."""

import logging
from collections.abc import Sequence

from nufitdose.errors import InputError
from nufitdose.io.dicom.read.activity import ActivityScan
from nufitdose.io.dicom.read.headers import Header
from nufitdose.io.dicom.read.isotope import nuclide_of
from nufitdose.io.dicom.read.times import administration_time
from nufitdose.io.importer.plan import ImportOptions
from nufitdose.study import Administration

_LOG = logging.getLogger(__name__)
_SAME_ACTIVITY = 0.001


def one_patient(headers: Sequence[Header], given: str | None) -> str:
    """The one patient of all objects: the name given by the user, or PatientID (0010,0020).

    Objects must agree in PatientID and birth date, where they state them, and in the name where no object
    has a PatientID. Names and birth dates are compared and never shown.
    """
    known = _stated(headers, "PatientID", shown=True)
    _stated(headers, "PatientBirthDate", shown=False)
    if not known:
        _stated(headers, "PatientName", shown=False)
    patient = given or next((header.text("PatientID") for header in known.values()), "")
    if not patient:
        raise headers[0].missing("PatientID", "Give a name for the patient with --patient")
    return patient


def _stated(headers: Sequence[Header], keyword: str, *, shown: bool) -> dict[str, Header]:
    """The different values of an attribute, of which there may be one."""
    first: dict[str, Header] = {}
    for header in headers:
        if value := header.text(keyword).upper():
            first.setdefault(value, header)
    if len(first) > 1:
        one, other = list(first.values())[:2]
        which = f" ({', '.join(sorted(first))})" if shown else ""
        raise InputError(
            f"the folder holds images of two patients: {keyword} differs from that of {one.path}{which}",
            where=other.path,
            remedy="Import one patient at a time",
        )
    return first


def administration_of(scans: Sequence[ActivityScan], options: ImportOptions) -> tuple[str, Administration]:
    """What all scans agree was given, and when."""
    names = {nuclide_of(scan.isotope, options.nuclide, scan.series.header): scan for scan in scans}
    if len(names) > 1:
        raise InputError(
            f"the scans are of different nuclides: {', '.join(sorted(names))}",
            where=next(iter(names.values())).series.header.path,
            remedy="Import the scans of one nuclide at a time, or give the right one with --nuclide",
        )
    given = options.administered_at
    assert not isinstance(given, str)
    moment = administration_time([scan.claim for scan in scans], given)
    return next(iter(names)), Administration(_activity_mbq(scans, options.administered_mbq), moment)


def _activity_mbq(scans: Sequence[ActivityScan], given: float | None) -> float:
    stated = {id(scan): scan.isotope.activity_mbq for scan in scans}
    known = [scan for scan in scans if stated[id(scan)] is not None]
    wanted = given if given is not None else next((stated[id(scan)] for scan in known), None)
    if wanted is None:
        raise InputError(
            "RadionuclideTotalDose (0018,1074) is missing, so the administered activity is unknown",
            where=scans[0].series.header.path,
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
