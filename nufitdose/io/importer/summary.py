"""What is told of an import: its rows, its files, and what run.json keeps of it."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nufitdose.errors import InputError
from nufitdose.io.dicom.read.find import Found
from nufitdose.io.importer.administration import Treatment
from nufitdose.io.importer.candidates import Candidate, Place
from nufitdose.io.importer.plan import ImportPlan, SeriesRow


def row_of(candidate: Candidate) -> SeriesRow:
    """The row of a series."""
    header = candidate.gathered.headers[0]
    series = candidate.activity().series if candidate.beds else candidate.gathered.series
    sources = dict(candidate.scan.sources()) if candidate.scan else {}
    if candidate.undone is not None:
        sources["decay"] = f"{candidate.undone.correction}: {candidate.undone.reference}"
    return SeriesRow(
        series_uid=candidate.gathered.uid,
        modality=header.modality,
        description=header.text("SeriesDescription"),
        files=len({h.path for h in candidate.gathered.headers}),
        hours=candidate.hours,
        matrix=series.grid.shape if series else None,
        spacing_mm=series.grid.spacing_mm if series else None,
        orientation=series.grid.axis_codes if series else None,
        units=candidate.units,
        total_mbq=candidate.total_mbq,
        use=candidate.use or "undecided",
        number=candidate.gathered.number,
        sources=sources,
        structures=candidate.structures,
        remedy=candidate.refusal.remedy if candidate.refusal else None,
    )


def facts_of(plan: ImportPlan, warnings: Sequence[str]) -> dict[str, Any]:
    """The series, what is made of them, why it is refused where it is, and the warnings."""
    return {
        "series": [asdict(row) for row in plan.series],
        "treatment": plan.record(),
        "refusal": None if plan.refusal is None else _in_parts(plan.refusal),
        "warnings": list(warnings),
    }


def facts_of_refusal(refusal: InputError) -> dict[str, Any]:
    """The same where no series could be listed."""
    return {"series": [], "treatment": None, "refusal": _in_parts(refusal), "warnings": []}


def _in_parts(refusal: InputError) -> dict[str, str | None]:
    return {"problem": refusal.problem, "where": refusal.where, "remedy": refusal.remedy}


def files_of(places: Sequence[Place]) -> Iterator[Path]:
    """The files a study is made of."""
    for place in places:
        yield from place.candidate.activity().series.files
        yield from place.ct.files if place.ct else ()
        yield from (drawn.path for drawn in place.structures)


def record_of(
    places: Sequence[Place],
    treatment: Treatment | None,
    candidates: Sequence[Candidate],
    found: Found,
    statements: Sequence[str],
) -> dict[str, Any]:
    """What was used and how, what was not used and why, for run.json."""
    timepoints = {
        place.id: {
            **place.candidate.activity().record(),
            **(place.candidate.undone.record() if place.candidate.undone else {}),
            "hours_after_administration": place.candidate.hours,
            "total_mbq": place.candidate.total_mbq,
            "ct": place.ct.series_uid if place.ct else None,
            "structures": [drawn.path.name for drawn in place.structures],
        }
        for place in places
    }
    given = treatment.administration if treatment else None
    return {
        "nuclide": treatment.nuclide if treatment else "",
        "administered_mbq": given.activity_mbq if given else None,
        "administered_at": given.time.isoformat() if given and given.time else None,
        "sources": treatment.sources if treatment else {},
        "statements": list(statements),
        "timepoints": timepoints,
        "not_used": [
            {"series": c.gathered.uid, "number": c.gathered.number, "modality": c.gathered.headers[0].modality,
             "why": c.use}
            for c in candidates
            if c.use.startswith(("skipped", "refused"))
        ],
        "other_files": found.other_files,
        "copies_left_out": len(found.copies),
        "links_not_followed": [str(path) for path in found.links],
        "unreadable": [str(path) for path in (*found.unreadable, *(one.path for one in found.damaged))],
    }  # fmt: skip
