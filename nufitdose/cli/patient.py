"""Commands of a patient: segment, register, dosimetry; the kernels of a nuclide, the recovery of a scanner."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from nufitdose.cli.options import (
    AsJson,
    ConfigFile,
    Device,
    Out,
    Overrides,
    Seed,
    StudyFolder,
    Weights,
    read_sides,
    registration_overrides,
)


def segment(
    study: StudyFolder,
    structures: Annotated[
        str | None, typer.Option(help="Organs, with commas; by default kidneys, liver and spleen. 'all' is all known.")
    ] = None,
    all_scans: Annotated[
        bool,
        typer.Option(
            "--all-scans", help="On every scan with a CT, to judge the registration; not the reference alone."
        ),
    ] = False,
    add: Annotated[bool, typer.Option("--add", help="Keep the structures that are there, add others.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Use the new structures alone; files of the old ones stay.")
    ] = False,
    fast: Annotated[bool, typer.Option("--fast", help="Its coarse model (3 mm) of the organs of the trunk.")] = False,
    download: Annotated[
        bool, typer.Option("--download", help="Let TotalSegmentator use the network, as to fetch its weights.")
    ] = False,
    device: Device = "auto",
) -> None:
    """Draw organs on the CT by TotalSegmentator, where it is installed as a program of its own."""
    from nufitdose.errors import InputError
    from nufitdose.io.study_segmentation import segment_study
    from nufitdose.io.totalsegmentator import ORGANS, USUAL

    if add and replace:
        raise InputError("--add and --replace were given", remedy="Give one of them")
    names = USUAL if structures is None else tuple(ORGANS) if structures == "all" else tuple(structures.split(","))
    told = segment_study(
        study,
        names,
        all_scans=all_scans,
        present="add" if add else "replace" if replace else "refuse",
        fast=fast,
        download=download,
        device=device,
        stream=sys.stderr,
    )
    print("\n".join(told))


def register(
    study: StudyFolder,
    out: Out,
    other: Annotated[
        Path | None,
        typer.Argument(metavar="[OTHER]", help="Another study of the patient (tracer, cycle) to bring onto STUDY."),
    ] = None,
    engine: Annotated[str | None, typer.Option(help="Registration engine.")] = None,
    weights: Weights = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    device: Device = "auto",
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Bring all time points of a study, or of another one, onto its reference; no dosimetry."""
    from dosimetry.config import load_settings
    from nufitdose.registration.command import run_registration
    from nufitdose.registration.output import registration_rows
    from nufitdose.run import read_warnings
    from nufitdose.text import json_text

    chosen = [*(overrides or ()), *registration_overrides(engine, weights)]
    settings = load_settings(config, chosen).registration
    frames = run_registration(study, out, settings, other=other, device=device, seed=seed, stream=sys.stderr)
    if as_json:
        print(json_text({"out": str(out), "scans": list(registration_rows(frames)), "warnings": read_warnings(out)}))
        return
    for frame in frames:
        if frame.registration is not None:
            found = frame.registration
            light = f": {frame.light.state.value}, {frame.light.why}" if frame.light else ""
            print(f"{frame.id}: {found.engine} on {found.basis}, {found.seconds:.1f} s{light}")
    print(f"registered scans and fields: {out / 'registered'}")


def dosimetry(
    study: StudyFolder,
    out: Out,
    weights: Weights = None,
    config: ConfigFile = None,
    tables: Annotated[
        str | None, typer.Option(metavar="csv|xlsx", help="xlsx: tables.xlsx beside the csv files.")
    ] = None,
    overrides: Overrides = None,
    profile: Annotated[bool, typer.Option("--profile", help="Write profile.txt too: the time by function.")] = False,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """Run one patient: registration, voxel curves, absorbed dose, metrics and the report."""
    from dosimetry.config import load_settings
    from dosimetry.output.summary import summary
    from dosimetry.pipeline import run_patient

    chosen = [*(overrides or ()), *registration_overrides(weights=weights)]
    settings = load_settings(config, [*chosen, *([f"output.tables={tables}"] if tables else [])])
    results = run_patient(study, out, settings, device=device, seed=seed, profile=profile, stream=sys.stderr)
    print(summary(results))
    print(f"report: {out / 'report.html'}")


def kernels(
    nuclide: Annotated[str, typer.Argument(metavar="NUCLIDE", help="As Lu-177.")],
    out: Annotated[Path, typer.Option("--out", help="File to write: .npz (arrays) or .csv (one octant).")],
    spacing: Annotated[str, typer.Option(help="Sides of a voxel in mm.")] = "4.8,4.8,4.8",
    density: Annotated[float, typer.Option(help="Density of the medium (water's composition), g/mL.")] = 1.0,
    reach: Annotated[float | None, typer.Option(help="Half width in mm; by default 99.9 % of the energy.")] = None,
) -> None:
    """Write the dose to each voxel per decay in one of them, mGy/(MBq·s), with all radiations of a nuclide."""
    from dosimetry.output.kernel_file import write_kernel

    print(write_kernel(out, nuclide, read_sides(spacing), density, reach_mm=reach))


def recovery(
    scan: Annotated[Path, typer.Argument(metavar="SCAN", help="Activity of the spheres (NIfTI, Bq/mL), or a study.")],
    out: Annotated[Path, typer.Option("--out", help="Scanner file to write; it must be new.")],
    truth_bq_ml: Annotated[float, typer.Option("--truth-bq-ml", help="What the spheres hold when scanned, Bq/mL.")],
    labels: Annotated[Path | None, typer.Option(help="Label map (NIfTI) of the spheres, one label each.")] = None,
    background_bq_ml: Annotated[
        float | None,
        typer.Option("--background-bq-ml", help="What is around them; by default the structure 'background', or 0."),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the scanner.")] = "scanner",
) -> None:
    """Fit recovery by volume and the resolution of a scanner to a scan of spheres of known activity."""
    from nufitdose.spheres.command import run_recovery

    print(run_recovery(scan, out, labels=labels, truth_bq_ml=truth_bq_ml, background_bq_ml=background_bq_ml, name=name))
