"""A study folder read into a `Study`; images are read on first use."""

import logging
from datetime import datetime
from pathlib import Path

from nufitdose.config import build, read_yaml
from nufitdose.errors import InputError
from nufitdose.image_sources import ImageSources
from nufitdose.io.ct_values import question_ct
from nufitdose.io.nifti import load_volume
from nufitdose.io.study_folder.manifest import Manifest, SourcesEntry, TimePointEntry, manifest_path, read_manifest
from nufitdose.nuclides import half_life_h
from nufitdose.study import Administration, Structures, Study, TimePoint
from nufitdose.volume import Quantity, Volume

_LOG = logging.getLogger(__name__)


def load_study(path: str | Path) -> Study:
    """Read and check `study.yaml` (or the folder that holds it); images are read on first use.

    Activity is delivered in Bq/mL at acquisition: where the manifest says `decay_corrected_to:
    administration`, `c(t) = c_file · 2^(-t/T)` with the nuclide's physical half-life T, and the calibration
    factor of the scanner is applied where `scanner` gives one. Raises `InputError` on anything missing, unknown,
    contradictory or ambiguous.
    """
    path = manifest_path(path)
    manifest = read_manifest(path)
    try:
        return _study_of(manifest, path)
    except InputError as error:
        raise error.located(path) from error


def study_files(path: str | Path) -> list[Path]:
    """Every file a study is made of, the manifest first."""
    path = manifest_path(path)
    manifest = read_manifest(path)
    names: list[str] = []
    for entry in manifest.timepoints:
        names += [entry.activity, *([entry.ct] if entry.ct else []), *(entry.structures or [])]
        names += [entry.dicom] if entry.dicom else []
    names += manifest.structures.labels if manifest.structures else []
    names += [manifest.scanner] if isinstance(manifest.scanner, str) else []
    return [path, *(path.parent / name for name in dict.fromkeys(names))]


def _study_of(manifest: Manifest, path: Path) -> Study:
    for statement in manifest.statements:
        _LOG.warning("stated in study.yaml: %s", statement)
    physical_half_life_h = half_life_h(manifest.nuclide)
    names = manifest.structures.names if manifest.structures else {}
    tumours = frozenset(manifest.structures.tumours if manifest.structures else ())
    timepoints = []
    for entry in manifest.timepoints:
        labels = entry.structures
        if entry.id == manifest.reference and manifest.structures:
            if labels is not None and labels != manifest.structures.labels:
                raise InputError(
                    f"the reference time point {entry.id!r} names {labels} as its structures and "
                    f"'structures: labels' names {manifest.structures.labels}",
                    remedy="Name one of the two",
                )
            labels = manifest.structures.labels
        if labels is not None and not names:
            raise InputError(
                f"time point {entry.id!r} has a label map but no label has a name",
                remedy="Add 'structures:' with 'labels' and 'names'",
            )
        timepoints.append(_timepoint_of(entry, manifest, path.parent, physical_half_life_h, labels, names, tumours))
    study = Study(
        patient=manifest.patient,
        nuclide=manifest.nuclide,
        administration=Administration(manifest.administration.activity_mbq, manifest.administration.time),
        reference_id=manifest.reference,
        timepoints=tuple(timepoints),
        dicom=manifest.dicom,
        statements=manifest.statements,
        tracer=manifest.tracer,
        details=manifest.details.details(),
    )
    scanner = manifest.described_scanner(path.parent)
    return study if scanner is None else study.with_scanner(scanner)


def _timepoint_of(
    entry: TimePointEntry,
    manifest: Manifest,
    folder: Path,
    physical_half_life_h: float,
    labels: list[str] | None,
    names: dict[int, str],
    tumours: frozenset[str],
) -> TimePoint:
    time_h = _time_h(entry, manifest.administration.time)
    for name in [
        entry.activity,
        *([entry.ct] if entry.ct else []),
        *(labels or []),
        *([entry.dicom] if entry.dicom else []),
    ]:
        if not (folder / name).is_file():
            raise InputError(
                f"the file {name!r} of time point {entry.id!r} does not exist",
                remedy="Correct the path, which is relative to study.yaml",
            )
    factor = 2.0 ** (-time_h / physical_half_life_h) if entry.decay_corrected_to == "administration" else 1.0

    def read_activity() -> Volume:
        volume = load_volume(folder / entry.activity, Quantity.ACTIVITY)
        return volume if factor == 1.0 else volume.with_data(volume.data * factor)

    def read_ct() -> Volume:
        path = folder / str(entry.ct)
        ct = load_volume(path, Quantity.HU)
        question_ct(ct, path, read_activity)
        return ct

    def read_structures() -> Structures:
        layers = tuple(load_volume(folder / name, Quantity.LABELS) for name in labels or ())
        return Structures(layers, names, tumours, manifest.structures.u_outline_mm if manifest.structures else None)

    return TimePoint(
        entry.id,
        time_h,
        read_activity,
        read_ct if entry.ct else None,
        read_structures if labels else None,
        entry.slice_offsets_h(),
        _sources_of(entry, folder),
    )


def _sources_of(entry: TimePointEntry, folder: Path) -> ImageSources | None:
    if entry.dicom is None:
        return None
    path = folder / entry.dicom
    return build(SourcesEntry, read_yaml(path), where=path).sources()


def _time_h(entry: TimePointEntry, administered: datetime | None) -> float:
    if entry.hours is not None:
        return entry.hours
    assert entry.time is not None
    if administered is None:
        raise InputError(
            f"time point {entry.id!r} has a clock time but 'administration: time' is missing",
            remedy="Give the administration time, or 'hours' for the time point",
        )
    if (entry.time.tzinfo is None) != (administered.tzinfo is None):
        raise InputError(
            f"of the administration time {administered.isoformat()} and the time of {entry.id!r} "
            f"{entry.time.isoformat()} only one has a time zone",
            remedy="Write both with their offset, as 2018-11-15T09:22:00+01:00, or both without",
        )
    return (entry.time - administered).total_seconds() / 3600.0
