"""What became of every patient, read from the results folders; the rows of cohort.csv and structures.csv."""

import csv
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from dosimetry.cohort.finished import read_record
from nufitdose.io.csv_table import Row
from nufitdose.jobs import Fault, Outcome

COHORT_COLUMNS = (
    "patient", "study", "results", "status", "light", "because", "registration_light", "warnings", "seconds", "tries",
    "peak_mb", "host", "fault",
)  # fmt: skip
_OWN_COLUMNS = ("patient", "study")
_WORST_FIRST = ("red", "amber", "grey", "green")
_PAIRS_WORST_FIRST = ("failed", "check", "unknown", "good")


class Status(StrEnum):
    """How a patient ended."""

    DONE = "done"
    KEPT = "kept"  # done by an earlier run
    FAILED = "failed"


@dataclass(frozen=True)
class MemberResult:
    """A study by its name in the cohort, what came of it, and the rows of its metrics.csv (none where it failed)."""

    study: str
    patient: str
    status: Status
    outcome: Outcome
    structures: tuple[dict[str, str], ...] = ()
    pairs: tuple[dict[str, str], ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def fault(self) -> Fault | None:
        """Why it failed."""
        return self.outcome.fault

    @property
    def light(self) -> tuple[str, str]:
        """The worst light of its structures and why; ("", "") where it failed."""
        judged = [
            (row.get("light", ""), f"{row['structure']}: {row.get('light_reason', '')}") for row in self.structures
        ]
        judged = [pair for pair in judged if pair[0] in _WORST_FIRST]
        if not judged:
            return ("grey" if self.structures else "", "no structure was judged" if self.structures else "")
        return min(judged, key=lambda pair: _WORST_FIRST.index(pair[0]))

    @property
    def judged(self) -> list[tuple[str, str]]:
        """Role and light of each structure that was judged."""
        return [(row["role"], row["light"]) for row in self.structures if row.get("light") in _WORST_FIRST]

    @property
    def pair_light(self) -> str:
        """The worst light of its registered pairs; "" where there is none."""
        found = [row["light"] for row in self.pairs if row.get("light") in _PAIRS_WORST_FIRST]
        return min(found, key=_PAIRS_WORST_FIRST.index, default="")

    @property
    def row(self) -> Row:
        """Its row of cohort.csv."""
        light, because = self.light
        fault = self.outcome.fault
        return {
            "patient": self.patient,
            "study": self.study,
            "results": f"patients/{self.study}" if fault is None else "",
            "status": self.status.value,
            "light": light,
            "because": because,
            "registration_light": self.pair_light,
            "warnings": len(self.warnings),
            "seconds": self.outcome.seconds,
            "tries": self.outcome.tries,
            "peak_mb": self.outcome.peak_mb,
            "host": self.outcome.host,
            "fault": "" if fault is None else f"{fault.kind.value}: {fault.text}",
        }


def read_member(study: str, results: Path, outcome: Outcome) -> MemberResult:
    """What became of a study."""
    if outcome.fault is not None:
        return MemberResult(study, study, Status.FAILED, outcome)
    record = read_record(results) or {}
    return MemberResult(
        study,
        str(record.get("patient", study)),
        Status.KEPT if outcome.value else Status.DONE,
        outcome,
        read_rows(results / "metrics.csv"),
        read_rows(results / "registration.csv"),
        tuple(str(text) for text in record.get("warnings", ())),
    )


def read_rows(path: Path) -> tuple[dict[str, str], ...]:
    """The rows of a table that this program wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))


def number(row: dict[str, str], column: str) -> float:
    """A number of such a row; NaN where it is not known."""
    text = row.get(column, "")
    return float(text) if text else float("nan")


def structure_rows(members: tuple[MemberResult, ...]) -> tuple[tuple[str, ...], list[Row]]:
    """Columns and rows of structures.csv: those of every metrics.csv, with the patient before them."""
    own = [(member, row) for member in members for row in member.structures]
    columns = tuple(dict.fromkeys(name for _, row in own for name in row))
    empty = dict.fromkeys(columns, "")
    rows: list[Row] = [{"patient": member.patient, "study": member.study, **empty, **row} for member, row in own]
    return (*_OWN_COLUMNS, *columns), rows
