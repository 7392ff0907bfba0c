"""The one command, `nufitdose`; heavy packages are imported only by the sub-command that needs them."""

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated, Literal

import typer

from nufitdose.errors import InputError, RunStopped
from nufitdose.version import __version__

# Threads of torch and numba that wait shall sleep: spinning ones take the cores of others, tenfold on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

app = typer.Typer(
    name="nufitdose",
    help="Voxel dosimetry of radionuclide therapy from serial SPECT/CT and PET/CT. Research use; not a medical device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

simulate = typer.Typer(no_args_is_help=True, help="Digital patients whose motion, kinetics and dose are known.")
app.add_typer(simulate, name="simulate")

Out = Annotated[Path, typer.Option("--out", help="Folder to write; replaced only if it holds an earlier result.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="Override one setting: key=value. Repeatable.")]
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


def main() -> None:
    """Run the command line: exit code 0 done, 1 failed, 2 bad arguments or bad input."""
    from nufitdose.progress import one_clock

    try:
        with one_clock():
            app(prog_name="nufitdose")
    except InputError as error:
        print(f"nufitdose: {error}", file=sys.stderr)
        sys.exit(2)
    except RunStopped as error:
        print(f"nufitdose: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        print(f"nufitdose: the system refused: {error.strerror or error}{place}", file=sys.stderr)
        sys.exit(1)
    except Exception:
        traceback.print_exc()
        print("nufitdose: this is a fault of the program, not yours; please report the lines above.", file=sys.stderr)
        sys.exit(1)


def _show_version(wanted: bool) -> bool:
    if wanted:
        print(f"nufitdose {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def demo(out: Out = Path("demo"), overrides: Overrides = None, device: Device = "auto", seed: Seed = 1) -> None:
    """Simulate a patient, run the whole chain on it and compare with the known truth."""
    from dosimetry.config import load_settings
    from dosimetry.evaluation.demo import run_demo

    print(run_demo(out, load_settings(None, overrides or ()), device=device, seed=seed, stream=sys.stderr))


Tracer = Annotated[str, typer.Option("--tracer", "--nuclide", help="Lu-177-DOTATATE, or a nuclide.")]
Times = Annotated[str | None, typer.Option(help="Hours after administration, as 4,24,72,168; usual ones by default.")]
Shape = Annotated[str, typer.Option(help="Voxels of the activity images.")]
Spacing = Annotated[float, typer.Option(help="Their size in mm.")]


@simulate.command(name="patient")
def patient(
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
    seed: Seed = 1,
) -> None:
    """Simulate one patient: a study folder, and truth/ beside it."""
    from nufitdose.phantom.command import read_body, simulate_one
    from nufitdose.phantom.settings import PatientSettings

    settings = PatientSettings(
        tracer=tracer,
        times_h=_numbers(times, "--times") if times else None,
        shape=_three(shape, "--shape"),
        spacing_mm=spacing,
        motion=motion,
        sliding=sliding,
        tumours=tumours,
        images=read_body(labels, names, anatomy, icrp110),
        seed=seed,
    )
    folder = simulate_one(out, settings, dicom=dicom, dicom_as=dicom_as, stream=sys.stderr)
    print(f"study: {folder / 'study.yaml'}")


@simulate.command(name="cohort")
def cohort(
    out: Annotated[Path, typer.Option("--out", help="Folder of the cohort; what is there already is kept.")],
    patients: Annotated[int, typer.Option(help="How many.", min=1)],
    workers: Annotated[int, typer.Option(help="Processes at work at once.", min=1)] = 1,
    only: Annotated[int | None, typer.Option(help="This one patient alone, for cluster jobs.")] = None,
    tracer: Tracer = "Lu-177-DOTATATE",
    times: Times = None,
    shape: Shape = "96,96,96",
    spacing: Spacing = 4.0,
    motion: Annotated[float, typer.Option(help="Scale of the motion between scans.")] = 1.0,
    seed: Seed = 1,
) -> None:
    """Simulate many patients, split into train, validation and test; a stopped run continues where it was."""
    from nufitdose.phantom import CohortPlan, simulate_cohort
    from nufitdose.progress import Steps

    plan = CohortPlan(
        patients=patients,
        seed=seed,
        tracers=tuple(tracer.split(",")),
        times_h=tuple(_numbers(times, "--times")) if times else None,
        shape=_three(shape, "--shape"),
        spacing_mm=spacing,
        motion=motion,
    )
    with Steps(1.0, sys.stderr) as steps, steps.step(f"simulating {patients} patients") as on_progress:
        index = simulate_cohort(out, plan, workers=workers, only=only, on_progress=on_progress)
    print(f"cohort: {index}")


def _numbers(text: str, option: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"{option} {text!r} was given, numbers with commas are wanted, as 4,24,72") from error


def _three(text: str, option: str) -> tuple[int, int, int]:
    found = [int(n) for n in _numbers(text, option)]
    if len(found) != 3:
        raise InputError(f"{option} {text!r} was given, three whole numbers with commas are wanted, as 96,96,96")
    return found[0], found[1], found[2]


@app.command(name="import")
def import_(
    dicom: Annotated[Path, typer.Argument(metavar="DICOM_DIR", help="Folder of DICOM files, however nested.")],
    out: Annotated[Path | None, typer.Option("--out", help="Study folder to write.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the series and what would be done; write nothing.")
    ] = False,
    nuclide: Annotated[str | None, typer.Option(help="Nuclide, where the files do not say, as Lu-177.")] = None,
    administered_mbq: Annotated[float | None, typer.Option(help="Administered activity in MBq.")] = None,
    administered_at: Annotated[str | None, typer.Option(help="Administration time, ISO 8601.")] = None,
    calibration: Annotated[float | None, typer.Option(help="Bq/mL per count, for uncalibrated NM series.")] = None,
    sensitivity: Annotated[float | None, typer.Option(help="cps/MBq, for uncalibrated NM series.")] = None,
    decay_correction: Annotated[
        str | None, typer.Option(help="NONE, START or ADMIN, where the files do not say.")
    ] = None,
    patient: Annotated[str | None, typer.Option(help="Patient name in the study, instead of PatientID.")] = None,
    series: Annotated[list[str] | None, typer.Option(help="SeriesInstanceUID to take. Repeatable.")] = None,
    reference: Annotated[str | None, typer.Option(help="Reference time point, as tp1.")] = None,
) -> None:
    """Turn a folder of DICOM files into a study folder."""
    from nufitdose.io.importer.command import run_import
    from nufitdose.io.importer.planning import ImportOptions

    if out is None and not dry_run:
        raise InputError("no --out was given", remedy="Name the study folder to write, or use --dry-run to only look")
    options = ImportOptions(
        nuclide=nuclide,
        administered_mbq=administered_mbq,
        administered_at=administered_at,
        calibration_bq_per_ml_per_count=calibration,
        sensitivity_cps_per_mbq=sensitivity,
        decay_correction=decay_correction,
        patient=patient,
        series=tuple(series or ()),
        reference=reference,
    )
    print(run_import(dicom, None if dry_run else out, options, stream=sys.stderr))


@app.command()
def pretrain(
    config: TrainingConfig,
    out: RunFolder,
    resume: Resume = False,
    overrides: Overrides = None,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """Train the registration network between patients (stage 1)."""
    from nufitdose.training.request import RunRequest
    from pretrain.stage import run_pretrain

    request = RunRequest(config, out, tuple(overrides or ()), resume, device, seed, sys.stderr)
    print(f"weights: {run_pretrain(request)}")


@app.command()
def finetune(
    config: TrainingConfig,
    out: RunFolder,
    resume: Resume = False,
    overrides: Overrides = None,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """Train it further on few serial scans, within patients (stage 2)."""
    from finetune.stage import run_finetune
    from nufitdose.training.request import RunRequest

    request = RunRequest(config, out, tuple(overrides or ()), resume, device, seed, sys.stderr)
    print(f"weights: {run_finetune(request)}")


@app.command()
def tune(
    config: TrainingConfig,
    out: RunFolder,
    resume: Resume = False,
    overrides: Overrides = None,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """Search for the best settings of a training stage (Bayesian optimisation)."""
    from nufitdose.training.request import RunRequest
    from nufitdose.training.tuning import run_tuning

    request = RunRequest(config, out, tuple(overrides or ()), resume, device, seed, sys.stderr)
    print(f"settings: {run_tuning(request)}")


@app.command()
def evaluate(
    cohort: Annotated[Path, typer.Argument(metavar="COHORT", help="Digital patients: cohort.yaml or its folder.")],
    out: Out,
    engines: Annotated[str, typer.Option(help="Engines, with commas.")] = "none,rigid,affine,network,refine,nufit",
    weights: Annotated[list[str] | None, typer.Option(help="A network: NAME=FILE. Repeatable.")] = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    patients: Annotated[int | None, typer.Option(help="Only so many.", min=1)] = None,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """Judge registration engines and trained networks by the true motion of digital patients."""
    from dosimetry.evaluation.motion import methods_of, run_evaluation, table

    named = dict(item.partition("=")[::2] for item in weights or ())
    methods = methods_of(filter(None, engines.split(",")), {name: Path(file) for name, file in named.items()})
    scores = run_evaluation(
        cohort, out, methods, split=split, patients=patients, device=device, seed=seed, stream=sys.stderr
    )
    print(table(scores))


@app.command()
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
) -> None:
    """Bring all time points of a study, or of another one, onto its reference; no dosimetry."""
    from dosimetry.config import load_settings
    from nufitdose.registration.command import run_registration

    chosen = [*(overrides or ()), *_registration_overrides(engine, weights)]
    settings = load_settings(config, chosen).registration
    frames = run_registration(study, out, settings, other=other, device=device, seed=seed, stream=sys.stderr)
    for frame in frames:
        if frame.registration is not None:
            found = frame.registration
            print(f"{frame.id}: {found.engine} on {found.basis}, {found.seconds:.1f} s")
    print(f"registered scans and fields: {out / 'registered'}")


def _registration_overrides(engine: str | None = None, weights: Path | None = None) -> list[str]:
    """Options of the command line as settings; paths quoted, so that YAML reads them as text."""
    named = {"engine": engine, "weights": json.dumps(str(weights)) if weights else None}
    return [f"registration.{name}={value}" for name, value in named.items() if value]


@app.command()
def dosimetry(
    study: StudyFolder,
    out: Out,
    weights: Weights = None,
    config: ConfigFile = None,
    overrides: Overrides = None,
    device: Device = "auto",
    seed: Seed = 0,
) -> None:
    """Run one patient: registration, voxel curves, absorbed dose, metrics and the report."""
    from dosimetry.config import load_settings
    from dosimetry.output.summary import summary
    from dosimetry.pipeline import run_patient

    settings = load_settings(config, [*(overrides or ()), *_registration_overrides(weights=weights)])
    results = run_patient(study, out, settings, device=device, seed=seed, stream=sys.stderr)
    print(summary(results))
    print(f"report: {out / 'report.html'}")


@app.command()
def kernels(
    nuclide: Annotated[str, typer.Argument(metavar="NUCLIDE", help="As Lu-177.")],
    out: Annotated[Path, typer.Option("--out", help="File to write: .npz (arrays) or .csv (one octant).")],
    spacing: Annotated[str, typer.Option(help="Sides of a voxel in mm.")] = "4.8,4.8,4.8",
    density: Annotated[float, typer.Option(help="Density of the medium (water's composition), g/mL.")] = 1.0,
    reach: Annotated[float | None, typer.Option(help="Half width in mm; by default 99.9 % of the energy.")] = None,
) -> None:
    """Write the dose to each voxel per decay in one of them, mGy/(MBq·s), with all radiations of a nuclide."""
    from dosimetry.output.kernel_file import write_kernel

    print(write_kernel(out, nuclide, _three_sides(spacing), density, reach_mm=reach))


def _three_sides(text: str) -> tuple[float, float, float]:
    found = _numbers(text, "--spacing")
    if len(found) != 3:
        raise InputError(f"--spacing {text!r} was given, three numbers in mm with commas are wanted, as 4.8,4.8,4.8")
    return found[0], found[1], found[2]
