"""Beds of one scan, exported as series of their own, joined into one volume; each slice keeps its own time.

Where beds overlap, each gives the slices on its side of the middle of the overlap. Beds must continue each other's
grid: nothing is resampled.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from nufitdose.errors import InputError
from nufitdose.io.dicom.read.activity import ActivityScan
from nufitdose.io.dicom.read.decay import Undone
from nufitdose.io.dicom.read.geometry import stack_planes
from nufitdose.io.dicom.read.timing import Timing
from nufitdose.io.importer.candidates import Candidate
from nufitdose.io.importer.match import look_like_beds

_LOG = logging.getLogger(__name__)


def join_beds(scans: Sequence[Candidate]) -> list[Candidate]:
    """The scans with beds of one scan joined into the first of them; `scans` in order of time."""
    kept: list[Candidate] = []
    for candidate in scans:
        first = kept[-1] if kept else None
        before = first.beds[-1] if first is not None and first.beds else first.activity() if first else None
        if first is None or before is None or not look_like_beds(before, candidate.activity()):
            kept.append(candidate)
            continue
        beds = [*(first.beds or [first.activity()]), candidate.activity()]
        try:
            first.scan, first.bed_slices = _joined(beds)
        except InputError as problem:
            raise InputError(
                f"{first.name} and {candidate.name} cannot be joined: {problem.problem}",
                where=problem.where,
                remedy="Export the beds joined into one series, or take one with --series",
            ) from problem
        first.beds = beds
        if len({bed.series.frame_of_reference_uid for bed in beds}) > 1:
            _LOG.warning("the beds of %s state different frames of reference: look at the joined image", first.name)
        candidate.use = f"bed of {first.name}"
        _LOG.warning("%s and %s are joined as beds of one scan", first.name, candidate.name)
    return kept


def undo_each(candidate: Candidate, undo: Callable[[ActivityScan], Undone]) -> Undone:
    """Factors of each slice to activity at the start of the first bed: undone bed by bed, then brought there."""
    if not candidate.beds:
        return undo(candidate.activity())
    undone = [undo(bed) for bed in candidate.beds]
    start = candidate.activity().timing.started
    rate = math.log(2.0) / undone[0].half_life_s
    factors = np.array(
        [
            undone[bed].factors[k] * math.exp(rate * (candidate.beds[bed].timing.started - start).total_seconds())
            for bed, k in candidate.bed_slices
        ]
    )
    return replace(undone[0], reference=f"{undone[0].reference}, bed by bed", factors=factors)


def _joined(beds: Sequence[ActivityScan]) -> tuple[ActivityScan, list[tuple[int, int]]]:
    """One scan of the slices of all beds, and which bed and slice each of its slices is."""
    first = beds[0].series
    chosen = _without_overlap(beds)
    frames = [beds[bed].series.frames[k] for bed, k in chosen]
    stack = stack_planes([frame.plane for frame in frames])
    order = [chosen[n] for n in stack.order]
    series = replace(
        first, grid=stack.grid, frames=tuple(frames[n] for n in stack.order), deviation_mm=stack.deviation_mm
    )
    started = min(bed.timing.started for bed in beds)
    offsets, durations = [], []
    for bed, k in order:
        timing = beds[bed].timing
        offsets.append((timing.started - started).total_seconds() + float(timing.offsets_s[k]))
        durations.append(math.nan if timing.durations_s is None else float(timing.durations_s[k]))
    lasted = None if np.isnan(durations).any() else np.array(durations)
    timing = Timing(started, np.array(offsets), lasted, beds[0].timing.source)
    return replace(beds[0], series=series, timing=timing), order


def _without_overlap(beds: Sequence[ActivityScan]) -> list[tuple[int, int]]:
    normal = beds[0].series.grid.directions[:, 2]
    heights = [_heights(bed, normal) for bed in beds]
    by_height = sorted(range(len(beds)), key=lambda bed: float(heights[bed].mean()))
    step = beds[0].series.grid.spacing_mm[2]
    chosen: list[tuple[int, int]] = []
    for place, bed in enumerate(by_height):
        low, high = -math.inf, math.inf
        if place > 0:
            low = (heights[by_height[place - 1]].max() + heights[bed].min()) / 2.0
        if place < len(by_height) - 1:
            high = (heights[bed].max() + heights[by_height[place + 1]].min()) / 2.0
        inside = (heights[bed] >= low - 1e-3 * step) & (heights[bed] < high - 1e-3 * step)
        chosen += [(bed, int(k)) for k in np.flatnonzero(inside)]
    return chosen


def _heights(bed: ActivityScan, normal: np.ndarray) -> np.ndarray:
    corner, step = bed.series.grid.affine[:3, 3], bed.series.grid.affine[:3, 2]
    return np.array([float((corner + k * step) @ normal) for k in range(len(bed.series.frames))])
