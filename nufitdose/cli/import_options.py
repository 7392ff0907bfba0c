"""The options of `nufitdose import`: what to take, and what the files do not say."""

from pathlib import Path
from typing import Annotated

import typer

Dicom = Annotated[Path | None, typer.Argument(metavar="DICOM_DIR", help="Folder of DICOM files, however nested.")]
StudyOut = Annotated[Path | None, typer.Option("--out", help="Study folder to write.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="List the series and what would be done; write nothing. 2 if refused.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace the files of a study that is already there.")]
Nuclide = Annotated[str | None, typer.Option(help="Nuclide, where the files do not say, as Lu-177.")]
AdministeredMbq = Annotated[float | None, typer.Option(help="Administered activity in MBq.")]
AdministeredAt = Annotated[str | None, typer.Option(help="Administration time, ISO 8601.")]
Calibration = Annotated[float | None, typer.Option(help="Bq/mL per count, for uncalibrated series.")]
Sensitivity = Annotated[float | None, typer.Option(help="cps/MBq, for uncalibrated NM series.")]
DecayCorrection = Annotated[str | None, typer.Option(help="NONE, START, SERIES or ADMIN, where the files do not say.")]
AcquiredAt = Annotated[str | None, typer.Option(help="Start of the scan, ISO 8601.")]
Hours = Annotated[float | None, typer.Option(help="Hours from administration to the scan.")]
UtcOffset = Annotated[str | None, typer.Option(help="Offset of times that state none, as +01:00.")]
SliceStep = Annotated[float | None, typer.Option(help="mm from slice to slice, for NM that does not say.")]
AcceptUncorrected = Annotated[
    bool, typer.Option("--accept-uncorrected", help="Take scans without attenuation correction.")
]
AcceptImplausible = Annotated[bool, typer.Option("--accept-implausible", help="Take totals and times that cannot be.")]
JoinBeds = Annotated[bool, typer.Option("--join-beds", help="Join beds of one scan into one volume.")]
Patient = Annotated[
    str | None,
    typer.Option(help="Patient name in the study; nothing that is written then tells who the files are of."),
]
Identify = Annotated[
    bool, typer.Option("--identify", help="Keep name, birth date, sex and accession number for DICOM results.")
]
Series = Annotated[list[str] | None, typer.Option(help="Series to take, by number of --dry-run or UID. Repeatable.")]
ForOneSeries = Annotated[
    list[str] | None,
    typer.Option("--for", metavar="SERIES KEY=VALUE", help="A fact of one series, as --for 3 hours=24. Repeatable."),
]
Facts = Annotated[Path | None, typer.Option(help="YAML file of facts, as --write-facts makes it.")]
NewFacts = Annotated[
    Path | None, typer.Option("--write-facts", help="Write what is known to a YAML file, ready to edit.")
]
Reference = Annotated[str | None, typer.Option(help="Reference time point, as tp1.")]
ScannerFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Description of the scanner, as 'nufitdose recovery' writes it.")
]
DicomWeb = Annotated[
    str | None, typer.Option(metavar="URL", help="Take the studies from an archive, in place of DICOM_DIR.")
]
PatientId = Annotated[str | None, typer.Option(help="With --dicomweb: all studies of this PatientID.")]
StudyUids = Annotated[list[str] | None, typer.Option(help="With --dicomweb: a Study Instance UID. Repeatable.")]
