"""The import command: a folder of DICOM files becomes a study folder."""

import sys
from typing import Any

import typer
from typer.core import TyperCommand

from nufitdose.cli import import_options as asked
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
    dicom: asked.Dicom = None,
    out: asked.StudyOut = None,
    dry_run: asked.DryRun = False,
    force: asked.Force = False,
    nuclide: asked.Nuclide = None,
    administered_mbq: asked.AdministeredMbq = None,
    administered_at: asked.AdministeredAt = None,
    calibration: asked.Calibration = None,
    sensitivity: asked.Sensitivity = None,
    decay_correction: asked.DecayCorrection = None,
    acquired_at: asked.AcquiredAt = None,
    hours: asked.Hours = None,
    utc_offset: asked.UtcOffset = None,
    slice_step: asked.SliceStep = None,
    accept_uncorrected: asked.AcceptUncorrected = False,
    accept_implausible: asked.AcceptImplausible = False,
    join_beds: asked.JoinBeds = False,
    patient: asked.Patient = None,
    identify: asked.Identify = False,
    series: asked.Series = None,
    for_series: asked.ForOneSeries = None,
    facts: asked.Facts = None,
    new_facts: asked.NewFacts = None,
    reference: asked.Reference = None,
    scanner: asked.ScannerFile = None,
    dicomweb: asked.DicomWeb = None,
    patient_id: asked.PatientId = None,
    study: asked.StudyUids = None,
    as_json: AsJson = False,
) -> None:
    """Turn a folder of DICOM files, or studies of an archive, into a study folder."""
    from nufitdose.io.importer.archive import Archive, dicom_folder
    from nufitdose.io.importer.command import run_import
    from nufitdose.io.importer.options import gather_options
    from nufitdose.io.importer.summary import facts_of_refusal
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
    try:
        with dicom_folder(dicom, archive, place, sys.stderr) as folder:
            told = run_import(
                folder,
                place,
                options,
                facts=new_facts,
                scanner=scanner,
                archive=archive,
                force=force,
                stream=sys.stderr,
            )
    except InputError as refusal:
        if as_json and dry_run:
            print(json_text(facts_of_refusal(refusal)))
        raise
    print(json_text(told.facts) if as_json else told.text)
    if told.refused:
        raise typer.Exit(2)
