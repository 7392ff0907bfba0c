"""The import: what each DICOM series of a folder is, what is done with it, and the study they make."""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nufitdose.errors import InputError
from nufitdose.io.dicom.read.activity import ActivityScan, activity_scan, hours_after
from nufitdose.io.dicom.read.decay import Undone, undo_decay
from nufitdose.io.dicom.read.headers import find_dicom
from nufitdose.io.dicom.read.images import ImageSeries, read_ct
from nufitdose.io.dicom.read.isotope import decay_half_life_s
from nufitdose.io.dicom.read.series import Gathered, Kind, gather
from nufitdose.io.importer.administration import administration_of, one_patient
from nufitdose.io.importer.match import check_separate, drawn_on, matching_ct, read_structures
from nufitdose.io.importer.plan import ImportOptions, ImportPlan, SeriesRow
from nufitdose.io.structures import references
from nufitdose.io.study_folder import save_study
from nufitdose.nuclides import half_life_h
from nufitdose.study import MOST_OF_ADMINISTERED, Administration, Study, TimePoint
from nufitdose.types import PerVoxel

__all__ = ["ImportOptions", "ImportPlan", "SeriesRow", "plan_import", "write_study"]
_LOG = logging.getLogger(__name__)
_REPEATED = (
    "PatientID",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "SeriesInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
)


@dataclass(eq=False)
class _Candidate:
    """A series on its way into the study."""

    gathered: Gathered
    refusal: InputError | None
    use: str
    scan: ActivityScan | None = None
    undone: Undone | None = None
    hours: float | None = None
    total_mbq: float | None = None
    units: str = ""

    @property
    def open(self) -> bool:
        return self.refusal is None and not self.use

    def refuse(self, refusal: InputError) -> None:
        self.refusal, self.use = refusal, f"refused: {refusal.problem}"


@dataclass(eq=False)
class _Place:
    """A time point being put together."""

    id: str
    candidate: _Candidate
    ct: ImageSeries | None = None
    structures: list[tuple[Path, ImageSeries]] = field(default_factory=list)


def plan_import(
    folder: Path, options: ImportOptions | None = None, on_progress: Callable[[float], None] | None = None
) -> ImportPlan:
    """Look at a folder of DICOM files and plan the study they make.

    What makes a single series unusable stands in its row and, where the series would have been needed, in
    `refusal`; so does what makes the study impossible. Raises `InputError` only where the folder holds no
    readable DICOM.
    """
    options, tell = options or ImportOptions(), on_progress or (lambda share: None)
    found = find_dicom(Path(folder))
    tell(0.4)
    problems: list[InputError] = []
    with _noting(problems):
        patient = one_patient(found.headers, options.patient)
    candidates = [_candidate(gathered) for gathered in gather(found.headers)]
    with _noting(problems):
        _choose(candidates, options.series)
    scans = _scans(candidates, options)
    problems += [c.refusal for c in candidates if c.gathered.kind is Kind.ACTIVITY and c.refusal]
    if not scans and not problems:
        problems.append(_nothing(folder, candidates))
    places: list[_Place] = []
    administration, nuclide = None, ""
    if scans:
        with _noting(problems):
            check_separate([_scan(c) for c in scans])
        with _noting(problems):
            nuclide, administration = administration_of([_scan(c) for c in scans], options)
    if administration is not None:
        for number, candidate in enumerate(scans):
            try:
                _quantify(candidate, administration, nuclide, options)
                places.append(_Place(f"tp{len(places) + 1}", candidate))
            except InputError as refusal:
                candidate.refuse(refusal)
                problems.append(refusal)
            tell(0.4 + 0.6 * (number + 1) / len(scans))
    _place_ct(places, candidates, problems)
    _place_structures(places, candidates, problems)
    for place in places:
        place.candidate.use = f"activity of {place.id}"
    study = None
    if not problems and administration is not None:
        with _noting(problems):
            study = _study(patient, nuclide, administration, places, options)
    record = _record(places, nuclide, administration, candidates, found.other_files, len(found.copies))
    rows = tuple(_row(candidate) for candidate in candidates)
    return ImportPlan(rows, problems[0] if problems else None, study, tuple(_files(places)), record)


def write_study(plan: ImportPlan, out: Path) -> Path:
    """Write the planned study as a study folder; returns its manifest."""
    return save_study(plan.study, out)


@contextmanager
def _noting(problems: list[InputError]) -> Iterator[None]:
    try:
        yield
    except InputError as problem:
        problems.append(problem)


