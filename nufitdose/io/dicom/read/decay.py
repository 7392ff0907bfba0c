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
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from nufitdose.errors import InputError
from nufitdose.io.dicom.read.images import ImageSeries
from nufitdose.io.dicom.read.times import date_and_time, date_time, seconds_between, zone
from nufitdose.io.dicom.read.timing import LONGEST_S, Timing, per_slice
from nufitdose.types import PerVoxel

_LOG = logging.getLogger(__name__)
CORRECTIONS = ("NONE", "START", "ADMIN")
STATEMENTS = (*CORRECTIONS, "SERIES")  # what a user may say
_AGREE = 0.002  # two ways to a decay factor may differ by this
_UNCONFIRMED = 0.01  # a reference nothing confirms may change the values by this
LONGEST_SCAN_S = 3600.0  # no acquisition is taken to last longer, where its duration is unknown
_SAY = (
    "Say what the values refer to with --decay-correction none, start (of the acquisition), series (the series time) "
    "or admin(istration)"
)


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
        lost = rate * LONGEST_SCAN_S / 2.0
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
    references, durations = per_slice(series, "FrameReferenceTime", 1e-3), when.durations_s
    first = int(np.argmin(when.offsets_s))
    if references is not None and durations is not None and references[first] > 0.0:
        during = rate * durations[first]
        mean_s = math.log(during / -math.expm1(-during)) / rate
        candidates.append(float(references[first]) - mean_s)
    agreed = candidates and abs(math.expm1(-rate * (candidates[0] - candidates[-1]))) <= _AGREE
    if not agreed or candidates[0] * rate < -_AGREE or candidates[0] > LONGEST_S:
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
    decay_factors = per_slice(series, "DecayFactor", 1.0)
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
