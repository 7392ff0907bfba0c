"""The import command: a folder of DICOM files becomes a study folder."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from nufitdose.cli.options import AsJson
from nufitdose.errors import InputError


class ForSeries(TyperCommand):
    """A command whose `--for` takes a series and the statements `key=value` after it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Make `--for 3 hours=24 calibration=9` one option of one value each."""
        joined: list[str] = []
        rest = list(args)
        while rest:
            if rest[0] != "--for" or len(rest) < 2:
                joined.append(rest.pop(0))
                continue
            series, rest = rest[1], rest[2:]
            statements: list[str] = []
            while rest and "=" in rest[0] and not rest[0].startswith("-"):
                statements.append(rest.pop(0))
            for statement in statements or [""]:
                joined += ["--for", f"{series} {statement}"]
        return super().parse_args(ctx, joined)


def import_(
    dicom: Annotated[
        Path | None, typer.Argument(metavar="DICOM_DIR", help="Folder of DICOM files, however nested.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Study folder to write.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the series and what would be done; write nothing. 2 if refused.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the files of a study that is already there.")] = False,
    nuclide: Annotated[str | None, typer.Option(help="Nuclide, where the files do not say, as Lu-177.")] = None,
    administered_mbq: Annotated[float | None, typer.Option(help="Administered activity in MBq.")] = None,
    administered_at: Annotated[str | None, typer.Option(help="Administration time, ISO 8601.")] = None,
    calibration: Annotated[float | None, typer.Option(help="Bq/mL per count, for uncalibrated series.")] = None,
    sensitivity: Annotated[float | None, typer.Option(help="cps/MBq, for uncalibrated NM series.")] = None,
    decay_correction: Annotated[
        str | None, typer.Option(help="NONE, START, SERIES or ADMIN, where the files do not say.")
    ] = None,
    acquired_at: Annotated[str | None, typer.Option(help="Start of the scan, ISO 8601.")] = None,
    hours: Annotated[float | None, typer.Option(help="Hours from administration to the scan.")] = None,
    utc_offset: Annotated[str | None, typer.Option(help="Offset of times that state none, as +01:00.")] = None,
    slice_step: Annotated[float | None, typer.Option(help="mm from slice to slice, for NM that does not say.")] = None,
    accept_uncorrected: Annotated[
        bool, typer.Option("--accept-uncorrected", help="Take scans without attenuation correction.")
    ] = False,
    accept_implausible: Annotated[
        bool, typer.Option("--accept-implausible", help="Take totals and times that cannot be.")
    ] = False,
    join_beds: Annotated[bool, typer.Option("--join-beds", help="Join beds of one scan into one volume.")] = False,
    patient: Annotated[
        str | None,
        typer.Option(help="Patient name in the study; nothing that is written then tells who the files are of."),
    ] = None,
    identify: Annotated[
        bool, typer.Option("--identify", help="Keep name, birth date, sex and accession number for DICOM results.")
    ] = False,
    series: Annotated[
        list[str] | None, typer.Option(help="Series to take, by number of --dry-run or UID. Repeatable.")
    ] = None,
    for_series: Annotated[
        list[str] | None,
        typer.Option(
            "--for", metavar="SERIES KEY=VALUE", help="A fact of one series, as --for 3 hours=24. Repeatable."
        ),
    ] = None,
    facts: Annotated[Path | None, typer.Option(help="YAML file of facts, as --write-facts makes it.")] = None,
    new_facts: Annotated[
        Path | None, typer.Option("--write-facts", help="Write what is known to a YAML file, ready to edit.")
    ] = None,
    reference: Annotated[str | None, typer.Option(help="Reference time point, as tp1.")] = None,
    scanner: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Description of the scanner, as 'nufitdose recovery' writes it."),
    ] = None,
    dicomweb: Annotated[
        str | None, typer.Option(metavar="URL", help="Take the studies from an archive, in place of DICOM_DIR.")
    ] = None,
    patient_id: Annotated[str | None, typer.Option(help="With --dicomweb: all studies of this PatientID.")] = None,
    study: Annotated[list[str] | None, typer.Option(help="With --dicomweb: a Study Instance UID. Repeatable.")] = None,
    as_json: AsJson = False,
) -> None:
    """Turn a folder of DICOM files, or studies of an archive, into a study folder."""
    from nufitdose.io.importer.archive import Archive, dicom_folder
    from nufitdose.io.importer.command import run_import
    from nufitdose.io.importer.options import gather_options
    from nufitdose.text import json_text

    if out is None and not dry_run:
        raise InputError("no --out was given", remedy="Name the study folder to write, or use --dry-run to only look")
    options = gather_options(
        facts,
        for_series or (),
        nuclide=nuclide,
        administered_mbq=administered_mbq,
        administered_at=administered_at,
        calibration_bq_per_ml_per_count=calibration,
        sensitivity_cps_per_mbq=sensitivity,
        decay_correction=decay_correction,
        acquired_at=acquired_at,
        hours=hours,
        utc_offset=utc_offset,
        slice_step_mm=slice_step,
        accept_uncorrected=accept_uncorrected or None,
        accept_implausible=accept_implausible or None,
        join_beds=join_beds,
        patient=patient,
        identify=identify,
        series=tuple(series or ()),
        reference=reference,
    )
    place = None if dry_run else out
    archive = Archive.named(dicom, dicomweb, patient_id, tuple(study or ()))
    with dicom_folder(dicom, archive, place, sys.stderr) as folder:
        told = run_import(
            folder, place, options, facts=new_facts, scanner=scanner, archive=archive, force=force, stream=sys.stderr
        )
    print(json_text(told.facts) if as_json else told.text)
    if told.refused:
        raise typer.Exit(2)
