"""What an import is asked for, and what it answers: options, one row a series, the plan."""

from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from nufitdose.errors import InputError
from nufitdose.io.dicom.read.activity import Calibration
from nufitdose.io.dicom.read.decay import CORRECTIONS
from nufitdose.study import Administration, Study


@dataclass(frozen=True)
class ImportOptions:
    """What the user supplies where the files do not say.

    `administered_at` is ISO 8601. `series` names SeriesInstanceUIDs (or SOPInstanceUIDs of single objects) to
    take: among the kinds of series it names (activity, CT, structures) no others are used. `reference` is the
    id of a time point.
    """

    nuclide: str | None = None
    administered_mbq: float | None = None
    administered_at: datetime | str | None = None
    calibration_bq_per_ml_per_count: float | None = None
    sensitivity_cps_per_mbq: float | None = None
    decay_correction: str | None = None
    patient: str | None = None
    series: tuple[str, ...] = ()
    reference: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.administered_at, str):
            try:
                text = self.administered_at.strip()
                if ":" not in text:
                    raise ValueError(text)  # a date alone would be read as midnight
                object.__setattr__(self, "administered_at", datetime.fromisoformat(text))
            except ValueError:
                raise InputError(
                    f"the administration time {self.administered_at!r} was given",
                    remedy="Write it as 2018-11-15T09:22:00, with an offset as +01:00 if the files state theirs",
                ) from None
        if self.decay_correction is not None:
            object.__setattr__(self, "decay_correction", self.decay_correction.strip().upper())
            if self.decay_correction not in CORRECTIONS:
                raise InputError(
                    f"the decay correction {self.decay_correction!r} was given, wanted one of {', '.join(CORRECTIONS)}"
                )
        if self.administered_mbq is not None:
            Administration(self.administered_mbq)
        Calibration(self.calibration_bq_per_ml_per_count, self.sensitivity_cps_per_mbq)

    @property
    def calibration(self) -> Calibration:
        """What turns counts into Bq/mL."""
        return Calibration(self.calibration_bq_per_ml_per_count, self.sensitivity_cps_per_mbq)

    @property
    def given_calibration(self) -> bool:
        """Whether the user gave one."""
        return self.calibration_bq_per_ml_per_count is not None or self.sensitivity_cps_per_mbq is not None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for run.json."""
        at = self.administered_at
        return {**asdict(self), "administered_at": at.isoformat() if isinstance(at, datetime) else at}


@dataclass(frozen=True)
class SeriesRow:
    """One series as the dry run shows it; None where unknown."""

    series_uid: str
    modality: str
    description: str
    files: int
    hours: float | None
    matrix: tuple[int, int, int] | None
    spacing_mm: tuple[float, float, float] | None
    orientation: str | None
    units: str
    total_mbq: float | None
    use: str

    def texts(self) -> tuple[str, ...]:
        """The row as text, in order of `ImportPlan.columns`."""
        return (
            self.modality,
            self.description,
            str(self.files),
            "-" if self.hours is None else f"{self.hours:.3f}",
            "-" if self.matrix is None else " × ".join(map(str, self.matrix)),
            "-" if self.spacing_mm is None else " × ".join(f"{mm:.4g}" for mm in self.spacing_mm),
            self.orientation or "-",
            self.units or "-",
            "-" if self.total_mbq is None else f"{self.total_mbq:.2f}",
            self.use,
        )


@dataclass(frozen=True, eq=False)
class ImportPlan:
    """What a folder of DICOM holds and what is done with it.

    `refusal` is why no study can be made of it, or None.
    """

    series: tuple[SeriesRow, ...]
    refusal: InputError | None
    _study: Study | None = field(repr=False)
    _files: tuple[Path, ...] = field(repr=False)
    _record: dict[str, Any] = field(repr=False)

    columns = (
        "modality", "description", "files", "hours", "matrix", "spacing mm", "axes", "units", "total MBq", "use",
    )  # fmt: skip

    @property
    def study(self) -> Study:
        """The study, images read on first use; raises the refusal where there is one."""
        if self.refusal is not None or self._study is None:
            raise self.refusal or InputError("the series make no study")
        return self._study

    def rows(self) -> list[tuple[str, ...]]:
        """The series as texts, in order of `columns`."""
        return [row.texts() for row in self.series]

    def files(self) -> list[Path]:
        """The files the study is made of."""
        return list(self._files)

    def record(self) -> dict[str, Any]:
        """What was used and how decay was undone, for run.json."""
        return self._record
