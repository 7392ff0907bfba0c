"""Limits of what can be asked of the simulator."""

import math
from dataclasses import dataclass

from nufitdose.errors import InputError


@dataclass(frozen=True)
class Limits:
    """Smallest and largest value that makes sense."""

    low: float | int
    high: float | int


def require(what: str, value: float | int | None, limits: Limits, unit: str = "") -> None:
    """`InputError` when a value is given that is not a number within the limits; None passes."""
    if value is None or (math.isfinite(value) and limits.low <= value <= limits.high):
        return
    unit = f" {unit}" if unit else ""
    raise InputError(f"{what} of {value}{unit} was given, {limits.low:g} to {limits.high:g}{unit} is wanted")
