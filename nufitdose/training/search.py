"""What a hyper-parameter search may be told, and the settings that one of its trials runs with."""

import json
from collections.abc import Iterator, Mapping
from math import log
from typing import Any, Literal

from pydantic import Field, model_validator

from nufitdose.config import Settings, with_overrides

Value = str | int | float | bool
_NEAR = 0.02  # of a range: an optimum so close to its end lies on it


class Range(Settings):
    """Numbers from `low` to `high`: `linear`, even in their logarithm (`log`), or whole (`int`)."""

    low: float = Field(allow_inf_nan=False)
    high: float = Field(allow_inf_nan=False)
    scale: Literal["linear", "log", "int"] = "linear"

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, given: Any) -> Any:
        return dict(zip(("low", "high", "scale"), given, strict=False)) if isinstance(given, list) else given

    @model_validator(mode="after")
    def _in_order(self) -> "Range":
        if not self.low < self.high:
            raise ValueError(f"the lower bound {self.low:g} is not below the upper bound {self.high:g}")
        if self.scale == "log" and self.low <= 0:
            raise ValueError("a range of scale log begins above 0")
        if self.scale == "int" and (self.low % 1 or self.high % 1):
            raise ValueError("a range of scale int has whole bounds")
        return self

    def bound_at(self, value: float) -> float | None:
        """The bound that `value` lies on, within 2 % of the range; None inside."""
        low, high, at = (log(n) if self.scale == "log" else n for n in (self.low, self.high, value))
        share = (at - low) / (high - low)
        return self.low if share < _NEAR else self.high if share > 1 - _NEAR else None


class Choices(Settings):
    """One of several values."""

    choices: tuple[Value, ...] = Field(min_length=2)


class SearchSettings(Settings):
    """What is searched: `config` is a configuration of `stage` (beside this file), `settings` are laid over it.

    `search` names settings with dots: `[low, high]`, `[low, high, log]`, `[low, high, int]` or `{choices: [...]}`.
    `minimise` is a column of validation.csv, read where the loss is least; null: `tre_mm` where validation patients
    have a known motion, else `loss`. After `unpruned_trials` a trial that is worse than the median of the earlier ones
    at the same step is stopped.
    """

    stage: Literal["pretrain", "finetune"]
    config: str
    settings: dict[str, Any] = Field(default_factory=dict)
    search: dict[str, Range | Choices] = Field(min_length=1)
    trials: int = Field(default=30, ge=1)
    unpruned_trials: int = Field(default=5, ge=0)
    minimise: str | None = None


def trial_config(base: Mapping[str, Any], settings: Mapping[str, Any], chosen: Mapping[str, Value]) -> dict[str, Any]:
    """A configuration with `settings` laid over it and the chosen values on top."""
    laid = [*_leaves(settings), *chosen.items()]
    return with_overrides(base, (f"{key}={json.dumps(value)}" for key, value in laid))


def on_bounds(search: Mapping[str, Range | Choices], chosen: Mapping[str, Value]) -> list[str]:
    """A sentence for every chosen value that lies on the end of its range."""
    found = []
    for key, space in search.items():
        bound = space.bound_at(float(chosen[key])) if isinstance(space, Range) else None
        if bound is not None:
            found.append(f"{key} = {chosen[key]:.4g} lies on the bound {bound:g} of its range: widen it and search on")
    return found


def _leaves(settings: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield above + key, value
