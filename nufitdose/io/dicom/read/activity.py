"""Activity scans: stored values of PT and NM series as Bq/mL at the start of the acquisition."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

import numpy as np

from nufitdose.errors import InputError
from nufitdose.io.dicom.read.claims import StartClaim, start_claim
from nufitdose.io.dicom.read.decay import Undone
from nufitdose.io.dicom.read.given import NOTHING, Given
from nufitdose.io.dicom.read.images import ImageSeries
from nufitdose.io.dicom.read.isotope import Isotope, isotope
from nufitdose.io.dicom.read.timing import Timing, timing
from nufitdose.io.dicom.read.units import Calibrated, in_bq_ml
from nufitdose.volume import Quantity, Volume

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ActivityScan:
    """A PT or NM series in Bq/mL as the file refers to it, with what it says about time and administration.

    `series` carries slopes in Bq/mL per stored value. `corrections` are those of CorrectedImage (0028,0051), None
    where the file does not list any.
    """

    series: ImageSeries
    timing: Timing
    isotope: Isotope
    claim: StartClaim
    calibration: Calibrated
    corrections: frozenset[str] | None
    given: Given = NOTHING
    in_file: Timing | None = None

    @property
    def units(self) -> str:
        """What the file holds."""
        return self.calibration.units

    @property
    def uncorrected(self) -> bool:
        """Whether the file says that attenuation was not corrected for."""
        return self.corrections is not None and "ATTN" not in self.corrections

    def when_corrected(self) -> Timing:
        """The times that the file's decay correction was made with: its own, as far as it states them.

        A start that is only shifted by an offset from UTC is the scan's own.
        """
        own = self.in_file
        if own is None or (self.given.acquired_at is None and self.given.hours is None):
            return self.timing
        if (own.started.tzinfo is None) != (self.timing.started.tzinfo is None):
            return self.timing
        return own

    def read(self, undone: Undone) -> Volume:
        """Bq/mL at the start of the acquisition."""
        values = self.series.read_values()
        values *= undone.factors.astype(np.float32)
        return Volume(values, self.series.grid, Quantity.ACTIVITY)

    def in_zone(self, offset: timezone) -> "ActivityScan":
        """The same scan with a start that states no offset read as local to `offset`."""
        if self.timing.started.tzinfo is not None:
            return self
        started = self.timing.started.replace(tzinfo=offset)
        moment = self.claim.moment
        if moment is not None and moment.tzinfo is None:
            moment = moment.replace(tzinfo=offset)
        claim = replace(self.claim, acquired=started, moment=moment)
        return replace(self, timing=replace(self.timing, started=started), claim=claim)

    def sources(self) -> Mapping[str, str]:
        """Where each fact comes from: an attribute of the file, or an option."""
        found = {"acquired": self.timing.source, "Bq/mL": self.calibration.how}
        if self.given.decay_correction is not None:
            found["decay"] = self.given.source("decay_correction")
        return found

    def record(self) -> dict[str, Any]:
        """What is known of the scan, for run.json."""
        return {
            "series": self.series.series_uid,
            "description": self.series.description,
            "acquired": self.timing.started.isoformat(),
            "acquired_from": self.timing.source,
            "units_in_file": self.units,
            "calibration": self.calibration.how,
            "corrections_in_file": None if self.corrections is None else sorted(self.corrections),
            "slices": len(self.series.frames),
            "slice_deviation_mm": round(self.series.deviation_mm, 4),
        }


def activity_scan(series: ImageSeries, given: Given = NOTHING, administered: datetime | None = None) -> ActivityScan:
    """Read what a PT or NM series says about units, time and administration; pixels stay on disk.

    What the user says goes before what the file says; `administered` is what his hours count from. Raises
    `InputError` on units other than Bq/mL without a calibration, and on objects of one series that disagree.
    """
    calibrated = in_bq_ml(series, given)
    when = timing(series, given, administered)
    found = isotope(series.header)
    claim = start_claim(series.header, when.started)
    for header in series.headers[1:]:
        other = start_claim(header, when.started)
        if isotope(header) != found or (other.moment, other.clock) != (claim.moment, claim.clock):
            raise InputError(
                f"this file and {series.header.path.name} of the same series disagree about what was administered",
                where=header.path,
                remedy="Export the series again",
            )
    if when.source == "SeriesTime":
        _LOG.warning("%s has no acquisition time; the start of the series is taken", series.where)
    corrections = _corrections(series)
    return ActivityScan(calibrated.series, when, found, claim, calibrated, corrections, given, _own_timing(series))


def _own_timing(series: ImageSeries) -> Timing | None:
    try:
        return timing(series)
    except InputError:
        return None


def _corrections(series: ImageSeries) -> frozenset[str] | None:
    listed = series.same_text("CorrectedImage")
    return frozenset(listed.split("\\")) if listed else None


def hours_after(moment: datetime, administered: datetime) -> float:
    """Hours from administration to `moment`."""
    return (moment - administered).total_seconds() / 3600.0
