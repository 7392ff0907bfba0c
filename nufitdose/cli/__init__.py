"""The one command, `nufitdose`; heavy packages are imported only by the sub-command that needs them."""

import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, NoReturn

import typer

from nufitdose.cli import archive, dicom, information, many, patient, simulation, training
from nufitdose.errors import InputError, RunStopped
from nufitdose.printable import printable
from nufitdose.version import __version__

# Threads of torch and numba that wait shall sleep: spinning ones take the cores of others, tenfold on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

app = typer.Typer(
    name="nufitdose",
    help="Voxel dosimetry of radionuclide therapy from serial SPECT/CT and PET/CT. Research use; not a medical device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

simulate = typer.Typer(no_args_is_help=True, help="Digital patients whose motion, kinetics and dose are known.")
simulate.command(name="patient")(simulation.simulate_patient)
simulate.command(name="cohort")(simulation.simulate_cohort)

app.command()(simulation.demo)
app.command(name="import", cls=dicom.ForSeries)(dicom.import_)
app.command()(patient.segment)
app.command()(archive.listen)
app.command()(archive.send)
app.command()(patient.dosimetry)
app.command()(patient.register)
app.command()(patient.kernels)
app.command()(patient.recovery)
app.command()(many.cohort)
app.command()(many.accumulate)
app.command()(training.pretrain)
app.command()(training.finetune)
app.command()(training.tune)
app.command()(simulation.evaluate)
app.command()(information.config)
app.command()(information.info)
app.command()(information.report)
app.command()(information.view)
app.add_typer(simulate, name="simulate")


def main() -> None:
    """Run the command line: exit code 0 done, 1 failed, 2 bad arguments or bad input, 130 on Ctrl-C, 143 on SIGTERM.

    What a command writes is for its user alone (modes 600 and 700, less what the umask takes): it is patient data.
    """
    from nufitdose.progress import one_clock

    try:
        with _for_its_user_alone(), _stoppable(), one_clock():
            app(prog_name="nufitdose")
    except InputError as error:
        print(f"nufitdose: {error}", file=sys.stderr)
        sys.exit(2)
    except RunStopped as error:
        print(f"nufitdose: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        text = f"the system refused: {error.strerror or error}{place}"
        print(f"nufitdose: {printable(text, most=1000)}", file=sys.stderr)
        sys.exit(1)
    except Exception:
        traceback.print_exc()
        print("nufitdose: this is a fault of the program, not yours; please report the lines above.", file=sys.stderr)
        sys.exit(1)


@contextmanager
def _for_its_user_alone() -> Iterator[None]:
    before = os.umask(0o077)
    os.umask(before | 0o077)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def _stoppable() -> Iterator[None]:
    """On SIGTERM and Ctrl-C leave through every block, so that what is half written goes."""

    def stop(signum: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + signum)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
