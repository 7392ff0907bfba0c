"""Options that several commands have in common, and how their texts are read."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from nufitdose.errors import InputError

Out = Annotated[Path, typer.Option("--out", help="Folder to write; replaced only if it holds an earlier result.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="Override one setting: key=value. Repeatable.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option("--device", help="Where tensors are computed.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of everything random.", min=0)]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML file of settings.")]
TrainingConfig = Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file of settings.")]
RunFolder = Annotated[Path, typer.Option("--out", help="Folder of the run; checkpoints and metrics are kept in it.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")]
Weights = Annotated[
    Path | None,
    typer.Option("--weights", metavar="FILE", help="Weights of the network, in place of the shipped ones."),
]
StudyFolder = Annotated[Path, typer.Argument(metavar="STUDY", help="Study folder, or its study.yaml.")]


def read_numbers(text: str, option: str) -> list[float]:
    """Numbers with commas; `InputError` names the option."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"{option} {text!r} was given, numbers with commas are wanted, as 4,24,72") from error


def read_counts(text: str, option: str) -> tuple[int, int, int]:
    """Three whole numbers with commas, as a number of voxels along each axis."""
    found = [int(n) for n in read_numbers(text, option)]
    if len(found) != 3:
        raise InputError(f"{option} {text!r} was given, three whole numbers with commas are wanted, as 96,96,96")
    return found[0], found[1], found[2]


def read_sides(text: str) -> tuple[float, float, float]:
    """The sides of a voxel in mm, three numbers with commas."""
    found = read_numbers(text, "--spacing")
    if len(found) != 3:
        raise InputError(f"--spacing {text!r} was given, three numbers in mm with commas are wanted, as 4.8,4.8,4.8")
    return found[0], found[1], found[2]


def registration_overrides(engine: str | None = None, weights: Path | None = None) -> list[str]:
    """Options of the command line as settings; paths quoted, so that YAML reads them as text."""
    named = {"engine": engine, "weights": json.dumps(str(weights)) if weights else None}
    return [f"registration.{name}={value}" for name, value in named.items() if value]
