"""Commands that tell and show: config, info, report, view."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from nufitdose.cli.options import AsJson
from nufitdose.config import Settings

Stage = Literal["dosimetry", "pretrain", "finetune", "correction"]


def config(
    stage: Annotated[
        Stage, typer.Argument(metavar="STAGE", help="dosimetry, pretrain, finetune or correction.")
    ] = "dosimetry",
) -> None:
    """Print all settings of a stage with their defaults, as YAML with comments, ready for --config."""
    from nufitdose.commented_settings import commented_yaml

    print(commented_yaml(_settings_of(stage)), end="")


def info(
    place: Annotated[
        Path | None, typer.Argument(metavar="OUT|WEIGHTS|STUDY", help="Of what; by default the installation.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell the facts of the installation, of a results folder, of weights or of a study."""
    from nufitdose.information import as_text, gather_facts
    from nufitdose.text import json_text

    facts = gather_facts(place)
    print(json_text(facts) if as_json else as_text(facts))


def report(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Results folder of 'nufitdose dosimetry'.")],
    pdf: Annotated[bool, typer.Option("--pdf", help="Print it to report.pdf too; needs Chromium.")] = False,
) -> None:
    """Build report.html of a results folder again, from its files alone."""
    from dosimetry.report import print_pdf, write_report

    page = write_report(out)
    print(f"report: {page}")
    if pdf:
        print(f"printed: {print_pdf(page)}")


def view(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Results folder.")],
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")] = True,
) -> None:
    """Show the report of a results folder in the browser, served to this machine alone until Ctrl-C."""
    import webbrowser
    from threading import Event

    from nufitdose.serving import served

    with served(out) as address:
        print(f"{address}\nCtrl-C ends it.", flush=True)
        if browser:
            webbrowser.open(address)
        Event().wait()


def _settings_of(stage: Stage) -> type[Settings]:
    if stage == "pretrain":
        from pretrain.config import PretrainSettings

        return PretrainSettings
    if stage == "finetune":
        from finetune.config import FinetuneSettings

        return FinetuneSettings
    if stage == "correction":
        from finetune.config import CorrectionSettings

        return CorrectionSettings
    from dosimetry.config import DosimetrySettings

    return DosimetrySettings