def _candidate(gathered: Gathered) -> _Candidate:
    candidate = _Candidate(gathered, None, f"skipped: {gathered.skipped}" if gathered.skipped else "")
    candidate.units = "HU" if gathered.kind is Kind.CT else ""
    if gathered.refusal:
        candidate.refuse(gathered.refusal)
    return candidate


def _choose(candidates: Sequence[_Candidate], uids: Sequence[str]) -> None:
    unknown = [uid for uid in uids if not any(uid in c.gathered.uids for c in candidates)]
    if unknown:
        raise InputError(
            f"the series {unknown[0]} is not in the folder", remedy="Run with --dry-run to see what is there"
        )
    named = {c.gathered.kind for c in candidates if not c.gathered.uids.isdisjoint(uids)}
    for candidate in candidates:
        if candidate.gathered.kind in named and candidate.gathered.uids.isdisjoint(uids):
            candidate.refusal, candidate.use = None, "skipped: not among the series asked for"


def _scans(candidates: Sequence[_Candidate], options: ImportOptions) -> list[_Candidate]:
    """Activity series that can be read, in order of time."""
    scans = []
    for candidate in candidates:
        series = candidate.gathered.series
        if not candidate.open or candidate.gathered.kind is not Kind.ACTIVITY or series is None:
            continue
        candidate.units = series.header.text("Units") or "counts"
        try:
            candidate.scan = activity_scan(series, options.calibration)
            candidate.units = candidate.scan.units
            scans.append(candidate)
        except InputError as refusal:
            candidate.refuse(refusal)
    if scans and options.given_calibration and all(_scan(c).units == "BQML" for c in scans):
        _LOG.warning("a calibration was given, but every image is in Bq/mL already: it is not used")
    if len({_scan(c).timing.started.tzinfo is None for c in scans}) == 1:
        scans.sort(key=lambda c: _scan(c).timing.started)
    return scans


def _scan(candidate: _Candidate) -> ActivityScan:
    assert candidate.scan is not None
    return candidate.scan


def _nothing(folder: Path, candidates: Sequence[_Candidate]) -> InputError:
    kinds = sorted({c.gathered.headers[0].modality or "unknown" for c in candidates})
    return InputError(
        f"no activity image (PT, or reconstructed NM) was found, only {', '.join(kinds)}",
        where=folder,
        remedy="A study needs at least one quantitative PET or SPECT series; put it into the folder",
    )


def _quantify(candidate: _Candidate, administration: Administration, nuclide: str, options: ImportOptions) -> None:
    """Undo the decay correction of a scan and measure its total; pixels are read and let go."""
    scan, administered = _scan(candidate), administration.time
    assert administered is not None
    candidate.hours = hours_after(scan.timing.started, administered)
    half_life_s = decay_half_life_s(scan.isotope, nuclide, scan.series.header)
    file_reference = scan.claim.moment or administered
    candidate.undone = undo_decay(scan.series, scan.timing, file_reference, half_life_s, options.decay_correction)
    total = scan.read(candidate.undone).total_mbq()
    left = administration.left_mbq(candidate.hours, half_life_h(nuclide))
    if not (math.isfinite(total) and total > 0.0):
        raise InputError(f"the image holds {total:.3g} MBq, no activity", where=scan.series.where)
    if total > MOST_OF_ADMINISTERED * left:
        _LOG.warning(
            "%s holds %.4g MBq, but only %.4g MBq of the administered activity are left: check units and calibration",
            scan.series.where,
            total,
            left,
        )
    candidate.total_mbq = total


def _place_ct(places: Sequence[_Place], candidates: Sequence[_Candidate], problems: list[InputError]) -> None:
    cts = [c for c in candidates if c.gathered.kind is Kind.CT and c.open and c.gathered.series is not None]
    of: dict[int, list[str]] = {}
    for place in places:
        with _noting(problems):
            place.ct = matching_ct(_scan(place.candidate), [c.gathered.series for c in cts if c.gathered.series])
        if place.ct is not None:
            of.setdefault(id(place.ct), []).append(place.id)
    for candidate in cts:
        owners = of.get(id(candidate.gathered.series))
        candidate.use = f"CT of {' and '.join(owners)}" if owners else "skipped: belongs to no activity image"
        if owners and len(owners) > 1:
            _LOG.warning("one CT serves %s: the patient may have moved between them", " and ".join(owners))
    frames = {_scan(place.candidate).series.frame_of_reference_uid for place in places}
    for candidate in candidates:
        if candidate.gathered.kind is Kind.CT and candidate.refusal is not None:
            ours = candidate.gathered.headers[0].text("FrameOfReferenceUID") in frames
            if ours or any(place.ct is None for place in places):
                problems.append(candidate.refusal)


