"""Commands of many: cohort, many patients; accumulate, many cycles of one."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from nufitdose.cli.options import (
    AsJson,
    ConfigFile,
    Device,
    Overrides,
    Seed,
    Weights,
    registration_overrides,
)

Workers = Annotated[int, typer.Option("--workers", help="Processes at work at once, as memory allows.", min=1)]


def cohort(
    place: Annotated[Path, typer.Argument(metavar="COHORT", help="Folder of study folders, or a cohort.yaml.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write; what is done there already is kept.")],
    workers: Workers = 1,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Dask scheduler, or its scheduler file; instead of --workers.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(metavar="MINUTES", help="A patient that takes longer has failed.", min=0.01)
    ] = None,
    weights: Weights = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    device: Device = "auto",
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Run many patients, each in its own process; a stopped run goes on. 1 if a patient failed."""
    from dosimetry.cohort.run import Machines, failed, run_cohort
    from dosimetry.config import load_settings
    from nufitdose.text import json_text

    settings = load_settings(config, [*(overrides or ()), *registration_overrides(weights=weights)])
    machines = Machines(workers, scheduler, None if timeout is None else 60.0 * timeout)
    members = run_cohort(place, out, settings, machines, device=device, seed=seed, stream=sys.stderr)
    bad = failed(members)
    if as_json:
        print(json_text({"out": str(out), "patients": [member.row for member in members]}))
    else:
        for member in bad:
            print(f"failed: {member.study}: {member.row['fault']}")
        print(f"{len(members) - len(bad)} of {len(members)} patients done\nreport: {out / 'cohort.html'}")
    if bad:
        raise typer.Exit(1)


def accumulate(
    studies: Annotated[
        list[Path],
        typer.Argument(metavar="STUDY STUDY ...", help="Cycles in order: study folders, or results of runs."),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder to write; cycles that are done there already are kept.")],
    limit: Annotated[
        list[str] | None,
        typer.Option(metavar="STRUCTURE.QUANTITY=GY", help="A limit, as kidney.bed=40. Repeatable."),
    ] = None,
    voxels: Annotated[bool, typer.Option(help="Add the dose maps too, on the grid of the first cycle.")] = True,
    workers: Workers = 1,
    weights: Weights = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """Add several cycles of one patient: dose and BED of structures, dose of voxels."""
    from dosimetry.config import load_settings
    from dosimetry.cycles.limits import read_limits
    from dosimetry.cycles.run import accumulate as run
    from dosimetry.cycles.tables import PAGE, as_text

    settings = load_settings(config, [*(overrides or ()), *registration_overrides(weights=weights)])
    limits = read_limits(limit or ())
    sums = run(
        studies, out, settings, limits, workers=workers, voxels=voxels, device=device, seed=seed, stream=sys.stderr
    )
    print(f"{as_text(sums)}\nreport: {out / PAGE}")
