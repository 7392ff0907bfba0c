"""Settings of the pre-training; defaults here, YAML and `--set` only override."""

from nufitdose.training.settings import StageSettings


class PretrainSettings(StageSettings):
    """Everything a pre-training can be told."""
