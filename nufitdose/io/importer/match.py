"""What belongs together: one scan an acquisition, its CT, and the structures drawn on them."""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from nufitdose.errors import InputError
from nufitdose.io.dicom.read.activity import ActivityScan
from nufitdose.io.dicom.read.headers import Header
from nufitdose.io.dicom.read.images import ImageSeries
from nufitdose.io.dicom.read.references import StructureReferences
from nufitdose.io.dicom.read.times import acquisition_time, seconds_between
from nufitdose.io.structures import read_structure_objects
from nufitdose.study import Structures

_LOG = logging.getLogger(__name__)
_SESSION_S = 4 * 3600.0  # a CT of the same session was made within this
_BEDS_S = 2 * 3600.0  # scans of different regions within this look like beds of one scan
_CHOOSE = "Name the series to take with --series"


def check_separate(scans: Sequence[ActivityScan]) -> None:
    """Refuse scans that are not time points of their own: reconstructions or beds of one acquisition.

    `scans` in order of time. Two acquisitions that overlap in time are one; two that follow each other
    within two hours over different regions look like beds.
    """
    for early, late in _pairs(scans):
        gap_s = seconds_between(late.timing.started, early.timing.started, late.series.header)
        lasted_s = (early.timing.ended - early.timing.started).total_seconds()
        names = f"{_name(early.series)} and {_name(late.series)}"
        if gap_s < max(lasted_s, 60.0):
            raise InputError(
                f"{names} are of one acquisition, {early.timing.started.isoformat()}: reconstructions of one scan are "
                "not two time points",
                where=late.series.header.path,
                remedy=f"{_CHOOSE}: {early.series.series_uid} or {late.series.series_uid}",
            )
        same_space = early.series.frame_of_reference_uid == late.series.frame_of_reference_uid
        if gap_s < _BEDS_S and same_space and overlap(early.series, late.series) < 0.5:
            raise InputError(
                f"{names} were acquired {gap_s / 60:.0f} min apart over different regions: they look like beds of one "
                "scan, not two time points",
                where=late.series.header.path,
                remedy=f"Export the beds joined into one series, or take one. {_CHOOSE}",
            )


def matching_ct(scan: ActivityScan, cts: Sequence[ImageSeries]) -> ImageSeries | None:
    """The CT of a scan, or None where there is none.

    The one of the same frame of reference, made within four hours of the scan where there are several; else
    the one of the same study, made within four hours, that covers the scan (with a warning). Raises
    `InputError` where several fit.
    """
    shared = [ct for ct in cts if ct.frame_of_reference_uid == _frame(scan) and overlap(scan.series, ct) > 0.1]
    if shared:
        apart = {id(ct): _apart_s(scan, ct) for ct in shared}
        session = [ct for ct in shared if apart[id(ct)] is None or abs(apart[id(ct)] or 0.0) <= _SESSION_S]
        chosen = _only(session or shared, scan)
        if not session:
            _LOG.warning(
                "the CT %s of the scan %s was made %.1f h from it; it shares its frame of reference",
                _name(chosen), _name(scan.series), abs(apart[id(chosen)] or 0.0) / 3600.0,
            )  # fmt: skip
        return chosen
    near = [
        ct
        for ct in cts
        if ct.study_uid == scan.series.study_uid
        and (apart_s := _apart_s(scan, ct)) is not None
        and abs(apart_s) <= _SESSION_S
        and overlap(scan.series, ct) >= 0.5
    ]
    if not near:
        return None
    chosen = _only(near, scan)
    _LOG.warning(
        "the CT %s is taken for the scan %s by study and time, not by frame of reference: look at the fusion",
        _name(chosen),
        _name(scan.series),
    )
    return chosen


