"""A scanner's description as text: the entry `scanner:` of `study.yaml`, or a file of its own."""

from datetime import date
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from nufitdose.config import Settings, build, dump_yaml, read_yaml
from nufitdose.errors import InputError
from nufitdose.files import write_whole
from nufitdose.io.study_folder.fields import Name, Number
from nufitdose.scanner import Calibration, RecoveryCurve, ResolutionAtDepth, Scanner

#: The file that `nufitdose recovery` writes and `scanner:` may name.
SCANNER_FILE = "scanner.yaml"


def _as_three(value: Any) -> Any:
    return [value] * 3 if isinstance(value, int | float) and not isinstance(value, bool) else value


def _as_date(value: Any) -> Any:
    if isinstance(value, bool | int | float):
        raise ValueError("a date in quotes is wanted, as '2024-03-01'")
    return value


Day = Annotated[date, BeforeValidator(_as_date)]
Widths = Annotated[tuple[Number, Number, Number], BeforeValidator(_as_three)]


class RecoveryEntry(Settings):
    """`recovery:` R(V) = 1 - 1/(1 + (V/β1)^β2) and the covariance of (β1, β2)."""

    beta1_ml: Number
    beta2: Number
    covariance: tuple[tuple[Number, Number], tuple[Number, Number]]


class CalibrationEntry(Settings):
    """`calibration:` what the images are multiplied by, and its relative standard uncertainty."""

    factor: Number = 1.0
    u_percent: Number
    date: Day | None = None
    u_cross_calibration_percent: Number = 0.0
    u_scan_percent: Number | None = None


class DepthEntry(Settings):
    """One of the two of `by_depth:`, the resolution at a depth below the surface of the body."""

    depth_mm: Number
    fwhm_mm: Widths


class ScannerEntry(Settings):
    """`scanner:` or a scanner file; `fwhm_mm` along i, j, k of the activity images, one number for all three."""

    name: Name
    fwhm_mm: Widths
    by_depth: tuple[DepthEntry, DepthEntry] | None = None
    u_fwhm_percent: Number | None = None
    recovery: RecoveryEntry | None = None
    calibration: CalibrationEntry | None = Field(default=None)

    def scanner(self) -> Scanner:
        """The description; `InputError` where it cannot be."""
        recovery, calibration = self.recovery, self.calibration
        at = [ResolutionAtDepth(entry.depth_mm, entry.fwhm_mm) for entry in self.by_depth or ()]
        return Scanner(
            self.name,
            self.fwhm_mm,
            None if recovery is None else RecoveryCurve(recovery.beta1_ml, recovery.beta2, recovery.covariance),
            None if calibration is None else Calibration(**calibration.model_dump()),
            (at[0], at[1]) if at else None,
            self.u_fwhm_percent,
        )


def read_scanner(path: str | Path) -> Scanner:
    """Read and check a scanner file; `InputError` names it."""
    path = Path(path)
    try:
        return build(ScannerEntry, read_yaml(path), where=path).scanner()
    except InputError as error:
        raise error.located(path) from error


def write_scanner(scanner: Scanner, path: str | Path) -> Path:
    """Write a scanner file; returns its path."""
    return write_whole(path, dump_yaml(scanner_entry(scanner)))


def scanner_entry(scanner: Scanner) -> dict[str, Any]:
    """A description as plain values, for `scanner:` and scanner files."""
    entry: dict[str, Any] = {"name": scanner.name, "fwhm_mm": [float(f) for f in scanner.fwhm_mm]}
    if scanner.by_depth is not None:
        entry["by_depth"] = [
            {"depth_mm": float(at.depth_mm), "fwhm_mm": [float(f) for f in at.fwhm_mm]} for at in scanner.by_depth
        ]
    if scanner.u_fwhm_percent is not None:
        entry["u_fwhm_percent"] = float(scanner.u_fwhm_percent)
    if scanner.recovery is not None:
        curve = scanner.recovery
        covariance = [[float(v) for v in row] for row in curve.covariance]
        entry["recovery"] = {
            "beta1_ml": float(curve.beta1_ml),
            "beta2": float(curve.beta2),
            "covariance": covariance,
        }
    if scanner.calibration is not None:
        known = scanner.calibration
        entry["calibration"] = {"factor": float(known.factor), "u_percent": float(known.u_percent)}
        if known.date is not None:
            entry["calibration"]["date"] = known.date.isoformat()
        if known.u_cross_calibration_percent:
            entry["calibration"]["u_cross_calibration_percent"] = float(known.u_cross_calibration_percent)
        if known.u_scan_percent is not None:
            entry["calibration"]["u_scan_percent"] = float(known.u_scan_percent)
    return entry
