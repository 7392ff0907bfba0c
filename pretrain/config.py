"""Settings of the pre-training; defaults here, YAML and `--set` only override."""

from collections.abc import Iterable
from pathlib import Path

from nufitdose.config import build, read_yaml, with_overrides
from nufitdose.training.stage import StageSettings


class PretrainSettings(StageSettings):
    """Everything a pre-training can be told."""


def load_settings(path: Path, overrides: Iterable[str] = ()) -> PretrainSettings:
    """The settings of a YAML file with `key=value` overrides on top."""
    return build(PretrainSettings, with_overrides(read_yaml(path), overrides), where=path)
