"""What the user says of a series, heard before its files are judged."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone


@dataclass(frozen=True)
class Given:
    """Facts of one series as the user states them; None where he says nothing.

    `by` names the option of each fact. Facts in `for_all` were said of all series and give way to what this file
    says clearly where that is the rule; the others were said of this series and go before the file.
    """

    calibration: float | None = None  # Bq/mL per stored count
    sensitivity: float | None = None  # cps/MBq
    acquired_at: datetime | None = None
    hours: float | None = None  # after administration
    utc_offset: timezone | None = None
    decay_correction: str | None = None
    duration_s: float | None = None
    slice_step_mm: float | None = None
    reconstruction: bool | None = None  # an image of activity, whatever its type says
    accept_uncorrected: bool | None = None  # without attenuation correction all the same
    accept_implausible: bool | None = None  # an activity or a time that cannot be
    by: Mapping[str, str] = field(default_factory=dict)
    for_all: frozenset[str] = frozenset()

    def for_this(self, fact: str) -> bool:
        """Whether the fact was said of this very series."""
        return getattr(self, fact) is not None and fact not in self.for_all

    def source(self, fact: str) -> str:
        """The option that said so."""
        return self.by.get(fact, f"option {fact}")


NOTHING = Given()
