"""What belongs together: one scan an acquisition, its CT, and the structures drawn on them."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.io.dicom.read.activity import ActivityScan
from nufitdose.io.dicom.read.headers import Header
from nufitdose.io.dicom.read.images import ImageSeries
from nufitdose.io.dicom.read.references import StructureReferences
from nufitdose.io.dicom.read.times import acquisition_time, seconds_between
from nufitdose.io.drawn_structures import unique_names
from nufitdose.io.structures import read_structure_objects
from nufitdose.study import Structures
from nufitdose.types import Affine
from nufitdose.volume import Volume

_LOG = logging.getLogger(__name__)
_SESSION_S = 4 * 3600.0  # a CT of the same session was made within this
_BEDS_S = 2 * 3600.0  # scans of different regions within this look like beds of one scan
_SAME_TIME_S = 60.0  # two CTs made within this are equal in time


@dataclass(frozen=True, eq=False)
class CTOffer:
    """A CT series that could serve a scan, and how messages call it."""

    name: str
    number: str
    series: ImageSeries


def matching_ct(scan: ActivityScan, cts: Sequence[CTOffer]) -> CTOffer | None:
    """The CT of a scan, or None where there is none.

    Those of the same frame of reference, made within four hours of the scan where there are several; else
    those of the same study, made within four hours, that cover the scan (with a warning). Of several the one that
    covers most of the scan is taken, of those that cover it equally the one made nearest in time. Raises
    `InputError` where several are equal in that too.
    """
    shared = [
        ct for ct in cts if ct.series.frame_of_reference_uid == _frame(scan) and overlap(scan.series, ct.series) > 0.1
    ]
    if shared:
        apart = {id(ct): _apart_s(scan, ct.series) for ct in shared}
        session = [ct for ct in shared if apart[id(ct)] is None or abs(apart[id(ct)] or 0.0) <= _SESSION_S]
        chosen = _best(session or shared, scan)
        if not session:
            _LOG.warning(
                "the CT %s of the scan %s was made %.1f h from it; it shares its frame of reference",
                chosen.name, _name(scan.series), abs(apart[id(chosen)] or 0.0) / 3600.0,
            )  # fmt: skip
        return chosen
    near = [
        ct
        for ct in cts
        if ct.series.study_uid == scan.series.study_uid
        and (apart_s := _apart_s(scan, ct.series)) is not None
        and abs(apart_s) <= _SESSION_S
        and overlap(scan.series, ct.series) >= 0.5
    ]
    if not near:
        return None
    chosen = _best(near, scan)
    _LOG.warning(
        "the CT %s is taken for the scan %s by study and time, not by frame of reference: look at the fusion",
        chosen.name,
        _name(scan.series),
    )
    return chosen


def coverage(scan: ImageSeries, ct: ImageSeries) -> float:
    """The share of the scan's extent along the body that the CT covers."""
    corners = scan.grid.corners_mm(), ct.grid.corners_mm()
    low, high = np.array([c.min(axis=0) for c in corners]), np.array([c.max(axis=0) for c in corners])
    shared = high.min(axis=0) - low.max(axis=0)
    return float(np.clip(shared / np.maximum((high - low)[0], 1e-3), 0.0, 1.0)[2])


def look_like_beds(early: ActivityScan, late: ActivityScan) -> bool:
    """Whether two scans are beds of one: of one frame or study, within two hours, over different regions."""
    together = (
        early.series.frame_of_reference_uid == late.series.frame_of_reference_uid
        or early.series.study_uid == late.series.study_uid
    )
    gap_s = seconds_between(late.timing.started, early.timing.started, late.series.header)
    return together and 0.0 < gap_s < _BEDS_S and overlap(early.series, late.series) < 0.5


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


@dataclass(frozen=True, eq=False)
class Drawn:
    """A structure object and the image it was drawn on; where that is not of the study, onto which image it goes.

    `moved` maps the world of the image it was drawn on into that of `onto` (RAS+ mm, rigid).
    """

    path: Path
    series: ImageSeries
    onto: ImageSeries | None = None
    moved: Affine | None = None


def read_structures(parts: Sequence[Drawn]) -> Structures:
    """The structures of one time point, from objects that may be drawn on different images.

    A name that stands on two images is made unique, with a warning.
    """
    by_series: dict[int, list[Drawn]] = {}
    for part in parts:
        by_series.setdefault(id(part.series), []).append(part)
    found = [s for drawn in by_series.values() if (s := read_drawn(drawn)) is not None]
    if len(found) == 1:
        return found[0]
    every = unique_names([name for structures in found for _, name in sorted(structures.names.items())])
    layers, names, tumours = [], dict[int, str](), set[str]()
    for structures in found:
        shift = max(names, default=0)
        for label, name in sorted(structures.names.items()):
            names[label + shift] = every.pop(0)
            if name in structures.tumours:
                tumours.add(names[label + shift])
        for layer in structures.layers:
            moved = layer.data.astype(np.int32)
            layers.append(layer.with_data(np.where(moved > 0, moved + shift, 0)))
    return Structures(tuple(layers), names, frozenset(tumours))


def read_drawn(drawn: Sequence[Drawn]) -> Structures | None:
    """The structures drawn on one image, brought onto another where they are to go there; None where there are none."""
    first = drawn[0]
    structures = read_structure_objects([one.path for one in drawn], first.series)
    if structures is None or first.onto is None or first.moved is None:
        return structures
    layers = []
    for layer in structures.layers:
        there = Volume(layer.data, Grid(layer.grid.shape, first.moved @ layer.grid.affine), layer.quantity)
        layers.append(there.resampled_to(first.onto.grid))
    return replace(structures, layers=tuple(layers))


def when_made(header: Header) -> datetime | None:
    """The acquisition time of an image whose time matters only for matching."""
    try:
        return acquisition_time(header)[0]
    except InputError:
        return None


def _best(several: Sequence[CTOffer], scan: ActivityScan) -> CTOffer:
    covers = {id(ct): round(coverage(scan.series, ct.series), 1) for ct in several}
    best = [ct for ct in several if covers[id(ct)] == max(covers.values())]
    apart = {id(ct): abs(_apart_s(scan, ct.series) or 0.0) for ct in best}
    nearest = [ct for ct in best if apart[id(ct)] - min(apart.values()) < _SAME_TIME_S]
    if len(nearest) > 1:
        raise InputError(
            f"{len(nearest)} CT series fit the scan {_name(scan.series)}: "
            + ", ".join(f"{ct.name} {ct.series.series_uid}" for ct in nearest),
            where=scan.series.header.path,
            remedy=f"Name the series to take with --series: {' or '.join(ct.number for ct in nearest)}",
        )
    if len(several) > 1:
        _LOG.info("of %d CT series %s is taken for %s", len(several), nearest[0].name, _name(scan.series))
    return nearest[0]


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
