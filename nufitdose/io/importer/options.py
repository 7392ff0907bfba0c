"""What an import is asked for: facts of the treatment, facts of the series, and what to take."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from nufitdose.errors import InputError
from nufitdose.io.dicom.read.given import Given
from nufitdose.io.dicom.read.units import Calibration
from nufitdose.io.importer.facts import FACTS, parse_fact, parse_for, parse_moment, read_facts
from nufitdose.study import Administration


@dataclass(frozen=True)
class ImportOptions:
    """What the user supplies where the files do not say, or say wrongly.

    Times are ISO 8601. `series` names the series to take by number, SeriesInstanceUID, or SOPInstanceUID of a single
    object: among the kinds of series it names (activity, CT, structures) no others are used. `for_series` holds
    facts of single series by the same names (see `nufitdose.io.importer.facts`), which go before those of all.
    `reference` is the id of a time point. `identify`: the patient of the files goes into the study (see
    `nufitdose.io.importer.identity`).
    """

    nuclide: str | None = None
    administered_mbq: float | None = None
    administered_at: datetime | str | None = None
    calibration_bq_per_ml_per_count: float | None = None
    sensitivity_cps_per_mbq: float | None = None
    decay_correction: str | None = None
    patient: str | None = None
    identify: bool = False
    series: tuple[str, ...] = ()
    reference: str | None = None
    acquired_at: datetime | str | None = None
    hours: float | None = None
    utc_offset: timezone | str | None = None
    slice_step_mm: float | None = None
    accept_uncorrected: bool | None = None
    accept_implausible: bool | None = None
    join_beds: bool = False
    for_series: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.administered_at is not None:
            object.__setattr__(self, "administered_at", parse_moment(self.administered_at, "administration time"))
        for name in ("acquired_at", "hours", "utc_offset", "decay_correction", "slice_step_mm"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, parse_fact(name, getattr(self, name)))
        if self.administered_mbq is not None:
            Administration(self.administered_mbq)
        Calibration(self.calibration_bq_per_ml_per_count, self.sensitivity_cps_per_mbq)
        parsed = {
            str(name): {fact: parse_fact(fact, value) for fact, value in facts.items()}
            for name, facts in self.for_series.items()
        }
        for facts in parsed.values():
            Calibration(facts.get("calibration"), facts.get("sensitivity"))
        object.__setattr__(self, "for_series", parsed)

    @property
    def given_at(self) -> datetime | None:
        """The time of administration, where it was given."""
        assert not isinstance(self.administered_at, str)
        return self.administered_at

    @property
    def given_calibration(self) -> bool:
        """Whether a factor was given for all series."""
        return self.calibration_bq_per_ml_per_count is not None or self.sensitivity_cps_per_mbq is not None

    def given_for(self, names: frozenset[str]) -> Given:
        """What was said of the series of these names: of it alone, else of all."""
        own: dict[str, Any] = {}
        by: dict[str, str] = {}
        for name in sorted(names & set(self.for_series), key=lambda name: ("." in name, len(name))):  # 3.1 after 3
            own |= self.for_series[name]
            by |= dict.fromkeys(self.for_series[name], f"--for {name}")
        if {"calibration", "sensitivity"} & own.keys():
            own = {"calibration": None, "sensitivity": None, **own}  # one of the two replaces what was said for all
        if {"acquired_at", "hours"} & own.keys():
            own = {"acquired_at": None, "hours": None, **own}
        for_all = {
            "calibration": (self.calibration_bq_per_ml_per_count, "--calibration"),
            "sensitivity": (self.sensitivity_cps_per_mbq, "--sensitivity"),
            "acquired_at": (self.acquired_at, "--acquired-at"),
            "hours": (self.hours, "--hours"),
            "utc_offset": (self.utc_offset, "--utc-offset"),
            "decay_correction": (self.decay_correction, "--decay-correction"),
            "slice_step_mm": (self.slice_step_mm, "--slice-step"),
            "accept_uncorrected": (self.accept_uncorrected, "--accept-uncorrected"),
            "accept_implausible": (self.accept_implausible, "--accept-implausible"),
        }
        shared: dict[str, Any] = {
            fact: value for fact, (value, _) in for_all.items() if value is not None and fact not in own
        }
        return Given(
            **own,
            **shared,
            by={**{fact: for_all[fact][1] for fact in shared}, **by},
            for_all=frozenset(shared),
        )

    def check_names(self, known: frozenset[str]) -> None:
        """Raise `InputError` where a series was named that is not there."""
        for name in (*self.series, *self.for_series):
            if name not in known:
                raise InputError(
                    f"the series {name} is not in the folder",
                    remedy="Run with --dry-run to see what is there, by number and UID",
                )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for run.json."""
        plain = asdict(self)
        plain["for_series"] = {
            name: {fact: FACTS[fact].show(value) for fact, value in facts.items()}
            for name, facts in self.for_series.items()
        }
        for name in ("administered_at", "acquired_at", "utc_offset"):
            value = plain[name]
            plain[name] = value.isoformat() if isinstance(value, datetime) else None if value is None else str(value)
        return plain


def gather_options(facts: Path | None, for_series: Sequence[str], **options: Any) -> ImportOptions:
    """The options of a command line: `for_series` as 'SERIES key=value', and below them those of a facts file."""
    of_all, by_series = read_facts(facts) if facts is not None else ({}, {})
    pairs = []
    for text in for_series:
        series, _, statement = text.partition(" ")
        pairs.append((series, statement))
    for series, own in parse_for(pairs).items():
        by_series[series] = by_series.get(series, {}) | own
    said = {name: value for name, value in options.items() if value is not None}
    return ImportOptions(**{**of_all, **said}, for_series=by_series)
