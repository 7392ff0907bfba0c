"""Activity scans: stored values of PT and NM series as Bq/mL at the start of the acquisition."""

import logging
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np

from nufitdose.errors import InputError
from nufitdose.io.dicom.read.decay import Timing, Undone, rotation_duration_s, timing
from nufitdose.io.dicom.read.headers import Header
from nufitdose.io.dicom.read.images import ImageSeries
from nufitdose.io.dicom.read.isotope import Isotope, isotope, radiopharmaceutical
from nufitdose.io.dicom.read.times import StartClaim, start_claim
from nufitdose.volume import Quantity, Volume

_LOG = logging.getLogger(__name__)
_GIVE_FACTOR = (
    "Give --calibration in Bq/mL per count, or --sensitivity in cps/MBq, or export the image in Bq/mL (Units BQML)"
)
_UCUM_BQ_ML = {"Bq/ml": 1.0, "kBq/ml": 1e3, "MBq/ml": 1e6}
_COUNTS = {"", "CNTS"}


@dataclass(frozen=True)
class Calibration:
    """What turns counts into Bq/mL, given by the user: a factor per count, or the camera's sensitivity."""

    bq_per_ml_per_count: float | None = None
    sensitivity_cps_per_mbq: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("calibration", self.bq_per_ml_per_count), ("sensitivity", self.sensitivity_cps_per_mbq)):
            if value is not None and not (np.isfinite(value) and value > 0.0):
                raise InputError(f"a {name} of {value} was given, wanted a positive number")
        if self.bq_per_ml_per_count is not None and self.sensitivity_cps_per_mbq is not None:
            raise InputError("both a calibration factor and a sensitivity were given", remedy="Give one of the two")


@dataclass(frozen=True, eq=False)
class ActivityScan:
    """A PT or NM series in Bq/mL as the file refers to it, with what it says about time and administration.

    `series` carries slopes in Bq/mL per stored value; `units` says what the file holds, `calibrated` how it
    became Bq/mL.
    """

    series: ImageSeries
    timing: Timing
    isotope: Isotope
    claim: StartClaim
    units: str
    calibrated: str

    def read(self, undone: Undone) -> Volume:
        """Bq/mL at the start of the acquisition."""
        values = self.series.read_values()
        values *= undone.factors.astype(np.float32)
        return Volume(values, self.series.grid, Quantity.ACTIVITY)

    def record(self) -> dict[str, Any]:
        """What is known of the scan, for run.json."""
        return {
            "series": self.series.series_uid,
            "description": self.series.description,
            "acquired": self.timing.started.isoformat(),
            "acquired_from": self.timing.source,
            "units_in_file": self.units,
            "calibration": self.calibrated,
            "slices": len(self.series.frames),
            "slice_deviation_mm": round(self.series.deviation_mm, 4),
        }


def activity_scan(series: ImageSeries, calibration: Calibration) -> ActivityScan:
    """Read what a PT or NM series says about units, time and administration; pixels stay on disk.

    Raises `InputError` on units other than Bq/mL without a calibration, and on objects of one series that
    disagree.
    """
    when = timing(series)
    calibrated, units, how = _in_bq_ml(series, calibration)
    found = isotope(series.header)
    claim = start_claim(series.header, radiopharmaceutical(series.header), when.started)
    for header in series.headers[1:]:
        other = start_claim(header, radiopharmaceutical(header), when.started)
        if isotope(header) != found or (other.moment, other.clock) != (claim.moment, claim.clock):
            raise InputError(
                f"this file and {series.header.path.name} of the same series disagree about what was administered",
                where=header.path,
                remedy="Export the series again",
            )
    if when.source == "SeriesTime":
        _LOG.warning("%s has no acquisition time; the start of the series is taken", series.where)
    return ActivityScan(calibrated, when, found, claim, units, how)


def _in_bq_ml(series: ImageSeries, calibration: Calibration) -> tuple[ImageSeries, str, str]:
    """The series with slopes to Bq/mL, the units in the file, and how they became Bq/mL."""
    units = series.same_text("Units")
    if units == "BQML":
        return series, "BQML", "in the file"
    if any(header.has("RealWorldValueMappingSequence") for header in series.headers):
        return (
            _with_slopes(series, [_mapping(header) for header in series.headers]),
            units or "counts",
            ("RealWorldValueMapping of the file"),
        )
    if units not in _COUNTS or (not units and not series.header.is_nm):
        raise series.header.wrong("Units", "BQML is wanted", _GIVE_FACTOR.replace("Give", "For counts give"))
    factor, how = _factor(series, calibration)
    slopes = [(frame.slope * factor, frame.intercept * factor) for frame in series.frames]
    frames = tuple(
        replace(frame, slope=slope, intercept=intercept)
        for frame, (slope, intercept) in zip(series.frames, slopes, strict=True)
    )
    return replace(series, frames=frames), units or "counts", how


def _factor(series: ImageSeries, calibration: Calibration) -> tuple[float, str]:
    """Bq/mL per count: given, or 1e6 / (S[cps/MBq] · duration[s] · voxel[mL])."""
    if calibration.bq_per_ml_per_count is not None:
        return calibration.bq_per_ml_per_count, f"{calibration.bq_per_ml_per_count:g} Bq/mL per count as given"
    if calibration.sensitivity_cps_per_mbq is None:
        raise InputError("the image holds counts and nothing says what a count is worth", where=series.where,
                         remedy=_GIVE_FACTOR)  # fmt: skip
    duration_s = rotation_duration_s(series.header)
    if duration_s is None:
        raise InputError(
            "a sensitivity was given, but RotationInformationSequence (0054,0052) does not say how long the "
            "acquisition lasted (ActualFrameDuration and NumberOfFramesInRotation)",
            where=series.where,
            remedy="Give --calibration in Bq/mL per count instead",
        )
    sensitivity = calibration.sensitivity_cps_per_mbq
    factor = 1e6 / (sensitivity * duration_s * series.grid.voxel_volume_ml)
    return factor, f"{sensitivity:g} cps/MBq as given over {duration_s:g} s: {factor:.6g} Bq/mL per count"


def _with_slopes(series: ImageSeries, mappings: list[tuple[float, float]]) -> ImageSeries:
    of = {id(header): mapping for header, mapping in zip(series.headers, mappings, strict=True)}
    frames = tuple(
        replace(frame, slope=of[id(frame.header)][0], intercept=of[id(frame.header)][1]) for frame in series.frames
    )
    return replace(series, frames=frames)


def _mapping(header: Header) -> tuple[float, float]:
    """Slope and intercept from stored values to Bq/mL of RealWorldValueMappingSequence (0040,9096)."""
    for item in header.items("RealWorldValueMappingSequence"):
        units = [code.text("CodeValue").replace("mL", "ml") for code in item.items("MeasurementUnitsCodeSequence")]
        scale = _UCUM_BQ_ML.get(units[0]) if units else None
        if scale is not None:
            slope = item.required_number("RealWorldValueSlope", _GIVE_FACTOR)
            intercept = item.required_number("RealWorldValueIntercept", _GIVE_FACTOR)
            if slope == 0.0:
                raise item.wrong("RealWorldValueSlope", "a slope other than zero is wanted", _GIVE_FACTOR)
            return slope * scale, intercept * scale
    raise header.wrong("RealWorldValueMappingSequence", "a mapping in Bq/ml is wanted", _GIVE_FACTOR)


def hours_after(moment: datetime, administered: datetime) -> float:
    """Hours from administration to `moment`."""
    return (moment - administered).total_seconds() / 3600.0
