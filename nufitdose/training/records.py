"""The tables and curves of a training run: one row a step, cut back to where a resumed run goes on."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nufitdose.errors import InputError
from nufitdose.files import whole_file

METRICS = "metrics.csv"
VALIDATION = "validation.csv"
CURVES = "tensorboard"


class StepTable:
    """A CSV file that grows row by row; `columns` come with the first row, 'step' first.

    Opened to go on after `step`: later rows, and a last line cut short by a kill, are dropped.
    """

    def __init__(self, path: Path, *, after_step: int) -> None:
        self._path = path
        self._columns: list[str] | None = None
        if path.is_file():
            self._cut_back(after_step)

    def add(self, row: Mapping[str, float]) -> None:
        """Append a row, whole; floats keep every digit."""
        with self._path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if self._columns is None:
                self._columns = list(row)
                writer.writerow(self._columns)
            writer.writerow([row[name] for name in self._columns])

    def _cut_back(self, step: int) -> None:
        text = self._path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        rows = list(csv.reader(whole.splitlines()))
        if not rows:
            self._path.unlink()
            return
        kept = [row for row in rows[1:] if int(row[0]) <= step]
        with whole_file(self._path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([rows[0], *kept])
        self._columns = rows[0]


class Curves:
    """The same numbers for TensorBoard, in `tensorboard/`; what lies after `step` is hidden where a run goes on.

    Raises `InputError` where the package is not installed.
    """

    def __init__(self, run: Path, *, after_step: int) -> None:
        self._writer = tensorboard_writer()(log_dir=str(run / CURVES), purge_step=after_step + 1)

    def add(self, group: str, row: Mapping[str, float]) -> None:
        """One point on every curve `group/name`, on disk before the next step."""
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(f"{group}/{name}", value, int(row["step"]))
        self._writer.flush()


@dataclass(frozen=True, eq=False)
class RunTables:
    """metrics.csv and validation.csv, and their curves where wanted, on the process that writes."""

    steps: StepTable | None
    validations: StepTable | None
    curves: Curves | None

    @classmethod
    def open(cls, folder: Path, step: int, *, writes: bool, tensorboard: bool) -> "RunTables":
        """Those of the run in `folder` that goes on after `step`; none where this process does not write."""
        if not writes:
            return cls(None, None, None)
        steps, validations = (StepTable(folder / name, after_step=step) for name in (METRICS, VALIDATION))
        return cls(steps, validations, Curves(folder, after_step=step) if tensorboard else None)

    def add_step(self, step: int, means: Mapping[str, float], state: Mapping[str, float], took_s: float) -> None:
        """A row of means of the losses and what else the step came to."""
        row = {"step": step, "loss": means["loss"], **means, **state}
        if self.steps is not None:
            self.steps.add({**row, "seconds": round(took_s, 4)})
        if self.curves is not None:
            self.curves.add("training", row)

    def add_validation(self, step: int, found: Mapping[str, float]) -> None:
        """A row of what a validation found."""
        row = {"step": step, "loss": found["loss"], **found}
        if self.validations is not None:
            self.validations.add(row)
        if self.curves is not None:
            self.curves.add("validation", row)


def tensorboard_writer() -> Any:
    """The class that writes for TensorBoard, an extra of the installation."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError(
            "loop.tensorboard is set and the package tensorboard is not installed",
            remedy="pip install 'nufitdose[tensorboard]', or leave it out: metrics.csv holds the same numbers",
        ) from error
    return SummaryWriter


def read_table(path: Path) -> list[dict[str, float]]:
    """The rows of such a table."""
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
