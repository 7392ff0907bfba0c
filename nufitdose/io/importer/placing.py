"""CT series and structures put to the time points they belong to; what fits none is listed and does not stop."""

import logging
from collections.abc import Sequence
from pathlib import Path

from nufitdose.errors import InputError
from nufitdose.io.dicom.read.images import ImageSeries
from nufitdose.io.dicom.read.series import Kind
from nufitdose.io.importer.candidates import Candidate, Place
from nufitdose.io.importer.match import CTOffer, drawn_on, matching_ct
from nufitdose.io.structures import read_structure_objects, references

_LOG = logging.getLogger(__name__)


def place_ct(places: Sequence[Place], candidates: Sequence[Candidate], problems: list[InputError]) -> None:
    """Give each time point its CT; a CT that cannot be read is a problem only where a scan is left without one."""
    cts = [c for c in candidates if c.gathered.kind is Kind.CT and c.open and c.gathered.series is not None]
    offers = [CTOffer(c.name, c.gathered.number, c.gathered.series) for c in cts if c.gathered.series is not None]
    of: dict[int, list[str]] = {}
    undecided: set[int] = set()
    for place in places:
        try:
            found = matching_ct(place.candidate.activity(), offers)
        except InputError as problem:
            problems.append(problem)
            undecided.add(id(place))
            continue
        if found is not None:
            place.ct = found.series
            of.setdefault(id(place.ct), []).append(place.id)
    for candidate in cts:
        owners = of.get(id(candidate.gathered.series))
        candidate.use = f"CT of {' and '.join(owners)}" if owners else _why_not(candidate, places)
        if owners and len(owners) > 1:
            _LOG.warning("one CT serves %s: the patient may have moved between them", " and ".join(owners))
    bare = [place for place in places if place.ct is None and id(place) not in undecided]
    for candidate in candidates:
        if candidate.gathered.kind is Kind.CT and candidate.refusal is not None:
            if not places or any(_could_be_of(candidate, place) for place in bare):
                problems.append(_without_ct(candidate.refusal, places))
            else:
                candidate.leave_out(f"not needed; {candidate.refusal.problem}")


def _why_not(candidate: Candidate, places: Sequence[Place]) -> str:
    if any(_could_be_of(candidate, place) for place in places):
        return "skipped: another CT covers the scan better, or was made nearer in time"
    return "skipped: belongs to no activity image"


def _could_be_of(candidate: Candidate, place: Place) -> bool:
    header, series = candidate.gathered.headers[0], place.candidate.activity().series
    frame = header.text("FrameOfReferenceUID")
    return (bool(frame) and frame == series.frame_of_reference_uid) or (
        header.text("StudyInstanceUID") == series.study_uid
    )


def _without_ct(refusal: InputError, places: Sequence[Place]) -> InputError:
    if not places or "--series" in (refusal.remedy or ""):
        return refusal
    remedy = f"{refusal.remedy}. To choose another CT name it with --series NUMBER; or take this one out of the folder"
    return InputError(refusal.problem, where=refusal.where, remedy=remedy)


def place_structures(places: Sequence[Place], candidates: Sequence[Candidate], problems: list[InputError]) -> None:
    """Give each time point the structure objects drawn on its images, and read what is in them."""
    refused = {c.gathered.uid for c in candidates if c.refusal is not None}
    used = {p.id: [p.candidate.activity().series, *([p.ct] if p.ct else [])] for p in places}
    for candidate in candidates:
        if candidate.gathered.kind is not Kind.STRUCTURES or not candidate.open:
            continue
        path = candidate.gathered.headers[0].path
        try:
            found = references(path)
        except InputError as reason:
            _leave_out(candidate, reason)
            continue
        if found.series_uids & refused:
            candidate.use = "skipped: the images it was drawn on are refused"
        elif not places:
            candidate.use = "skipped: no activity image to go with"
        else:
            _place_one(candidate, path, places, used)


def _place_one(candidate: Candidate, path: Path, places: Sequence[Place], used: dict[str, list[ImageSeries]]) -> None:
    """Put one object to its time point; one whose structures cannot be read is left out with a warning."""
    try:
        place_id, series = drawn_on(references(path), used)
        structures = read_structure_objects([path], series)
    except InputError as reason:
        _leave_out(candidate, reason)
        return
    if structures is None:
        candidate.use = "skipped: none of its structures can be used (see the warnings)"
        return
    candidate.structures = tuple(
        (name, structures.role(name), structures.volume_ml(name)) for name in structures.present()
    )
    next(p for p in places if p.id == place_id).structures.append((path, series))
    candidate.use = f"structures of {place_id}"


def _leave_out(candidate: Candidate, reason: InputError) -> None:
    candidate.leave_out(reason.problem)
    _LOG.warning("%s", reason)
