"""The import from top to bottom: find the series, hear the user, choose, resolve the facts, check, put together."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from nufitdose.errors import InputError
from nufitdose.image_sources import ImageSources
from nufitdose.io.ct_values import question_ct
from nufitdose.io.dicom.read.activity import ActivityScan, hours_after
from nufitdose.io.dicom.read.copies import without_copies
from nufitdose.io.dicom.read.decay import Undone, undo_decay
from nufitdose.io.dicom.read.find import Found, find_dicom
from nufitdose.io.dicom.read.images import ImageSeries, read_ct
from nufitdose.io.dicom.read.isotope import decay_half_life_s, tracer_of
from nufitdose.io.dicom.read.registrations import read_registrations
from nufitdose.io.dicom.read.series import Kind, gather
from nufitdose.io.importer.administration import (
    Treatment,
    check_one_patient,
    counted_from,
    patient_of,
    settle_zones,
    treatment_of,
)
from nufitdose.io.importer.beds import join_beds, undo_each
from nufitdose.io.importer.candidates import (
    Candidate,
    Place,
    candidate_of,
    in_order,
    noting,
    read_scans,
    take_asked_for,
)
from nufitdose.io.importer.checks import check_corrections, check_one_factor, check_separate, check_time, check_total
from nufitdose.io.importer.choose import go_on_without, leave_out_twins, take_the_best
from nufitdose.io.importer.identity import Redaction, carried_attributes, is_renamed
from nufitdose.io.importer.match import read_structures
from nufitdose.io.importer.options import ImportOptions
from nufitdose.io.importer.placing import place_ct, place_structures
from nufitdose.io.importer.plan import ImportPlan, SeriesRow
from nufitdose.io.importer.statements import statements_of
from nufitdose.io.importer.summary import files_of, record_of, row_of
from nufitdose.io.importer.writing import write_study
from nufitdose.progress import OnProgress
from nufitdose.study import Study, TimePoint
from nufitdose.types import PerVoxel
from nufitdose.volume import Volume

__all__ = ["ImportOptions", "ImportPlan", "SeriesRow", "plan_import", "write_study"]
_LOG = logging.getLogger(__name__)


def plan_import(
    folder: Path, options: ImportOptions | None = None, on_progress: OnProgress = lambda share: None
) -> ImportPlan:
    """Look at a folder of DICOM files and plan the study they make.

    What makes a single series unusable stands in its row and, where the series would have been needed, in
    `refusal`; so does what makes the study impossible. Raises `InputError` only where the folder holds no
    readable DICOM.
    """
    options = options or ImportOptions()
    found = without_copies(find_dicom(Path(folder), lambda share: on_progress(0.3 * share)))
    problems: list[InputError] = []
    gathered = gather(found.headers, options.given_for, found.incomplete)
    candidates = [candidate_of(g, options.given_for(g.uids)) for g in gathered]
    with noting(problems):
        check_one_patient(found.headers, options.patient)
    with noting(problems):
        take_asked_for(candidates, options)
    scans = _scans(candidates, options, problems)
    if not scans and not problems:
        problems.append(_nothing(folder, candidates))
    treatment, places = _timepoints(scans, options, problems, lambda share: on_progress(0.3 + 0.2 * share))
    place_ct(places, candidates, problems)
    moved = read_registrations(found.headers)
    place_structures(places, candidates, moved, lambda share: on_progress(0.5 + 0.5 * share))
    for place in places:
        place.candidate.use = f"activity of {place.id}"
    study, redaction = None, None
    with noting(problems):
        renamed = is_renamed(found.headers, options)
        patient = patient_of(found.headers, options.patient)
        statements = statements_of(places, treatment, options, found.headers)
        if not problems and treatment is not None:
            study = _study(patient, treatment, places, options, statements, renamed=renamed)
        redaction = Redaction(found.headers, patient) if renamed else None
    on_progress(1.0)
    _mention_what_was_passed_over(found)
    _mention_fewer_scans(candidates, places)
    rows = tuple(row_of(candidate) for candidate in candidates)
    record = record_of(places, treatment, candidates, found, statements_of(places, treatment, options, found.headers))
    return ImportPlan(
        rows, problems[0] if problems else None, study, tuple(files_of(places)), record, options, redaction
    )


def _scans(candidates: Sequence[Candidate], options: ImportOptions, problems: list[InputError]) -> list[Candidate]:
    """The activity series that are scans of their own, in order of time; what is needed and refused is a problem."""
    wanted = [c for c in candidates if c.gathered.kind is Kind.ACTIVITY and c.open]
    scans = read_scans(candidates, counted_from(wanted, options))
    if scans and options.given_calibration and not any(c.activity().calibration.by_option for c in scans):
        _LOG.warning("a calibration was given, but every image is in Bq/mL already: it is not used")
    settle_zones(scans, options)
    scans = take_the_best(in_order(scans))
    leave_out_twins(candidates, scans)
    for candidate in scans:
        try:
            check_corrections(candidate)
        except InputError as refusal:
            candidate.refuse(refusal)
    kept = [candidate for candidate in scans if candidate.refusal is None]
    refused = [c for c in candidates if c.gathered.kind is Kind.ACTIVITY and c.refusal]
    problems += [go_on_without(c.refusal, kept) for c in refused if c.refusal]
    return kept


def _timepoints(
    scans: Sequence[Candidate], options: ImportOptions, problems: list[InputError], on_progress: OnProgress
) -> tuple[Treatment | None, list[Place]]:
    """What was given, and the time points: each scan quantified and checked."""
    if not scans:
        return None, []
    places: list[Place] = []
    if options.join_beds:
        with noting(problems):
            scans = join_beds(scans)
    with noting(problems):
        check_separate(scans)
    with noting(problems):
        check_one_factor(scans)
    try:
        treatment = treatment_of(scans, options)
    except InputError as problem:
        problems.append(problem)
        return None, []
    for number, candidate in enumerate(scans, start=1):
        try:
            _quantify(candidate, treatment, options)
            places.append(Place(f"tp{len(places) + 1}", candidate))
        except InputError as refusal:
            candidate.refuse(refusal)
            problems.append(refusal)
        on_progress(number / len(scans))
    return treatment, places


def _quantify(candidate: Candidate, treatment: Treatment, options: ImportOptions) -> None:
    """Undo the decay correction of a scan and measure its total; pixels are read and let go."""
    scan, given = candidate.activity(), candidate.given
    candidate.hours = hours_after(scan.timing.started, treatment.clock)
    check_time(candidate, treatment.clock, treatment.nuclide)
    header = scan.series.header
    half_life_s = decay_half_life_s(scan.isotope, treatment.nuclide, header, given=options.nuclide is not None)
    reference = treatment.clock if given.hours is not None else scan.claim.moment or treatment.clock
    overrule = given.for_this("decay_correction")

    def undo(bed: ActivityScan) -> Undone:
        when, option = bed.when_corrected(), given.decay_correction
        return undo_decay(
            bed.series, when, reference, half_life_s, option, overrule=overrule, acquired=bed.timing.started
        )

    candidate.undone = undo_each(candidate, undo)
    candidate.total_mbq = scan.read(candidate.undone).total_mbq()
    check_total(candidate, treatment.administration, treatment.clock, treatment.nuclide)


def _nothing(folder: Path, candidates: Sequence[Candidate]) -> InputError:
    kinds = sorted({c.gathered.headers[0].modality or "unknown" for c in candidates})
    passed = [c for c in candidates if c.gathered.kind is Kind.ACTIVITY and c.use.startswith("skipped: NM image")]
    raw = f" ({passed[0].name}: {passed[0].use.removeprefix('skipped: ')})" if passed else ""
    way = f", or --for {passed[0].gathered.number} reconstruction=true if it is one" if passed else ""
    return InputError(
        f"no activity image (PT, or reconstructed NM) was found, only {', '.join(kinds)}{raw}",
        where=folder,
        remedy=f"A study needs at least one quantitative PET or SPECT series; put it into the folder{way}",
    )


def _mention_what_was_passed_over(found: Found) -> None:
    for what, paths in (
        ("links were not followed", found.links),
        ("folders could not be read", found.unreadable),
        ("files could not be read", [one.path for one in found.damaged]),
    ):
        if paths:
            shown = ", ".join(str(path) for path in paths[:5]) + (" ..." if len(paths) > 5 else "")
            _LOG.warning("%d %s: %s", len(paths), what, shown)


def _mention_fewer_scans(candidates: Sequence[Candidate], places: Sequence[Place]) -> None:
    left = [
        c for c in candidates if c.gathered.kind is Kind.ACTIVITY and c.use == "skipped: not among the series asked for"
    ]
    if left and places:
        _LOG.warning(
            "the study has %d time point%s; the folder holds more activity series: %s",
            len(places), "" if len(places) == 1 else "s", ", ".join(c.name for c in left),
        )  # fmt: skip


def _study(
    patient: str,
    treatment: Treatment,
    places: Sequence[Place],
    options: ImportOptions,
    statements: Sequence[str],
    *,
    renamed: bool,
) -> Study:
    reference_id = options.reference or places[0].id
    reference = next((place for place in places if place.id == reference_id), None)
    if reference is None:
        raise InputError(
            f"the reference time point {reference_id!r} was given, there are {', '.join(p.id for p in places)}",
            remedy="Time points are numbered tp1, tp2, ... in order of time",
        )
    header = reference.candidate.activity().series.header
    return Study(
        patient=patient,
        nuclide=treatment.nuclide,
        administration=treatment.administration,
        reference_id=reference_id,
        timepoints=tuple(_timepoint(place, renamed=renamed) for place in places),
        dicom=carried_attributes(header, options, renamed=renamed),
        statements=tuple(statements),
        tracer=tracer_of(header, treatment.nuclide),
    )


def _timepoint(place: Place, *, renamed: bool) -> TimePoint:
    undone, hours = place.candidate.undone, place.candidate.hours
    assert undone is not None
    assert hours is not None
    return TimePoint(
        place.id,
        hours,
        partial(place.candidate.activity().read, undone),
        partial(_checked_ct, place.ct) if place.ct else None,
        partial(read_structures, place.structures) if place.structures else None,
        _slice_offsets_h(place.candidate.activity()),
        None if place.candidate.beds else _sources(place, renamed=renamed),
    )


def _sources(place: Place, *, renamed: bool) -> ImageSources:
    series = place.candidate.activity().series
    found = ImageSources(series.source(), place.ct.source() if place.ct else None)
    return found.renamed() if renamed else found


def _checked_ct(series: ImageSeries) -> Volume:
    ct = read_ct(series)
    question_ct(ct, series.where)
    return ct


def _slice_offsets_h(scan: ActivityScan) -> PerVoxel | None:
    """When after the start of the scan the frame of each slice began, [k]; None where all began together."""
    offsets_s = scan.timing.offsets_s
    return offsets_s / 3600.0 if np.ptp(offsets_s) > 0.0 else None
