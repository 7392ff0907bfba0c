"""What the user said against, or beside, the files: one line a statement, kept in the study and shown in reports."""

from collections.abc import Sequence

from nufitdose.io.dicom.read.headers import Header
from nufitdose.io.importer.administration import Treatment
from nufitdose.io.importer.candidates import Place
from nufitdose.io.importer.facts import FACTS
from nufitdose.io.importer.options import ImportOptions


def statements_of(
    places: Sequence[Place], treatment: Treatment | None, options: ImportOptions, headers: Sequence[Header]
) -> list[str]:
    """Every statement of the user that was used: what was given, by which option, what the file says."""
    found = []
    stated = {header.text("PatientID") for header in headers} - {""}
    if options.patient is not None and stated and stated != {options.patient}:
        found.append(f"patient {options.patient} as given with --patient; the files name another")
    if treatment is not None:
        found += _of_treatment(places, treatment, options)
    for place in places:
        found += _of_scan(place)
    return found


def _of_treatment(places: Sequence[Place], treatment: Treatment, options: ImportOptions) -> list[str]:
    found, scans = [], [place.candidate.activity() for place in places]
    if options.nuclide is not None:
        named = {scan.isotope.nuclide for scan in scans} - {None, treatment.nuclide}
        found.append(_line(f"nuclide {treatment.nuclide}", "--nuclide", ", ".join(sorted(map(str, named)))))
    if options.administered_mbq is not None:
        said = {scan.isotope.activity_mbq for scan in scans} - {None, options.administered_mbq}
        text = ", ".join(f"{mbq:g} MBq" for mbq in sorted(mbq for mbq in said if mbq is not None))
        found.append(_line(f"administered activity {options.administered_mbq:g} MBq", "--administered-mbq", text))
    if options.given_at is not None:
        told = {scan.claim.moment.isoformat() for scan in scans if scan.claim.moment is not None}
        told -= {options.given_at.isoformat()}
        found.append(_line(f"administered at {options.given_at.isoformat()}", "--administered-at", ", ".join(told)))
    return found


def _of_scan(place: Place) -> list[str]:
    given, scan = place.candidate.given, place.candidate.activity()
    if place.candidate.beds:
        return [_line(f"{place.id}: {len(place.candidate.beds)} series joined as beds", "--join-beds", "")]
    in_file = {
        "acquired_at": scan.in_file.started.isoformat() if scan.in_file else "",
        "hours": scan.in_file.started.isoformat() if scan.in_file else "",
        "decay_correction": scan.series.header.text("DecayCorrection"),
        "slice_step_mm": scan.series.header.text("SpacingBetweenSlices"),
        "accept_uncorrected": "CorrectedImage lists " + ", ".join(sorted(scan.corrections or ())),
        "calibration": scan.series.header.text("Units"),
    }
    found = []
    for name, fact in FACTS.items():
        value = getattr(given, name)
        idle = name in {"calibration", "sensitivity"} and not scan.calibration.by_option
        idle |= name == "accept_uncorrected" and not scan.uncorrected
        if value is None or value is False or idle:
            continue
        words = f"{place.id}: {name.replace('_', ' ')} {fact.show(value)}"
        found.append(_line(words, given.source(name), in_file.get(name, "")))
    return found


def _line(what: str, option: str, in_file: str) -> str:
    return f"{what} as given with {option}" + (f"; the file says {in_file}" if in_file else "")
