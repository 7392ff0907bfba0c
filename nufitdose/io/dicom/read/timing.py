"""When each slice of a series was acquired, and for how long."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from nufitdose.errors import InputError
from nufitdose.io.dicom.read.given import NOTHING, Given
from nufitdose.io.dicom.read.headers import Header
from nufitdose.io.dicom.read.images import ImageSeries
from nufitdose.io.dicom.read.times import acquisition_time
from nufitdose.types import PerVoxel

LONGEST_S = 7 * 86400.0  # of a frame or the time between frames of one scan


@dataclass(frozen=True, eq=False)
class Timing:
    """When the slices of a series were acquired, by slice index k.

    `started` is the start of the whole acquisition; `offsets_s` when each slice's frame started after that;
    `durations_s` how long it lasted, None where the file does not say. `source` is the attribute used.
    """

    started: datetime
    offsets_s: PerVoxel
    durations_s: PerVoxel | None
    source: str

    @property
    def ended(self) -> datetime:
        """The end of the last frame, as far as the file tells."""
        lasted = self.durations_s if self.durations_s is not None else np.zeros_like(self.offsets_s)
        return self.started + timedelta(seconds=float((self.offsets_s + lasted).max()))


def timing(series: ImageSeries, given: Given = NOTHING, administered: datetime | None = None) -> Timing:
    """When each slice was acquired; the start is what the user says, where he says it.

    Hours the user gives count from `administered`. Without a word of his the file tells (see below).
    """
    started = given.acquired_at
    if given.hours is not None and administered is not None:
        started = administered + timedelta(hours=given.hours)
    if given.duration_s is not None:
        durations = np.full(len(series.frames), given.duration_s)
        return replace(timing(series, replace(given, duration_s=None), administered), durations_s=durations)
    if started is None:
        return _timing_of_file(series)
    source = given.source("acquired_at" if given.acquired_at is not None else "hours")
    try:
        return replace(_timing_of_file(series), started=started, source=source)
    except InputError:
        return Timing(started, np.zeros(len(series.frames)), per_slice(series, "ActualFrameDuration", 1e-3), source)


def _timing_of_file(series: ImageSeries) -> Timing:
    """When each slice was acquired, as the file tells.

    Frames start at their own AcquisitionTime; where that is one time for all slices and FrameReferenceTime
    (0054,1300) differs, as some systems write several bed positions, the frames start as far apart as their
    reference times.
    """
    if series.header.is_nm:
        moment, source = acquisition_time(series.header)
        duration_s = rotation_duration_s(series.header)
        lasted = None if duration_s is None else np.full(len(series.frames), duration_s)
        return Timing(moment, np.zeros(len(series.frames)), lasted, source)
    found = [acquisition_time(frame.header) for frame in series.frames]
    sources = {source for _, source in found}
    if len(sources) > 1:
        raise InputError(
            f"the slices say when they were acquired in different ways: {', '.join(sorted(sources))}",
            where=series.where,
            remedy="Export the series again",
        )
    moments = [moment for moment, _ in found]
    for frame, moment in zip(series.frames, moments, strict=True):
        if (moment.tzinfo is None) != (moments[0].tzinfo is None):
            raise frame.header.wrong("TimezoneOffsetFromUTC", "all slices or none must state it")
    started = min(moments)
    offsets = np.array([(moment - started).total_seconds() for moment in moments])
    durations = per_slice(series, "ActualFrameDuration", 1e-3)
    if durations is not None and durations.min() <= 0.0:
        durations = None
    references = per_slice(series, "FrameReferenceTime", 1e-3)
    if np.ptp(offsets) == 0.0 and references is not None:
        offsets = references - references.min()
    return Timing(started, offsets, durations, sources.pop())


def rotation_duration_s(header: Header) -> float | None:
    """How long a tomographic NM acquisition lasted: views in the rotation times the time of each (PS3.3 C.8.4.12)."""
    total = 0.0
    for rotation in header.items("RotationInformationSequence"):
        duration_ms, views = rotation.number("ActualFrameDuration"), rotation.number("NumberOfFramesInRotation")
        if not duration_ms or not views:
            return None
        if not 0.0 < duration_ms * 1e-3 * views <= LONGEST_S:
            raise rotation.wrong("ActualFrameDuration", f"{views:g} views are to last less than a week together")
        total += duration_ms * 1e-3 * views
    return total or None


def per_slice(series: ImageSeries, keyword: str, scale: float) -> PerVoxel | None:
    """A number of every slice, or None where it is absent from all; `InputError` where absent from some."""
    found = [frame.header.number(keyword) for frame in series.frames]
    for frame, value in zip(series.frames, found, strict=True):
        if value is not None and abs(value * scale) > LONGEST_S:
            raise frame.header.wrong(keyword, "less than a week is wanted")
    if all(value is None for value in found):
        return None
    for frame, value in zip(series.frames, found, strict=True):
        if value is None:
            raise frame.header.missing(keyword)
    return np.array(found, dtype=np.float64) * scale
