"""What an import answers: one row a series, and the plan."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nufitdose.errors import InputError
from nufitdose.io.importer.identity import Redaction
from nufitdose.io.importer.options import ImportOptions
from nufitdose.study import Study


@dataclass(frozen=True)
class SeriesRow:
    """One series as the dry run shows it; None where unknown.

    `sources` says of each fact where it comes from; `structures` are names, roles and volumes in mL.
    """

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
    number: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)
    structures: tuple[tuple[str, str, float], ...] = ()
    remedy: str | None = None

    def texts(self) -> tuple[str, ...]:
        """The row as text, in order of `ImportPlan.columns`."""
        return (
            self.number,
            self.modality,
            self.description,
            str(self.files),
            "-" if self.hours is None else f"{self.hours:.3f}",
            "-" if self.total_mbq is None else f"{self.total_mbq:.2f}",
            self.use,
        )

    def details(self) -> list[str]:
        """What else is known, a line each."""
        lines = []
        if self.matrix is not None and self.spacing_mm is not None:
            voxels = " × ".join(map(str, self.matrix))
            size = " × ".join(f"{mm:.4g}" for mm in self.spacing_mm)
            lines.append(", ".join(filter(None, [f"{voxels} of {size} mm", self.orientation, self.units])))
        lines += [f"{fact}: {source}" for fact, source in self.sources.items()]
        lines += [f"{name}: {role}, {volume:.4g} mL" for name, role, volume in self.structures]
        return lines


@dataclass(frozen=True, eq=False)
class ImportPlan:
    """What a folder of DICOM holds and what is done with it.

    `refusal` is why no study can be made of it, or None. `redaction` is for what is written of a patient who goes by
    another name.
    """

    series: tuple[SeriesRow, ...]
    refusal: InputError | None
    _study: Study | None = field(repr=False)
    _files: tuple[Path, ...] = field(repr=False)
    _record: dict[str, Any] = field(repr=False)
    options: ImportOptions = field(default_factory=ImportOptions)
    redaction: Redaction | None = field(default=None, repr=False)

    columns = ("#", "type", "description", "files", "hours", "MBq", "use")

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