def _place_structures(places: Sequence[_Place], candidates: Sequence[_Candidate], problems: list[InputError]) -> None:
    refused = {c.gathered.uid for c in candidates if c.refusal is not None}
    used = {p.id: [_scan(p.candidate).series, *([p.ct] if p.ct else [])] for p in places}
    for candidate in candidates:
        if candidate.gathered.kind is not Kind.STRUCTURES or not candidate.open:
            continue
        path = candidate.gathered.headers[0].path
        try:
            found = references(path)
        except InputError as refusal:
            candidate.refuse(refusal)
            problems.append(refusal)
            continue
        if found.series_uids & refused:
            candidate.use = "skipped: the images it was drawn on are refused"
            continue
        if not places:
            candidate.use = "skipped: no activity image to go with"
            continue
        try:
            place_id, series = drawn_on(found, used)
        except InputError as reason:
            candidate.use = f"skipped: {reason.problem}"
            _LOG.warning("%s", reason)
            continue
        next(p for p in places if p.id == place_id).structures.append((path, series))
        candidate.use = f"structures of {place_id}"


def _study(
    patient: str, nuclide: str, administration: Administration, places: Sequence[_Place], options: ImportOptions
) -> Study:
    reference_id = options.reference or places[0].id
    reference = next((place for place in places if place.id == reference_id), None)
    if reference is None:
        raise InputError(
            f"the reference time point {reference_id!r} was given, there are {', '.join(p.id for p in places)}",
            remedy="Time points are numbered tp1, tp2, ... in order of time",
        )
    header = _scan(reference.candidate).series.header
    return Study(
        patient=patient,
        nuclide=nuclide,
        administration=administration,
        reference_id=reference_id,
        timepoints=tuple(_timepoint(place) for place in places),
        dicom={keyword: header.text(keyword) for keyword in _REPEATED if header.has(keyword)},
    )


def _timepoint(place: _Place) -> TimePoint:
    undone, hours = place.candidate.undone, place.candidate.hours
    assert undone is not None
    assert hours is not None
    return TimePoint(
        place.id,
        hours,
        partial(_scan(place.candidate).read, undone),
        partial(read_ct, place.ct) if place.ct else None,
        partial(read_structures, place.structures) if place.structures else None,
        _slice_offsets_h(_scan(place.candidate)),
    )


def _slice_offsets_h(scan: ActivityScan) -> PerVoxel | None:
    """When after the start of the scan the frame of each slice began, [k]; None where all began together."""
    offsets_s = scan.timing.offsets_s
    return offsets_s / 3600.0 if np.ptp(offsets_s) > 0.0 else None


def _row(candidate: _Candidate) -> SeriesRow:
    header, series = candidate.gathered.headers[0], candidate.gathered.series
    return SeriesRow(
        series_uid=candidate.gathered.uid,
        modality=header.modality,
        description=header.text("SeriesDescription"),
        files=len(candidate.gathered.headers),
        hours=candidate.hours,
        matrix=series.grid.shape if series else None,
        spacing_mm=series.grid.spacing_mm if series else None,
        orientation=series.grid.axis_codes if series else None,
        units=candidate.units,
        total_mbq=candidate.total_mbq,
        use=candidate.use,
    )


def _files(places: Sequence[_Place]) -> Iterator[Path]:
    for place in places:
        yield from _scan(place.candidate).series.files
        yield from place.ct.files if place.ct else ()
        yield from (path for path, _ in place.structures)


def _record(
    places: Sequence[_Place],
    nuclide: str,
    administration: Administration | None,
    candidates: Sequence[_Candidate],
    other_files: int,
    copies: int,
) -> dict[str, Any]:
    timepoints = {
        place.id: {
            **_scan(place.candidate).record(),
            **(place.candidate.undone.record() if place.candidate.undone else {}),
            "hours_after_administration": place.candidate.hours,
            "total_mbq": place.candidate.total_mbq,
            "ct": place.ct.series_uid if place.ct else None,
            "structures": [path.name for path, _ in place.structures],
        }
        for place in places
    }
    given = administration
    return {
        "nuclide": nuclide,
        "administered_mbq": given.activity_mbq if given else None,
        "administered_at": given.time.isoformat() if given and given.time else None,
        "timepoints": timepoints,
        "not_used": [
            {"series": c.gathered.uid, "modality": c.gathered.headers[0].modality, "why": c.use}
            for c in candidates
            if c.use.startswith(("skipped", "refused"))
        ],
        "other_files": other_files,
        "copies_left_out": copies,
    }
