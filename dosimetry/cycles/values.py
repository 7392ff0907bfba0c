"""One cycle of a patient as its results folder tells it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dosimetry.cohort.finished import read_record
from dosimetry.cohort.values import number, read_rows
from dosimetry.config import REST, WHOLE_BODY
from nufitdose.errors import InputError
from nufitdose.io.nifti import load_volume
from nufitdose.study import Administration, Study, TimePoint
from nufitdose.volume import Quantity, Volume

_TOTAL = "total"


@dataclass(frozen=True)
class CycleDose:
    """A structure in one cycle: mean dose and BED, Gy, with relative standard uncertainties of the dose by cause.

    `linear_gy` is w D, the part of BED that is linear in the dose. BED is NaN where it is not known.
    """

    role: str
    dose_mean_gy: float
    bed_mean_gy: float
    u_bed_mean_gy: float
    linear_gy: float
    alpha_beta_gy: float
    relative_u: Mapping[str, float]

    @property
    def bed_by_dose_gy(self) -> float:
        """dBED/dlnD = w D + 2 G <D²>/(α/β) = 2 BED - w D, Gy."""
        return 2.0 * self.bed_mean_gy - self.linear_gy


@dataclass(frozen=True)
class Cycle:
    """A finished patient run: its name here, where it lies, whose it is, and every structure's dose.

    `study` is the study folder it was run from, None where only the results were given.
    """

    name: str
    results: Path
    study: Path | None
    patient: str
    nuclide: str
    reference: str
    administration: Administration
    doses: Mapping[str, CycleDose]

    def as_study(self) -> Study:
        """Its reference scan alone, as the results hold it, to register by."""
        place = self.results / "registered"
        ct = place / f"{self.reference}_ct.nii.gz"
        points = read_rows(self.results / "tac.csv")
        scan = TimePoint.of(
            self.reference,
            next(number(row, "time_h") for row in points if row["timepoint"] == self.reference),
            load_volume(place / f"{self.reference}_activity.nii.gz", Quantity.ACTIVITY),
            load_volume(ct, Quantity.HU) if ct.is_file() else None,
        )
        return Study(self.patient, self.nuclide, self.administration, self.reference, (scan,))

    def dose(self) -> Volume:
        """Its absorbed dose, Gy."""
        return load_volume(self.results / "maps" / "dose.nii.gz", Quantity.DOSE)


def read_cycle(name: str, results: Path, study: Path | None) -> Cycle:
    """A cycle from its results folder. Raises `InputError` where that is not one of a finished patient run."""
    record = read_record(results)
    if record is None or record.get("command") != "dosimetry" or "finished" not in record:
        raise InputError("this holds no finished patient run", where=results, remedy="Give a study folder, or run it")
    try:
        administration = Administration(float(record["administered_mbq"]), _time(record["administered_at"]))
        patient, nuclide, reference = (str(record[key]) for key in ("patient", "nuclide", "reference"))
    except KeyError as error:
        raise InputError(
            f"its run.json does not say {error}, it was made by an earlier version",
            where=results,
            remedy="Give the study folder in its place",
        ) from error
    doses = _doses(results)
    return Cycle(name, results, study, patient, nuclide, reference, administration, doses)


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _doses(results: Path) -> dict[str, CycleDose]:
    parts: dict[str, dict[str, float]] = {}
    for row in read_rows(results / "uncertainty.csv"):
        if row["part"] != _TOTAL:
            parts.setdefault(row["structure"], {})[row["part"]] = number(row, "relative_u_percent") / 100.0
    return {
        row["structure"]: CycleDose(
            row["role"],
            number(row, "dose_mean_gy"),
            number(row, "bed_mean_gy"),
            number(row, "u_bed_mean_gy"),
            number(row, "dose_rbe_mean_gy") if row.get("dose_rbe_mean_gy") else number(row, "dose_mean_gy"),
            number(row, "alpha_beta_gy"),
            parts.get(row["structure"], {}),
        )
        for row in read_rows(results / "metrics.csv")
        if row["structure"] in parts and row["structure"] not in (REST, WHOLE_BODY)
    }
