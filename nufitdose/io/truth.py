"""What is known of a digital patient, beside its study in `truth/`: the fields of every scan, and landmarks."""

import csv
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.io.field_file import load_field
from nufitdose.types import Field, Points

FOLDER = "truth"
LANDMARKS = "landmarks.csv"


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Positions (mm, RAS+) by time point, in the same order at each; `structures` names what each belongs to."""

    points: Mapping[str, Points]
    structures: tuple[str, ...]

    def shared(self, fixed: str, fixed_grid: Grid, moving: str, moving_grid: Grid) -> tuple[Points, Points]:
        """The landmarks of two time points that lie within both grids."""
        f, m = self.points[fixed], self.points[moving]
        seen = fixed_grid.contains(f) & moving_grid.contains(m)
        return f[seen], m[seen]


@dataclass(frozen=True, eq=False)
class TrueFields:
    """Displacements of a scan (mm, RAS+, pull): from the reference pose to it (`field`) and back (`inverse`)."""

    field: tuple[Field, Grid]
    inverse: tuple[Field, Grid]


def field_paths(folder: Path, timepoint: str) -> tuple[Path, Path]:
    """The files of a scan's field and its inverse in a folder `truth/`."""
    return folder / f"{timepoint}_field.nii.gz", folder / f"{timepoint}_inverse_field.nii.gz"


def read_true_fields(study_folder: Path, timepoint: str) -> TrueFields | None:
    """The true motion of a scan; None for a study without truth. Raises `InputError` on a broken file."""
    forward, inverse = field_paths(study_folder / FOLDER, timepoint)
    if not (forward.is_file() and inverse.is_file()):
        return None
    return TrueFields(load_field(forward), load_field(inverse))


def read_landmarks(study_folder: Path) -> Landmarks | None:
    """The landmarks of a digital patient; None for a study without truth. Raises `InputError` on a broken file."""
    path = study_folder / FOLDER / LANDMARKS
    if not path.is_file():
        return None
    points: dict[str, list[list[float]]] = defaultdict(list)
    structures: dict[str, list[str]] = defaultdict(list)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                points[row["timepoint"]].append([float(row[f"moving_{axis}_mm"]) for axis in "xyz"])
                structures[row["timepoint"]].append(row["structure"])
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise InputError(f"this is no table of landmarks ({error})", where=path) from error
    if not all(np.isfinite(rows).all() for rows in points.values()):
        raise InputError("positions that are not finite numbers were found in this table of landmarks", where=path)
    orders = {tuple(names) for names in structures.values()}
    if len(orders) != 1:
        raise InputError("the time points do not list the same landmarks", where=path)
    return Landmarks({key: np.array(rows) for key, rows in points.items()}, orders.pop())