def overlap(one: ImageSeries, other: ImageSeries) -> float:
    """The smallest share, over the three world axes, of the shorter extent that both fields of view cover."""
    corners = one.grid.corners_mm(), other.grid.corners_mm()
    low, high = np.array([c.min(axis=0) for c in corners]), np.array([c.max(axis=0) for c in corners])
    shared = high.min(axis=0) - low.max(axis=0)
    return float((shared / np.maximum((high - low).min(axis=0), 1e-3)).min())


def drawn_on(references: StructureReferences, used: Mapping[str, Sequence[ImageSeries]]) -> tuple[str, ImageSeries]:
    """The time point and series a structure object belongs to, among the series in use by time point.

    The series it names, else the series whose images it names, else the only time point of its frame of
    reference. Raises `InputError` where none or several fit.
    """
    every = [(place, series) for place, several in used.items() for series in several]
    named = [pair for pair in every if pair[1].series_uid in references.series_uids]
    found = named or [pair for pair in every if references.drawn_on(pair[1])]
    if not found:
        found = [pair for pair in every if references.shares_frame(pair[1])]
        if len({place for place, _ in found}) == 1:
            found = found[-1:]  # the CT, where there is one
    if not found:
        raise InputError(
            "the structures refer to none of the images in use, and to none of their frames of reference",
            where=references.path,
            remedy="Put the images they were drawn on into the folder, or take this file out of it",
        )
    if len(found) > 1:
        raise InputError(
            f"the structures fit several images: {', '.join(f'{_name(s)} of {place}' for place, s in found)}",
            where=references.path,
            remedy="Export one structure set for each scan, or take this file out of the folder",
        )
    return found[0]


def read_structures(parts: Sequence[tuple[Path, ImageSeries]]) -> Structures:
    """The structures of one time point, from objects that may be drawn on different images."""
    by_series: dict[int, tuple[ImageSeries, list[Path]]] = {}
    for path, series in parts:
        by_series.setdefault(id(series), (series, []))[1].append(path)
    found = [s for series, paths in by_series.values() if (s := read_structure_objects(paths, series)) is not None]
    if len(found) == 1:
        return found[0]
    layers, names, tumours = [], dict[int, str](), frozenset[str]()
    for structures in found:
        shift = max(names, default=0)
        twice = sorted(set(names.values()) & set(structures.names.values()))
        if twice:
            raise InputError(
                f"the structures {', '.join(twice)} are drawn on two images of one time point",
                where=parts[-1][0],
                remedy="Keep one of the two structure sets in the folder",
            )
        names |= {label + shift: name for label, name in structures.names.items()}
        tumours |= structures.tumours
        for layer in structures.layers:
            moved = layer.data.astype(np.int32)
            layers.append(layer.with_data(np.where(moved > 0, moved + shift, 0)))
    return Structures(tuple(layers), names, tumours)


def when_made(header: Header) -> datetime | None:
    """The acquisition time of an image whose time matters only for matching."""
    try:
        return acquisition_time(header)[0]
    except InputError:
        return None


def _only(several: Sequence[ImageSeries], scan: ActivityScan) -> ImageSeries:
    if len(several) > 1:
        raise InputError(
            f"{len(several)} CT series fit the scan {_name(scan.series)}: "
            + ", ".join(f"{_name(ct)} {ct.series_uid}" for ct in several),
            where=scan.series.header.path,
            remedy=_CHOOSE,
        )
    return several[0]


def _apart_s(scan: ActivityScan, ct: ImageSeries) -> float | None:
    made = when_made(ct.header)
    if made is None or (made.tzinfo is None) != (scan.timing.started.tzinfo is None):
        return None
    apart = scan.timing.started - made
    return (apart if apart > timedelta(0) else -apart).total_seconds()


def _frame(scan: ActivityScan) -> str:
    return scan.series.frame_of_reference_uid or "unknown"


def _name(series: ImageSeries) -> str:
    return repr(series.description or series.modality)


def _pairs(scans: Sequence[ActivityScan]) -> list[tuple[ActivityScan, ActivityScan]]:
    return [(early, late) for n, early in enumerate(scans) for late in scans[n + 1 :]]
