"""Commands of digital patients: simulate patient, simulate cohort, demo, and evaluate, which judges by them."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from nufitdose.cli.options import AsJson, Device, Out, Overrides, Seed, read_counts, read_numbers

Tracer = Annotated[str, typer.Option("--tracer", "--nuclide", help="Lu-177-DOTATATE, or a nuclide.")]
Times = Annotated[str | None, typer.Option(help="Hours after administration, as 4,24,72,168; usual ones by default.")]
Shape = Annotated[str, typer.Option(help="Voxels of the activity images.")]
Spacing = Annotated[float, typer.Option(help="Their size in mm.")]

_ENGINES = "none,rigid,affine,network,refine,nufit"  # what `evaluate` judges unless it is told


def simulate_patient(
    out: Annotated[Path, typer.Option("--out", help="Folder to write; it must be new.")],
    tracer: Tracer = "Lu-177",
    times: Times = None,
    shape: Shape = "96,96,96",
    spacing: Spacing = 4.0,
    motion: Annotated[float, typer.Option(help="Scale of the motion between scans.")] = 1.0,
    sliding: Annotated[bool, typer.Option("--sliding", help="Lungs slide along the chest wall.")] = False,
    tumours: Annotated[int | None, typer.Option(help="Number of tumours, 0 to 12; drawn by default.")] = None,
    dicom: Annotated[bool, typer.Option("--dicom", help="Write DICOM too: SPECT as NM, PET as PT objects.")] = False,
    dicom_as: Annotated[
        Literal["nm", "pt"] | None, typer.Option(help="Write DICOM too, with activity as these objects.")
    ] = None,
    anatomy: Annotated[Path | None, typer.Option(help="CT (NIfTI) to take the body from; needs --labels.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Label map (NIfTI) of its organs; needs --names.")] = None,
    names: Annotated[Path | None, typer.Option(help="YAML or JSON file: label -> organ.")] = None,
    icrp110: Annotated[Path | None, typer.Option(help="Folder of the ICRP 110 phantom to take the body from.")] = None,
    dose: Annotated[
        bool, typer.Option("--dose", help="Write truth/dose.nii.gz too, by Monte Carlo: a minute.")
    ] = False,
    seed: Seed = 1,
) -> None:
    """Simulate one patient: a study folder, and truth/ beside it."""
    from nufitdose.phantom.command import read_body, simulate_one
    from nufitdose.phantom.settings import PatientSettings

    settings = PatientSettings(
        tracer=tracer,
        times_h=read_numbers(times, "--times") if times else None,
        shape=read_counts(shape, "--shape"),
        spacing_mm=spacing,
        motion=motion,
        sliding=sliding,
        tumours=tumours,
        images=read_body(labels, names, anatomy, icrp110),
        seed=seed,
    )
    folder = simulate_one(out, settings, dicom=dicom, dicom_as=dicom_as, stream=sys.stderr)
    if dose:
        from dosimetry.evaluation.true_dose import true_dose
        from nufitdose.progress import Steps

        with Steps(1.0, sys.stderr) as steps, steps.step("computing the true dose") as on_progress:
            true_dose(folder, on_progress=on_progress)
    print(f"study: {folder / 'study.yaml'}")


def simulate_cohort(
    out: Annotated[Path, typer.Option("--out", help="Folder of the cohort; what is there already is kept.")],
    patients: Annotated[int, typer.Option(help="How many.", min=1)],
    workers: Annotated[int, typer.Option(help="Processes at work at once.", min=1)] = 1,
    only: Annotated[int | None, typer.Option(help="This one patient alone, for cluster jobs.")] = None,
    tracer: Tracer = "Lu-177-DOTATATE",
    times: Times = None,
    shape: Shape = "96,96,96",
    spacing: Spacing = 4.0,
    motion: Annotated[float, typer.Option(help="Scale of the motion between scans.")] = 1.0,
    mix: Annotated[
        Path | None, typer.Option(help="YAML file: how patients differ, as configs/varied_cohort.yaml.")
    ] = None,
    seed: Seed = 1,
) -> None:
    """Simulate many patients, split into train, validation and test; a stopped run continues where it was."""
    from nufitdose.phantom import CohortPlan, simulate_cohort
    from nufitdose.phantom.mix import read_mix
    from nufitdose.progress import Steps

    plan = CohortPlan(
        patients=patients,
        seed=seed,
        tracers=tuple(tracer.split(",")),
        times_h=tuple(read_numbers(times, "--times")) if times else None,
        shape=read_counts(shape, "--shape"),
        spacing_mm=spacing,
        motion=motion,
        mix=read_mix(mix) if mix else None,
    )
    with Steps(1.0, sys.stderr) as steps, steps.step(f"simulating {patients} patients") as on_progress:
        index = simulate_cohort(out, plan, workers=workers, only=only, on_progress=on_progress)
    print(f"cohort: {index}")


def demo(out: Out = Path("demo"), overrides: Overrides = None, device: Device = "auto", seed: Seed = 1) -> None:
    """Simulate a patient, run the whole chain on it and compare with the known truth."""
    from dosimetry.config import load_settings
    from dosimetry.evaluation.demo import run_demo

    print(run_demo(out, load_settings(None, overrides or ()), device=device, seed=seed, stream=sys.stderr))


def evaluate(
    cohort: Annotated[
        Path,
        typer.Argument(
            metavar="COHORT|STUDY",
            help="Digital patients: cohort.yaml or its folder. Or one study, judged by structures drawn on two scans.",
        ),
    ],
    out: Out,
    engines: Annotated[
        str | None,
        typer.Option(
            help="Engines, with commas; 'exact' is the true motion of digital patients.",
            show_default="none,rigid,affine,network,refine,nufit; exact too for a cohort",
        ),
    ] = None,
    weights: Annotated[list[str] | None, typer.Option(help="A network: NAME=FILE. Repeatable.")] = None,
    split: Annotated[str, typer.Option(help="train, validation, test or all.")] = "test",
    patients: Annotated[int | None, typer.Option(help="Only so many.", min=1)] = None,
    downstream: Annotated[bool, typer.Option(help="Judge TIA and dose of the structures too.")] = True,
    ours: Annotated[str | None, typer.Option(help="What the others are compared with; by default the first.")] = None,
    workers: Annotated[int, typer.Option(help="Processes at work at once; with 1, seconds mean something.", min=0)] = 1,
    device: Device = "auto",
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Judge engines, peers and trained networks by the truth of digital patients; a stopped run goes on.

    Of a study without truth: Dice, HD95, centroids and activity of structures that are drawn on two scans.
    """
    from dosimetry.evaluation.known_structures import evaluate_study, is_study, summary_page
    from dosimetry.evaluation.methods import methods_of
    from dosimetry.evaluation.run import EvaluationPlan, run_evaluation
    from nufitdose.text import json_text

    named = dict(item.partition("=")[::2] for item in weights or ())
    real = is_study(cohort)
    asked = (_ENGINES if real else f"{_ENGINES},exact") if engines is None else engines
    methods = methods_of(filter(None, asked.split(",")), {name: Path(file) for name, file in named.items()})
    if real:
        rows = evaluate_study(cohort, out, methods, device=device, seed=seed, stream=sys.stderr)
        content = {"out": str(out), "structures": [asdict(row) for row in rows]}
        print(json_text(content) if as_json else summary_page(rows))
        return
    plan = EvaluationPlan(
        methods,
        split=split,
        patients=patients,
        downstream=downstream,
        workers=workers,
        ours=ours,
        device=device,
        seed=seed,
    )
    found = run_evaluation(cohort, out, plan, stream=sys.stderr)
    print(json_text({"out": str(out), "ours": found.ours, "comparisons": found.rows()}) if as_json else found.page())
