"""Which images a structure object was drawn on, and whether they are those of a series."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nufitdose.errors import InputError
from nufitdose.io.dicom.read.headers import Header
from nufitdose.io.dicom.read.images import ImageSeries

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StructureReferences:
    """What an RTSTRUCT or SEG file says about its images; all of it may be missing or wrong.

    `images` maps a series UID to the SOP instance UIDs named with it ('' where no series is named),
    `frames` a frame of reference UID to the series named with it.
    """

    path: Path
    modality: str
    description: str
    study_uid: str
    images: Mapping[str, frozenset[str]]
    frames: Mapping[str, frozenset[str]]

    @property
    def series_uids(self) -> frozenset[str]:
        """The series referred to."""
        return frozenset(self.images) - {""}

    @property
    def sop_instance_uids(self) -> frozenset[str]:
        """The images referred to."""
        return frozenset().union(*self.images.values())

    @property
    def frame_of_reference_uids(self) -> frozenset[str]:
        """The frames of reference of the structures."""
        return frozenset(self.frames)

    def drawn_on(self, series: ImageSeries) -> bool:
        """Whether the series or any of its images is referred to."""
        return series.series_uid in self.images or not self.sop_instance_uids.isdisjoint(series.sop_instance_uids)

    def shares_frame(self, series: ImageSeries) -> bool:
        """Whether positions are in the frame of reference of the series."""
        return bool(series.frame_of_reference_uid) and series.frame_of_reference_uid in self.frames


def collect(header: Header, description: str, named: list[tuple[str, str, frozenset[str]]]) -> StructureReferences:
    """References from triples of frame of reference UID, series UID and SOP instance UIDs."""
    images: dict[str, frozenset[str]] = {}
    frames: dict[str, frozenset[str]] = {}
    for frame, series, instances in named:
        if series or instances:
            images[series] = images.get(series, frozenset()) | instances
        if frame:
            frames[frame] = frames.get(frame, frozenset()) | ({series} if series or instances else set())
    return StructureReferences(
        header.path, header.modality, description, header.text("StudyInstanceUID"), images, frames
    )


def usable_frames(references: StructureReferences, series: ImageSeries) -> frozenset[str]:
    """The frames of reference whose positions are positions in the series' images.

    Images decide: structures drawn on the images of the series are in their space whatever the frame of
    reference says; others need the same frame of reference. Raises `InputError` where neither holds.
    """
    drawn, shared = references.drawn_on(series), references.shares_frame(series)
    if not drawn and not shared:
        raise InputError(
            f"the structures refer neither to images of the series {series.description!r} "
            f"({series.series_uid}) nor to its frame of reference",
            where=references.path,
            remedy="Put the images the structures were drawn on into the folder, or take this file out of it",
        )
    file = references.path.name
    if drawn and references.frames and not shared:
        _log.warning(
            "%s: the frame of reference differs from that of the images it was drawn on (%r); the images decide",
            file,
            series.description,
        )
    if not references.images:
        _log.warning("%s: names no images; placed on %r by the frame of reference", file, series.description)
    missing = references.images.get(series.series_uid, frozenset()) - set(series.sop_instance_uids)
    if missing:
        _log.warning(
            "%s: %d of the %d images it refers to are not in the series %r",
            file,
            len(missing),
            len(references.images[series.series_uid]),
            series.description,
        )
    ours = {uid for uid, group in references.images.items() if not group.isdisjoint(series.sop_instance_uids)}
    ours.add(series.series_uid)
    return frozenset(
        frame
        for frame, named in references.frames.items()
        if frame == series.frame_of_reference_uid or not named.isdisjoint(ours)
    )
