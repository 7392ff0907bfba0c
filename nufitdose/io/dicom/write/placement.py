"""Where an object lies: whose it is, its frame of reference, and the images its voxels are those of."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from nufitdose.grid import Grid
from nufitdose.image_sources import ImageSource, made_uid, replaced_uid
from nufitdose.io.dicom.write.objects import reference
from nufitdose.study import Study, TimePoint

_log = logging.getLogger(__name__)
_PERSON = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "ReferringPhysicianName")
_OF_STUDY = ("StudyDate", "StudyTime", "StudyID", "AccessionNumber")
_LONGEST = 64  # characters of a name or an identifier
_PARALLEL = 0.9999
_IN_PLANE = 0.02  # of the distance of slices


@dataclass(frozen=True, eq=False)
class Placement:
    """The attributes (keyword -> value) of patient, study and frame of reference, and the images, where known.

    `grid` is that of the images, in their order along k.
    """

    dicom: Mapping[str, str]
    source: ImageSource | None = None
    grid: Grid | None = None

    def images_of_slices(self, slices: Grid) -> list[str]:
        """The image in whose plane each slice along k of `slices` lies; none at all where one has none."""
        source, grid = self.source, self.grid
        if source is None or grid is None or len(source.sop_instance_uids) != grid.shape[2]:
            return []
        firsts = np.zeros((slices.shape[2], 3))
        firsts[:, 2] = np.arange(slices.shape[2])
        at = grid.index(slices.world(firsts))[:, 2]
        numbers = np.rint(at).astype(int)
        parallel = abs(grid.directions[:, 2] @ slices.directions[:, 2]) > _PARALLEL
        if (
            not parallel
            or np.abs(at - numbers).max() > _IN_PLANE
            or numbers.min() < 0
            or numbers.max() >= grid.shape[2]
        ):
            return []
        return [source.sop_instance_uids[n] for n in numbers]

    def referenced_series(self) -> Dataset | None:
        """The item of a Referenced Series Sequence."""
        if self.source is None:
            return None
        item = Dataset()
        item.SeriesInstanceUID = self.source.series_uid
        item.ReferencedInstanceSequence = Sequence(
            [reference(self.source.sop_class_uid, uid) for uid in self.source.sop_instance_uids]
        )
        return item


def place_on(study: Study, timepoint: TimePoint, grid: Grid) -> Placement:
    """Where an object goes whose voxels lie in the world of a time point, on `grid` or another of its grids.

    The patient is that of `study.yaml`: what its `dicom` block says of another is left out, UIDs included.
    """
    said: dict[str, str] = dict(study.dicom or {})
    other = said.get("PatientID", study.patient) != study.patient
    if other:
        said = {word: text for word, text in said.items() if word not in (*_PERSON, "StudyID", "AccessionNumber")}
    dicom = {"PatientName": study.patient[:_LONGEST], "PatientID": study.patient[:_LONGEST]}
    dicom |= {word: said[word] for word in _PERSON if word in said}
    source, images = _source_of(timepoint, grid)
    if source is None:
        reference_scan = timepoint.id == study.reference_id
        own = {word: said[word] for word in ("StudyInstanceUID", "FrameOfReferenceUID") if word in said}
        made = _made(study, timepoint)
        if not reference_scan:
            own.pop("FrameOfReferenceUID", None)
        dicom |= made | own | {word: said[word] for word in _OF_STUDY if word in said}
    else:
        dicom |= {"StudyInstanceUID": source.study_uid, "FrameOfReferenceUID": source.frame_of_reference_uid}
        if source.study_uid == said.get("StudyInstanceUID"):
            dicom |= {word: said[word] for word in _OF_STUDY if word in said}
        dicom |= {"StudyDate": source.study_date, "StudyTime": source.study_time}
        dicom["FrameOfReferenceUID"] = dicom["FrameOfReferenceUID"] or _made(study, timepoint)["FrameOfReferenceUID"]
    if other:
        _log.warning("study.yaml names another patient than its DICOM block: objects are written without the latter")
        dicom |= {word: replaced_uid(text) for word, text in dicom.items() if word.endswith("UID")}
        source = source.renamed() if source else None
    return Placement(dicom, source, images)


def _source_of(timepoint: TimePoint, grid: Grid) -> tuple[ImageSource | None, Grid | None]:
    """The CT and its grid where `grid` is that, else the activity images."""
    sources = timepoint.sources
    if sources is None:
        return None, None
    if sources.ct is not None and timepoint.ct is not None and timepoint.ct.grid.matches(grid):
        return sources.ct, timepoint.ct.grid
    return sources.activity, timepoint.activity.grid


def _made(study: Study, timepoint: TimePoint) -> dict[str, str]:
    """UIDs for a study without DICOM, the same for every object of it."""
    words = (study.patient, study.nuclide, repr(study.administration), ",".join(tp.id for tp in study.timepoints))
    return {
        "StudyInstanceUID": made_uid("study", *words),
        "FrameOfReferenceUID": made_uid("frame", *words, timepoint.id),
    }
