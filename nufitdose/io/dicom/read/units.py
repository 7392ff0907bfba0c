"""What a stored value of a PT or NM series is worth in Bq/mL, and who says so.

In this order: a factor the user gives for this series; Bq/mL in the file; a Real World Value Mapping to Bq/mL; the
activity factor of Philips PET; SUV by body weight, turned back; a factor the user gives for all series.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from nufitdose.errors import InputError
from nufitdose.io.dicom.read.claims import radiopharmaceutical
from nufitdose.io.dicom.read.given import Given
from nufitdose.io.dicom.read.headers import Header
from nufitdose.io.dicom.read.images import ImageSeries
from nufitdose.io.dicom.read.times import clock_time, date_and_time, date_time, seconds_between, zone
from nufitdose.io.dicom.read.timing import rotation_duration_s

_LOG = logging.getLogger(__name__)
_GIVE_FACTOR = (
    "Give --calibration in Bq/mL per count, or --sensitivity in cps/MBq, or export the image in Bq/mL (Units BQML)"
)
_FOR_COUNTS = _GIVE_FACTOR.replace("Give", "For counts give", 1)
_UCUM_BQ_ML = {"Bq/ml": 1.0, "kBq/ml": 1e3, "MBq/ml": 1e6}
#: Units a factor can be given for: stored values in proportion to counts.
_COUNTS = {"", "CNTS", "PROPCNTS", "CPS", "PROPCPS"}
#: Philips PET (its DICOM conformance statement): SUV by weight, and Bq/mL, for one rescaled value.
_PHILIPS, _PHILIPS_SUV, _PHILIPS_BQ_ML = ("Philips PET Private Group", 0x7053), 0x00, 0x09


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
class Calibrated:
    """A series with slopes in Bq/mL per stored value; the units in the file, and how they became Bq/mL.

    `by_option` is whether a factor of the user's was used.
    """

    series: ImageSeries
    units: str
    how: str
    by_option: bool = False
    per_count: bool = False


def in_bq_ml(series: ImageSeries, given: Given) -> Calibrated:
    """The series in Bq/mL. Raises `InputError` where nothing says what a stored value is worth."""
    units = series.same_text("Units")
    shown = units or "counts"
    if given.for_this("calibration") or given.for_this("sensitivity"):
        if units == "BQML":
            _LOG.warning("%s is in Bq/mL; its values are multiplied as given for this series", series.where)
        return _by_option(series, given, shown)
    if units == "BQML":
        return Calibrated(series, "BQML", "in the file")
    if any(header.has("RealWorldValueMappingSequence") for header in series.headers):
        mapped = _with_slopes(series, [_mapping(header) for header in series.headers])
        return Calibrated(mapped, shown, "RealWorldValueMapping of the file")
    philips = [_philips_factor(header, _PHILIPS_BQ_ML) for header in series.headers] if units in _COUNTS else []
    if philips and all(philips):
        return Calibrated(
            _scaled(series, [factor or 0.0 for factor in philips]), shown, "Philips activity factor (7053,1009)"
        )
    philips_suv = [_philips_factor(header, _PHILIPS_SUV) for header in series.headers] if units in _COUNTS else []
    if philips_suv and all(philips_suv) and (factors := _suv_factors(series)) is not None:
        products = [(own or 0.0) * factor for own, factor in zip(philips_suv, factors, strict=True)]
        return Calibrated(_scaled(series, products), shown, "Philips SUV factor (7053,1000), SUV turned back")
    if units == "GML" and (factors := _suv_factors(series)) is not None:
        return Calibrated(_scaled(series, factors), units, "SUV by body weight, turned back with weight and activity")
    stated = given.calibration is not None or given.sensitivity is not None
    if units not in _COUNTS or (not units and not series.header.is_nm and not stated):
        raise series.header.wrong("Units", "BQML is wanted", _FOR_COUNTS)
    if not stated and not series.header.is_nm and units != "CNTS":
        raise series.header.wrong("Units", "BQML is wanted", _FOR_COUNTS)
    return _by_option(series, given, shown)


def _by_option(series: ImageSeries, given: Given, units: str) -> Calibrated:
    """Bq/mL per count: given, or 1e6 / (S[cps/MBq] · duration[s] · voxel[mL])."""
    if given.calibration is not None:
        how = f"{given.calibration:g} Bq/mL per count ({given.source('calibration')})"
        return Calibrated(_scaled(series, [given.calibration]), units, how, True, given.calibration is not None)
    if given.sensitivity is None:
        raise InputError("the image holds counts and nothing says what a count is worth", where=series.where,
                         remedy=_GIVE_FACTOR)  # fmt: skip
    duration_s = given.duration_s or rotation_duration_s(series.header)
    if duration_s is None:
        raise InputError(
            "a sensitivity was given, but RotationInformationSequence (0054,0052) does not say how long the "
            "acquisition lasted (ActualFrameDuration and NumberOfFramesInRotation)",
            where=series.where,
            remedy="Give --calibration in Bq/mL per count instead, or the duration with --for SERIES duration_s=...",
        )
    factor = 1e6 / (given.sensitivity * duration_s * series.grid.voxel_volume_ml)
    how = (
        f"{given.sensitivity:g} cps/MBq ({given.source('sensitivity')}) over {duration_s:g} s, {factor:.6g} Bq/mL each"
    )
    return Calibrated(_scaled(series, [factor]), units, how, True)


def _scaled(series: ImageSeries, factors: Sequence[float]) -> ImageSeries:
    """The series with slopes and intercepts times a factor: one for all, or one an object."""
    many = list(factors) * (len(series.headers) if len(factors) == 1 else 1)
    of = {id(header): factor for header, factor in zip(series.headers, many, strict=True)}
    frames = tuple(
        replace(f, slope=f.slope * of[id(f.header)], intercept=f.intercept * of[id(f.header)]) for f in series.frames
    )
    return replace(series, frames=frames)


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


def _philips_factor(header: Header, element: int) -> float | None:
    value = header.private_number(*_PHILIPS, element)
    return value if value is not None and value > 0.0 else None


def _suv_factors(series: ImageSeries) -> list[float] | None:
    """Bq/mL for one g/mL of each object, or None where the file does not hold what that takes.

    SUVbw = c · weight / activity at the time the values refer to, so c = SUV · A(t) / weight: the whole activity
    where DecayCorrection is ADMIN, what decay leaves of it at the series time where it is START.
    """
    factors = []
    for header in series.headers:
        try:
            factor = _suv_factor(header)
        except InputError:
            return None
        if factor is None:
            return None
        factors.append(factor)
    return factors


def _suv_factor(header: Header) -> float | None:
    drug, weight_kg, kind = radiopharmaceutical(header), header.number("PatientWeight"), header.text("SUVType")
    if drug is None or not weight_kg or weight_kg < 1.0 or kind not in {"", "BW"}:
        return None
    activity_bq, half_life_s = drug.number("RadionuclideTotalDose"), drug.number("RadionuclideHalfLife")
    if not activity_bq or activity_bq < 1e5 or not half_life_s:
        return None
    correction = header.text("DecayCorrection")
    if correction == "ADMIN":
        return activity_bq / (1000.0 * weight_kg)
    reference = date_and_time(header, "SeriesDate", "SeriesTime")
    given = _given_at(header, drug, reference)
    if correction != "START" or given is None or reference is None:
        return None
    elapsed_s = seconds_between(reference, given, header)
    return activity_bq * math.exp(-math.log(2.0) * elapsed_s / half_life_s) / (1000.0 * weight_kg)


def _given_at(header: Header, drug: Header, reference: datetime | None) -> datetime | None:
    """When the activity was given; a time of day alone is taken on the day of the scan, where that is before it."""
    moment = date_time(drug, "RadiopharmaceuticalStartDateTime", zone(header))
    if moment is not None or reference is None or not drug.has("RadiopharmaceuticalStartTime"):
        return moment
    clock = clock_time(drug, "RadiopharmaceuticalStartTime")
    same_day = datetime.combine(reference.date(), clock, tzinfo=reference.tzinfo)
    return same_day if same_day <= reference else None
