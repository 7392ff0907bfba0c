"""CT series and structures put to the time points they belong to; what fits none is listed and does not stop."""

import logging
from collections.abc import Sequence
from pathlib import Path

from nufitdose.errors import InputError
from nufitdose.io.dicom.read.images import ImageSeries
from nufitdose.io.dicom.read.registrations import Registration
from nufitdose.io.dicom.read.series import Kind
from nufitdose.io.importer.candidates import Candidate, Place
from nufitdose.io.importer.match import CTOffer, Drawn, drawn_on, matching_ct, read_drawn
from nufitdose.io.structures import references
from nufitdose.progress import OnProgress

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


def place_structures(
    places: Sequence[Place],
    candidates: Sequence[Candidate],
    registrations: Sequence[Registration],
    on_progress: OnProgress,
) -> None:
    """Give each time point the structure objects drawn on its images, and read what is in them.

    Objects drawn on another image of the folder go where a rigid registration of its frame of reference leads.
    """
    refused = {c.gathered.uid for c in candidates if c.refusal is not None}
    used = {p.id: [p.candidate.activity().series, *([p.ct] if p.ct else [])] for p in places}
    drawn = [c for c in candidates if c.gathered.kind is Kind.STRUCTURES and c.open]
    for number, candidate in enumerate(drawn):
        on_progress(number / len(drawn))
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
            others = [c.gathered.series for c in candidates if c.gathered.series is not None]
            _place_one(candidate, places, used, others, registrations)


def _place_one(
    candidate: Candidate,
    places: Sequence[Place],
    used: dict[str, list[ImageSeries]],
    others: Sequence[ImageSeries],
    registrations: Sequence[Registration],
) -> None:
    """Put one object to its time point; one whose structures cannot be read is left out with a warning."""
    path = candidate.gathered.headers[0].path
    try:
        place_id, drawn = _where(path, used, others, registrations)
        structures = read_drawn([drawn])
    except InputError as reason:
        _leave_out(candidate, reason)
        return
    if structures is None:
        candidate.use = "skipped: none of its structures can be used (see the warnings)"
        return
    candidate.structures = tuple(
        (name, structures.role(name), structures.volume_ml(name)) for name in structures.present()
    )
    next(p for p in places if p.id == place_id).structures.append(drawn)
    candidate.use = f"structures of {place_id}"


def _where(
    path: Path,
    used: dict[str, list[ImageSeries]],
    others: Sequence[ImageSeries],
    registrations: Sequence[Registration],
) -> tuple[str, Drawn]:
    """The time point of a structure object: of the image it was drawn on, else of one that is registered with it."""
    found = references(path)
    in_use = {id(series) for several in used.values() for series in several}
    source = next((s for s in others if id(s) not in in_use and s.series_uid in found.series_uids), None)
    if (
        source is not None
        and registrations
        and not any(found.drawn_on(s) for several in used.values() for s in several)
    ):
        moved = _registered(source, used, registrations)
        if len({place_id for place_id, _ in moved}) == 1:
            place_id, drawn = moved[-1]  # onto the CT, where there is one
            _LOG.warning(
                "%s was drawn on %r, which is not used; it is brought onto %r by a registration object",
                path.name, source.description, drawn.onto.description if drawn.onto else "",
            )  # fmt: skip
            return place_id, Drawn(path, source, drawn.onto, drawn.moved)
    place_id, series = drawn_on(found, used)
    return place_id, Drawn(path, series)


def _registered(
    source: ImageSeries, used: dict[str, list[ImageSeries]], registrations: Sequence[Registration]
) -> list[tuple[str, Drawn]]:
    """The images in use that a registration brings the frame of reference of `source` to."""
    return [
        (place_id, Drawn(Path(), source, series, moved))
        for place_id, several in used.items()
        for series in several
        if source.frame_of_reference_uid != series.frame_of_reference_uid
        for registration in registrations
        if (moved := registration.between(source.frame_of_reference_uid, series.frame_of_reference_uid)) is not None
    ]


def _leave_out(candidate: Candidate, reason: InputError) -> None:
    candidate.leave_out(reason.problem)
    _LOG.warning("%s", reason)
