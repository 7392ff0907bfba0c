"""Which of several images of one acquisition is taken: what is not needed never stops the import.

Of reconstructions of one acquisition the best is taken, in this order: attenuation-corrected before not; in Bq/mL by
the file before by a factor or from SUV; scatter-corrected before not; original before derived. Where two are equal
in all of that, the user has to name one. A series that cannot be read is not needed where another one of its
acquisition is taken.
"""

from collections.abc import Sequence
from datetime import datetime

from nufitdose.errors import InputError
from nufitdose.io.dicom.read.activity import ActivityScan
from nufitdose.io.dicom.read.series import Kind
from nufitdose.io.dicom.read.times import acquisition_time
from nufitdose.io.importer.candidates import Candidate

_SHORTEST_S = 60.0
_WHY = (
    "it is not attenuation-corrected",
    "it is not in Bq/mL by itself",
    "it is not scatter-corrected",
    "it is a derived image",
)


def take_the_best(scans: Sequence[Candidate]) -> list[Candidate]:
    """The scans without those that are worse images of the acquisition of another one; `scans` in order of time."""
    kept: list[Candidate] = []
    for candidate in scans:
        twin = next((other for other in kept if same_acquisition(other.activity(), candidate.activity())), None)
        if twin is None or _rank(twin) == _rank(candidate):
            kept.append(candidate)
        elif _rank(candidate) > _rank(twin):
            kept[kept.index(twin)] = candidate
            _leave_out(twin, candidate)
        else:
            _leave_out(candidate, twin)
    return kept


def leave_out_twins(candidates: Sequence[Candidate], scans: Sequence[Candidate]) -> None:
    """Leave out activity series that cannot be read where a scan of their acquisition is taken."""
    for candidate in candidates:
        if candidate.gathered.kind is not Kind.ACTIVITY or candidate.refusal is None:
            continue
        made = _when_made(candidate)
        for scan in scans:
            if made is not None and _during(scan.activity(), made):
                problem = candidate.refusal.problem
                candidate.leave_out(f"{scan.name} is of the same acquisition; here: {problem}")
                break


def same_acquisition(early: ActivityScan, late: ActivityScan) -> bool:
    """Whether two scans overlap in time; `early` is not the later one."""
    return _during(early, late.timing.started)


def go_on_without(refusal: InputError, scans: Sequence[Candidate]) -> InputError:
    """The refusal of a series with how to go on without it, where there are others."""
    if not scans or "--series" in (refusal.remedy or ""):
        return refusal
    names = " ".join(f"--series {candidate.gathered.number}" for candidate in scans)
    remedy = f"{refusal.remedy}. Or" if refusal.remedy else "To"
    return InputError(refusal.problem, where=refusal.where, remedy=f"{remedy} go on without it: {names}")


def _rank(candidate: Candidate) -> tuple[bool, bool, bool, bool]:
    scan = candidate.activity()
    return (
        not scan.uncorrected,
        scan.units == "BQML" or scan.calibration.how.startswith("RealWorldValueMapping"),
        scan.corrections is None or "SCAT" in scan.corrections,
        (*scan.series.header.image_type(), "ORIGINAL")[0] != "DERIVED",
    )


def _leave_out(worse: Candidate, better: Candidate) -> None:
    first = next(n for n, (a, b) in enumerate(zip(_rank(worse), _rank(better), strict=True)) if a != b)
    worse.leave_out(f"{better.name} is of the same acquisition, and {_WHY[first]}")


def _during(scan: ActivityScan, moment: datetime) -> bool:
    started, ended = scan.timing.started, scan.timing.ended
    if (started.tzinfo is None) != (moment.tzinfo is None):
        return False
    after_s = (moment - started).total_seconds()
    return -_SHORTEST_S < after_s < max((ended - started).total_seconds(), _SHORTEST_S)


def _when_made(candidate: Candidate) -> datetime | None:
    try:
        return acquisition_time(candidate.gathered.headers[0])[0]
    except InputError:
        return None
