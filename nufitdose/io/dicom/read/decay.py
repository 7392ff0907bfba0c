"""Decay correction undone: what a file's values refer to, and the factors to activity at the start of the scan.

With λ = ln 2 / T and T the half-life the file was corrected with, a stored value v of a slice whose frame
started at t after the start of the scan and lasted d becomes

    ADMIN   v · exp(−λ (t0 − t_administration))
    START   v · exp(−λ (t0 − t_reference)), the reference being the start of the series
    NONE    v · λd / (1 − exp(−λd)) · exp(λt): v is the mean over its own frame

(DICOM PS3.3 C.8.9.1.1.2 Decay Correction; C.8.9.4.1.6 for the mean over a frame; the reference of START where
the series time was changed by later processing: QIBA profile FDG-PET/CT, SUV computation).
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from nufitdose.errors import InputError
from nufitdose.io.dicom.read.given import NOTHING, Given
from nufitdose.io.dicom.read.headers import Header
from nufitdose.io.dicom.read.images import ImageSeries
from nufitdose.io.dicom.read.times import acquisition_time, date_and_time, date_time, seconds_between, zone
from nufitdose.types import PerVoxel

_LOG = logging.getLogger(__name__)
CORRECTIONS = ("NONE", "START", "ADMIN")
STATEMENTS = (*CORRECTIONS, "SERIES")  # what a user may say
_AGREE = 0.002  # two ways to a decay factor may differ by this
_LONGEST_S = 7 * 86400.0  # of a frame or the time between frames of one scan
_UNCONFIRMED = 0.01  # a reference nothing confirms may change the values by this
_LONGEST_SCAN_S = 3600.0  # no acquisition is taken to last longer, where its duration is unknown
_SAY = (
    "Say what the values refer to with --decay-correction none, start (of the acquisition), series (the series time) "
    "or admin(istration)"
)


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


@dataclass(frozen=True, eq=False)
class Undone:
    """Factors `[k]` that turn stored values into activity at the start of the scan, and why."""

    correction: str
    reference: str
    factors: PerVoxel
    half_life_s: float

    def record(self) -> dict[str, Any]:
        """What was done, for run.json."""
        low, high = float(self.factors.min()), float(self.factors.max())
        return {
            "decay_correction_in_file": self.correction,
            "values_referred_to": self.reference,
            "half_life_s": self.half_life_s,
            "factor_to_acquisition_start": low if low == high else [low, high],
        }


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
        return Timing(started, np.zeros(len(series.frames)), _per_slice(series, "ActualFrameDuration", 1e-3), source)


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
    durations = _per_slice(series, "ActualFrameDuration", 1e-3)
    if durations is not None and durations.min() <= 0.0:
        durations = None
    references = _per_slice(series, "FrameReferenceTime", 1e-3)
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
        if not 0.0 < duration_ms * 1e-3 * views <= _LONGEST_S:
            raise rotation.wrong("ActualFrameDuration", f"{views:g} views are to last less than a week together")
        total += duration_ms * 1e-3 * views
    return total or None


def undo_decay(
    series: ImageSeries,
    when: Timing,
    administered: datetime,
    half_life_s: float,
    option: str | None,
    *,
    overrule: bool = False,
    acquired: datetime | None = None,
) -> Undone:
    """Factors to activity at the start of the scan.

    `administered` is what the file's ADMIN refers to; `option` is what the user says where the file does
    not say or contradicts itself, or against the file where he is to `overrule` it; `acquired` is when the scan began
    where that is another time than the file has. Raises `InputError` on a
    correction that is missing, contradictory or refers to a time that cannot be told.
    """
    if option == "SERIES":
        return _from_series_time(series, when, half_life_s)
    correction = option if overrule and option is not None else _correction(series, option)
    rate = math.log(2.0) / half_life_s
    ones = np.ones(len(series.frames))
    if correction == "ADMIN":
        elapsed_s = seconds_between(acquired or when.started, administered, series.header)
        factors = ones * math.exp(-rate * elapsed_s)
        return Undone(correction, f"administration at {administered.isoformat()}", factors, half_life_s)
    if correction == "START":
        try:
            reference = _start_reference(series, when, rate)
        except InputError:
            if option != "START":
                raise
            return Undone(correction, "acquisition start, as given with --decay-correction", ones, half_life_s)
        factors = ones * math.exp(-rate * seconds_between(when.started, reference, series.header))
        return Undone(correction, f"series start at {reference.isoformat()}", factors, half_life_s)
    if when.durations_s is None:
        lost = rate * _LONGEST_SCAN_S / 2.0
        if lost <= _UNCONFIRMED:
            _LOG.warning(
                "%s: ActualFrameDuration (0018,1242) is absent; the values are taken as activity at the start of the "
                "scan, which is higher by less than %.1f %%",
                series.where,
                100 * lost,
            )
            return Undone(correction, "acquisition start, the duration being unknown", ones, half_life_s)
        raise InputError(
            "the values are not decay-corrected, so they are means over the acquisition, but ActualFrameDuration "
            "(0018,1242) does not say how long it lasted",
            where=series.where,
            remedy=f"Export the series with its duration. {_SAY}",
        )
    during = rate * when.durations_s
    with np.errstate(over="ignore"):
        factors = during / -np.expm1(-during) * np.exp(rate * when.offsets_s)
    if not np.isfinite(factors).all():
        raise InputError(
            f"the scan lasted {float(when.offsets_s.max()):.0f} s, too long for a half-life of {half_life_s:g} s",
            where=series.where,
            remedy="Check the half-life and the times of the slices",
        )
    return Undone(correction, "mean over each slice's own frame", factors, half_life_s)


def _from_series_time(series: ImageSeries, when: Timing, half_life_s: float) -> Undone:
    """Values decay-corrected to SeriesDate and SeriesTime, as the user says."""
    reference = date_and_time(series.header, "SeriesDate", "SeriesTime")
    if reference is None:
        raise series.header.missing("SeriesTime", _SAY)
    if when.started.tzinfo is not None and reference.tzinfo is None:
        reference = reference.replace(tzinfo=when.started.tzinfo)
    before_s = seconds_between(when.started, reference, series.header)
    factors = np.full(len(series.frames), math.exp(-math.log(2.0) / half_life_s * before_s))
    return Undone("START", f"series time {reference.isoformat()}, as given with --decay-correction", factors,
                  half_life_s)  # fmt: skip


def _correction(series: ImageSeries, option: str | None) -> str:
    """NONE, START or ADMIN: DecayCorrection (0054,1102), checked against DECY in CorrectedImage (0028,0051)."""
    if option is not None and option not in CORRECTIONS:
        raise InputError(f"the decay correction {option!r} was given, wanted one of {', '.join(CORRECTIONS)}")
    header = series.header
    stated, corrections = series.same_text("DecayCorrection"), series.same_text("CorrectedImage")
    flagged = "DECY" in corrections.split("\\")
    if stated and stated not in CORRECTIONS:
        raise header.wrong("DecayCorrection", f"one of {', '.join(CORRECTIONS)} is wanted", _SAY)
    if not stated and header.is_nm:
        # the NM object has no DecayCorrection; CorrectedImage alone tells (PS3.3 C.8.4.8)
        if option is None and flagged:
            raise InputError(
                "CorrectedImage (0028,0051) says DECY, decay-corrected, but an NM image does not say to what time",
                where=series.where,
                remedy=_SAY,
            )
        return option or "NONE"
    if not stated and option is None:
        raise header.missing("DecayCorrection", _SAY)
    contradicts = bool(stated and corrections) and flagged != (stated != "NONE")
    if contradicts and option is None:
        raise InputError(
            f"DecayCorrection (0054,1102) is {stated} but CorrectedImage (0028,0051) is {corrections!r}"
            f"{' with' if flagged else ' without'} DECY",
            where=series.where,
            remedy=_SAY,
        )
    if stated and option not in {None, stated} and not contradicts:
        raise InputError(
            f"--decay-correction {str(option).lower()} was given but DecayCorrection (0054,1102) is {stated}",
            where=series.where,
            remedy="Leave the option out: it is for files that do not say; --for SERIES decay_correction=... overrules "
            "one file",
        )
    return option or stated


def _start_reference(series: ImageSeries, when: Timing, rate: float) -> datetime:
    """The time START refers to: the series' own, unless later processing changed that."""
    series.same_text("SeriesTime")
    series.same_text("SeriesDate")
    if (said := date_time(series.header, "DecayCorrectionDateTime", zone(series.header))) is not None:
        return said  # an enhanced PET object says it itself
    stated = date_and_time(series.header, "SeriesDate", "SeriesTime")
    if stated is not None and stated.tzinfo is None and when.started.tzinfo is not None:
        stated = stated.replace(tzinfo=when.started.tzinfo)  # its zone was settled with that of the acquisition
    before_s = None if stated is None else seconds_between(when.started, stated, series.header)
    implied = _implied_by_decay_factor(series, when, rate)
    if stated is not None and before_s is not None and before_s >= -0.5:
        factor = math.exp(-rate * before_s)
        if implied and min(abs(factor / other - 1.0) for other in implied) > _AGREE:
            raise InputError(
                f"DecayCorrection is START and the series started at {stated.isoformat()}, but DecayFactor (0054,1321) "
                f"refers to a time for which the factor would be {implied[0]:.4f} instead of {factor:.4f}",
                where=series.where,
                remedy=_SAY,
            )
        if not implied and 1.0 - factor > _UNCONFIRMED:
            raise InputError(
                f"DecayCorrection is START and SeriesTime lies {before_s:.0f} s before the acquisition; nothing "
                f"confirms that the values refer to it, which changes them by {100 * (1 - factor):.1f} %",
                where=series.where,
                remedy=_SAY,
            )
        return stated
    found = _after_processing(series, when, rate, implied)
    _LOG.warning(
        "%s: SeriesTime %s than the acquisition; START is taken as %s",
        series.where,
        "is absent rather" if stated is None else "is later",
        found.isoformat(),
    )
    return found


