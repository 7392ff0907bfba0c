"""What an import writes: the study folder, and a file of facts ready to edit."""

from pathlib import Path
from typing import Any

import yaml

from nufitdose.errors import InputError
from nufitdose.files import write_whole
from nufitdose.io.importer.facts import FACTS
from nufitdose.io.importer.plan import ImportPlan, SeriesRow
from nufitdose.io.study_folder import save_study
from nufitdose.progress import OnProgress
from nufitdose.scanner import Scanner


def write_study(
    plan: ImportPlan, out: Path, scanner: Scanner | None = None, on_progress: OnProgress = lambda share: None
) -> Path:
    """Write the planned study as a study folder, its scanner described where one is given; returns its manifest."""
    study = plan.study if scanner is None else plan.study.with_scanner(scanner)
    return save_study(study, out, on_progress=on_progress)


def write_facts(plan: ImportPlan, path: Path, folder: Path) -> Path:
    """Write what was given, and as comments what can be given, for `--facts`. An existing file is left alone."""
    if path.exists():
        raise InputError("there is already a file here", where=path, remedy="Name a new one with --write-facts")
    lines = [f"# Facts for: nufitdose import {folder} --facts {path}", "# Lines without '#' go before the files.", ""]
    record, options = plan.record(), plan.options
    lines += [
        _given_or_comment("nuclide", options.nuclide, record["nuclide"]),
        _given_or_comment("administered_mbq", options.administered_mbq, record["administered_mbq"]),
        _given_or_comment(
            "administered_at", options.given_at.isoformat() if options.given_at else None, record["administered_at"]
        ),
        _given_or_comment("patient", options.patient, None),
        "",
        "series:",
    ]
    for row in plan.series:
        if row.modality in {"PT", "NM"}:
            lines += _series_lines(plan, row)
    return write_whole(path, "\n".join(lines) + "\n")


def _series_lines(plan: ImportPlan, row: SeriesRow) -> list[str]:
    names = frozenset({row.number, row.number.partition(".")[0], row.series_uid})
    given = plan.options.given_for(names)
    known = plan.record()["timepoints"].get(row.use.removeprefix("activity of "), {})
    in_file = {
        "acquired_at": known.get("acquired"),
        "hours": known.get("hours_after_administration"),
        "decay_correction": known.get("decay_correction_in_file"),
    }
    lines = [f"  '{row.number}':  # {row.modality} {row.description!r}, {row.files} files, {row.series_uid}: {row.use}"]
    for fact, form in FACTS.items():
        value = getattr(given, fact) if given.for_this(fact) else None
        text = _given_or_comment(fact, None if value is None else form.show(value), in_file.get(fact), form.wanted)
        lines.append(f"    {text}")
    return lines


def _given_or_comment(name: str, given: Any, in_file: Any, wanted: str = "") -> str:
    if given is not None:
        return f"{name}: {_scalar(given)}"
    known = "" if in_file in {None, ""} else f" {_scalar(in_file)}"
    return f"# {name}:{known}" + (f"  # {wanted}" if wanted else "")


def _scalar(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=1000).strip()
    return text.removesuffix("...").strip()
