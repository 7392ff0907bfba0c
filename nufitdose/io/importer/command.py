"""The import as a user sees it: plan, table, and the study folder written whole or not at all."""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nufitdose.io.importer.archive import Archive
from nufitdose.io.importer.identity import Redaction
from nufitdose.io.importer.options import ImportOptions
from nufitdose.io.importer.planning import plan_import
from nufitdose.io.importer.summary import facts_of
from nufitdose.io.importer.table import WIDTH, closing, describe
from nufitdose.io.importer.writing import write_facts, write_study
from nufitdose.io.study_folder import read_scanner
from nufitdose.printable import printable
from nufitdose.progress import Steps, Stream
from nufitdose.run import RunRecord, collected_warnings, output_folder, write_record


class Told(NamedTuple):
    """What the import says, for people and as plain values, and whether it refused."""

    text: str
    refused: bool
    facts: Mapping[str, Any]


def run_import(
    dicom: Path,
    out: Path | None,
    options: ImportOptions,
    *,
    facts: Path | None = None,
    scanner: Path | None = None,
    archive: Archive | None = None,
    force: bool = False,
    stream: Stream | None = None,
) -> Told:
    """Import a folder of DICOM files into `out`, or only say what would be done where `out` is None.

    `facts` is a file to write with what is known, ready to edit; `scanner` is a scanner file, copied into the study
    with its calibration factor applied; `archive` is where the folder was filled from. A study that is already at
    `out` is replaced only with `force`. Raises `InputError` when a study is to be written and the series do not make
    one.
    """
    described = None if scanner is None else read_scanner(scanner)
    stated = {} if scanner is None else {"scanner": str(scanner)}
    record = RunRecord("import", options.to_dict() | stated | ({} if archive is None else archive.to_dict()))
    with Steps(10.0, stream) as steps, collected_warnings(record):
        with steps.step(f"reading DICOM headers in {dicom}", 6.0) as on_progress:
            plan = plan_import(dicom, options, on_progress=on_progress)
        table = describe(plan)
        if facts is not None:
            write_facts(plan, facts, dicom)
        if out is None:
            text = _joined(table, record.warnings, closing(plan, dicom))
            return Told(text, plan.refusal is not None, facts_of(plan, record.warnings))
        if plan.refusal is not None:
            print(printable("\n".join(table), lines=True), file=stream)
            raise plan.refusal
        with output_folder(out, kind="import", inputs=[dicom], keep=not force) as place:
            with steps.step("writing the study folder", 4.0) as on_progress:
                manifest = write_study(plan, place, described, on_progress)
            record.add_inputs(plan.files(), dicom)
            if scanner is not None:
                record.add_inputs([scanner], scanner.parent)
            record.timings_s = steps.seconds
            record.notes |= {"import": plan.record()}
            if plan.redaction is not None:
                _redact(record, plan.redaction)
            write_record(record, place)
    written = out / manifest.name
    told = facts_of(plan, record.warnings) | {"study": str(written)}
    return Told(_joined(table, record.warnings, [f"study: {written}"]), False, told)


def _redact(record: RunRecord, redaction: Redaction) -> None:
    """Leave nothing in run.json that tells who the patient is: paths, descriptions, warnings, UIDs."""
    record.config = redaction.values(record.config)
    record.notes = redaction.values(record.notes)
    record.warnings = redaction.values(record.warnings)
    record.inputs = redaction.names(record.inputs)


def _joined(table: list[str], warnings: list[str], last: list[str]) -> str:
    wrapped = [
        line
        for warning in warnings
        for line in textwrap.wrap(
            f"warning: {warning}", WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        )
    ]
    return printable("\n".join([*table, *wrapped, *last]), lines=True)
