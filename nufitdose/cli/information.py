"""Commands that tell: config."""

from typing import Annotated, Literal

import typer

from nufitdose.config import Settings

Stage = Literal["dosimetry", "pretrain", "finetune"]


def config(
    stage: Annotated[Stage, typer.Argument(metavar="[STAGE]", help="dosimetry, pretrain or finetune.")] = "dosimetry",
) -> None:
    """Print all settings of a stage with their defaults, as YAML with comments, ready for --config."""
    from nufitdose.commented_settings import commented_yaml

    print(commented_yaml(_settings_of(stage)), end="")


def _settings_of(stage: Stage) -> type[Settings]:
    if stage == "pretrain":
        from pretrain.config import PretrainSettings

        return PretrainSettings
    if stage == "finetune":
        from finetune.config import FinetuneSettings

        return FinetuneSettings
    from dosimetry.config import DosimetrySettings

    return DosimetrySettings
