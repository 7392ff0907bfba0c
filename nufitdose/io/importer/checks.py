"""Whether scans can be time points of one treatment: beds, calibration, corrections, times and totals."""

import logging
import math
from collections.abc import Sequence
from datetime import datetime

from nufitdose.errors import InputError
from nufitdose.io.dicom.read.times import seconds_between
from nufitdose.io.importer.administration import NOMINAL
from nufitdose.io.importer.candidates import Candidate
from nufitdose.io.importer.choose import same_acquisition
from nufitdose.io.importer.match import look_like_beds
from nufitdose.nuclides import half_life_h
from nufitdose.study import LEAST_OF_ADMINISTERED, MOST_OF_ADMINISTERED, Administration

_LOG = logging.getLogger(__name__)
_MOST_HALF_LIVES = 10.0  # a thousandth is left then: no scan is made later than this
_ABSURD = 3.0  # times what decay leaves of the administered activity: no calibration is off by so much
_ABSURDLY_LITTLE = 1e-6  # of it: Bq taken for MBq
_SAME_DURATION = 0.02


def check_separate(scans: Sequence[Candidate]) -> None:
    """Refuse scans that are not time points of their own: reconstructions or beds of one acquisition.

    `scans` in order of time. Two acquisitions that overlap in time are one; two that follow each other
    within two hours over different regions look like beds.
    """
    for n, early in enumerate(scans):
        for late in scans[n + 1 :]:
            _check_pair(early, late)


def _check_pair(early: Candidate, late: Candidate) -> None:
    one, other = early.activity(), late.activity()
    names, choose = f"{early.name} and {late.name}", f"{early.gathered.number} or {late.gathered.number}"
    if same_acquisition(one, other):
        raise InputError(
            f"{names} are of one acquisition, {one.timing.started.isoformat()}: reconstructions of one scan are not "
            "two time points",
            where=other.series.header.path,
            remedy=f"Name the series to take with --series: {choose}",
        )
    if look_like_beds(one, other):
        gap_s = seconds_between(other.timing.started, one.timing.started, other.series.header)
        raise InputError(
            f"{names} were acquired {gap_s / 60:.0f} min apart over different regions: they look like beds of one "
            "scan, not two time points",
            where=other.series.header.path,
            remedy=f"Join them with --join-beds, export them joined, or take one with --series: {choose}",
        )


def check_corrections(candidate: Candidate) -> None:
    """Refuse values without attenuation correction, unless the user insists; mention missing scatter correction."""
    scan = candidate.activity()
    listed = ", ".join(sorted(scan.corrections or ())) or "nothing"
    if scan.uncorrected:
        if not candidate.given.accept_uncorrected:
            raise InputError(
                f"CorrectedImage (0028,0051) lists {listed}, not ATTN: without attenuation correction the values are "
                "no activity concentrations",
                where=scan.series.where,
                remedy="Import the attenuation-corrected series; to insist on this one give --accept-uncorrected, "
                f"or --for {candidate.gathered.number} accept_uncorrected=true, which the study then records",
            )
        _LOG.warning("%s is not attenuation-corrected and was taken all the same, as given", scan.series.where)
    elif scan.corrections is not None and "SCAT" not in scan.corrections:
        _LOG.warning(
            "%s: CorrectedImage (0028,0051) lists %s, not SCAT: without scatter correction the activity is too high",
            scan.series.where,
            listed,
        )


def check_one_factor(scans: Sequence[Candidate]) -> None:
    """Refuse one factor per count for scans of different duration: counts grow with the time they are collected."""
    shared = [
        c
        for c in scans
        if c.activity().calibration.per_count and "calibration" in c.given.for_all and c.units not in {"CPS", "PROPCPS"}
    ]
    lasted = {id(c): (c.activity().timing.ended - c.activity().timing.started).total_seconds() for c in shared}
    known = [c for c in shared if lasted[id(c)] > 0.0]
    if len(shared) > 1 and len(known) < len(shared):
        _LOG.warning(
            "one calibration factor is used for %d scans whose durations are not all known: it holds only where they "
            "lasted equally long",
            len(shared),
        )
    for candidate in known[1:]:
        first, this = lasted[id(known[0])], lasted[id(candidate)]
        if abs(this / first - 1.0) > _SAME_DURATION:
            raise InputError(
                "one calibration factor was given for scans of different duration: "
                f"{known[0].name} lasted {first:g} s, {candidate.name} {this:g} s, and a count is worth as much less",
                where=candidate.activity().series.where,
                remedy=f"Give each scan its own, as --for {candidate.gathered.number} calibration=..., or the camera's "
                "--sensitivity in cps/MBq",
            )


def check_time(candidate: Candidate, administered: datetime, nuclide: str) -> None:
    """Refuse a scan so late that nothing would be left of the activity."""
    hours, half_life = candidate.hours or 0.0, half_life_h(nuclide)
    if hours > _MOST_HALF_LIVES * half_life and not candidate.given.accept_implausible:
        raise InputError(
            f"the scan of {candidate.activity().timing.started.isoformat()} is {hours:.1f} h or "
            f"{hours / half_life:.1f} half-lives of {nuclide} after the administration at "
            f"{administered.isoformat()}: one of the two dates, or the nuclide, must be wrong",
            where=candidate.activity().series.where,
            remedy="Give the right ones with --administered-at, --acquired-at or --nuclide; insist with "
            "--accept-implausible",
        )


def check_total(candidate: Candidate, administration: Administration, administered: datetime, nuclide: str) -> None:
    """Compare the total of a scan with what decay leaves of the administered activity, in both directions."""
    scan, total, hours = candidate.activity(), candidate.total_mbq or 0.0, candidate.hours or 0.0
    left = administration.left_mbq(hours, half_life_h(nuclide))
    if not (math.isfinite(total) and total > 0.0):
        raise InputError(f"the image holds {total:.3g} MBq, no activity", where=scan.series.where)
    dates = f"administered {administered.isoformat()}, scanned {scan.timing.started.isoformat()}"
    if administered == NOMINAL:
        dates = f"{hours:g} h after administration, as given"
    if total > MOST_OF_ADMINISTERED * left:
        _LOG.warning(
            "%s holds %.4g MBq, but only %.4g MBq of the administered activity are left: check units and calibration",
            scan.series.where,
            total,
            left,
        )
    elif total < LEAST_OF_ADMINISTERED * left:
        _LOG.warning(
            "%s holds %.4g MBq, %.2g %% of the %.4g MBq that decay leaves of the administered activity: check units, "
            "calibration and dates (%s)",
            scan.series.where, total, 100.0 * total / left, left, dates,
        )  # fmt: skip
    if not _ABSURDLY_LITTLE < total / left < _ABSURD and not candidate.given.accept_implausible:
        raise InputError(
            f"the image holds {total:.4g} MBq, where decay leaves {left:.4g} MBq of the "
            f"{administration.activity_mbq:g} MBq administered ({dates}): a factor of {total / left:.3g} cannot be",
            where=scan.series.where,
            remedy="Check units, calibration, administered activity and both dates (--calibration, "
            "--administered-mbq, --administered-at, --acquired-at); insist with --accept-implausible",
        )