def _after_processing(series: ImageSeries, when: Timing, rate: float, implied: Sequence[float]) -> datetime:
    """The reference where SeriesTime is that of a later processing: from DecayFactor and FrameReferenceTime."""
    candidates = [-math.log(factor) / rate for factor in implied[:1]]
    references, durations = _per_slice(series, "FrameReferenceTime", 1e-3), when.durations_s
    first = int(np.argmin(when.offsets_s))
    if references is not None and durations is not None and references[first] > 0.0:
        during = rate * durations[first]
        mean_s = math.log(during / -math.expm1(-during)) / rate
        candidates.append(float(references[first]) - mean_s)
    agreed = candidates and abs(math.expm1(-rate * (candidates[0] - candidates[-1]))) <= _AGREE
    if not agreed or candidates[0] * rate < -_AGREE or candidates[0] > _LONGEST_S:
        raise InputError(
            "DecayCorrection is START, but the series is dated after its acquisition (a later processing), and "
            "DecayFactor (0054,1321) and FrameReferenceTime (0054,1300) do not tell the time the values refer to",
            where=series.where,
            remedy=_SAY,
        )
    return when.started - timedelta(seconds=max(0.0, candidates[0]))


def _implied_by_decay_factor(series: ImageSeries, when: Timing, rate: float) -> tuple[float, ...]:
    """Factors reference -> start of the scan that DecayFactor (0054,1321) of the earliest frame stands for.

    DecayFactor = exp(λt) · λd / (1 − exp(−λd)), t from the reference to the start of the frame; some systems
    leave out the second factor, so both readings are given. None where it is absent or 1 throughout.
    """
    decay_factors = _per_slice(series, "DecayFactor", 1.0)
    if decay_factors is None or (decay_factors == 1.0).all():
        return ()
    earliest = int(np.argmin(decay_factors))
    factor = float(decay_factors[earliest])
    if factor <= 0.0:
        raise series.frames[earliest].header.wrong("DecayFactor", "a positive number is wanted")
    if when.durations_s is None:
        return (1.0 / factor,)
    during = rate * when.durations_s[earliest]
    return (during / -math.expm1(-during) / factor, 1.0 / factor)


def _per_slice(series: ImageSeries, keyword: str, scale: float) -> PerVoxel | None:
    """A number of every slice, or None where it is absent from all; `InputError` where absent from some."""
    found = [frame.header.number(keyword) for frame in series.frames]
    for frame, value in zip(series.frames, found, strict=True):
        if value is not None and abs(value * scale) > _LONGEST_S:
            raise frame.header.wrong(keyword, "less than a week is wanted")
    if all(value is None for value in found):
        return None
    for frame, value in zip(series.frames, found, strict=True):
        if value is None:
            raise frame.header.missing(keyword)
    return np.array(found, dtype=np.float64) * scale
