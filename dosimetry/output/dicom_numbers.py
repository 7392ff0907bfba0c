"""The numbers of structures that go into the structured report, and their codes.

Codes of DICOM and SNOMED CT where there are; others are of this program (99NUFITDOSE).
"""

from collections.abc import Iterator

from dosimetry.results import PatientResults, StructureResult
from nufitdose.io.dicom.write.measurements import Coded, Measured, MeasuredStructure

_GY: Coded = ("Gy", "UCUM", "gray")
_ML: Coded = ("mL", "UCUM", "milliliter")
_G: Coded = ("g", "UCUM", "gram")
_H: Coded = ("h", "UCUM", "hour")
_MBQ_H: Coded = ("MBq.h", "UCUM", "megabecquerel hour")
_DOSES: tuple[tuple[str, Coded], ...] = (
    ("dose_min_gy", ("128532", "DCM", "Minimum Absorbed Radiation Dose")),
    ("dose_max_gy", ("128531", "DCM", "Maximum Absorbed Radiation Dose")),
    ("dose_d50_gy", ("128539", "DCM", "Median Absorbed Radiation Dose")),
    ("dose_d2_gy", ("D0002", "99NUFITDOSE", "Dose that 2 percent of the volume receive at least")),
    ("dose_d98_gy", ("D0098", "99NUFITDOSE", "Dose that 98 percent of the volume receive at least")),
)


def measured_structures(results: PatientResults, numbers: dict[str, int]) -> list[MeasuredStructure]:
    """The structures by the number of their segment."""
    return [MeasuredStructure(row.name, numbers[row.name], tuple(_measured(row))) for row in results.structures]


def _measured(row: StructureResult) -> Iterator[Measured]:
    yield Measured(("118565006", "SCT", "Volume"), row.volume_ml, _ML)
    yield Measured(("118538004", "SCT", "Mass"), row.mass_g, _G)
    mean: Coded = ("128533", "DCM", "Mean Absorbed Radiation Dose")
    yield Measured(mean, row.dose.get("dose_mean_gy", float("nan")), _GY, row.u_dose_mean_gy)
    for column, name in _DOSES:
        yield Measured(name, row.dose.get(column, float("nan")), _GY)
    u = row.relative_u_tia
    yield Measured(("A0001", "99NUFITDOSE", "Time-integrated activity"), row.tia_mbq_h, _MBQ_H, u * row.tia_mbq_h)
    yield Measured(("A0002", "99NUFITDOSE", "Time-integrated activity coefficient"), row.tiac_h, _H, u * row.tiac_h)
    yield Measured(("A0003", "99NUFITDOSE", "Effective half-life"), row.curve.teff_h, _H, row.curve.u_teff_h)
    if row.biological is not None:
        found = row.biological
        bed: Coded = ("B0001", "99NUFITDOSE", "Biologically effective dose, mean")
        eqd2: Coded = ("B0002", "99NUFITDOSE", "Equivalent dose in fractions of 2 Gy, mean")
        yield Measured(bed, found.bed_mean_gy, _GY, found.u_bed_mean_gy)
        yield Measured(eqd2, found.eqd2_mean_gy, _GY, found.u_eqd2_mean_gy)
