"""A `Study` written as a study folder."""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import datetime, timedelta
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from nufitdose.config import build, dump_yaml
from nufitdose.files import write_whole
from nufitdose.image_sources import ImageSources
from nufitdose.io.nifti import save_volume
from nufitdose.io.study_folder.manifest import MANIFEST, Manifest, SourceEntry
from nufitdose.io.study_folder.scanner_file import scanner_entry
from nufitdose.progress import OnProgress
from nufitdose.scanner import Scanner
from nufitdose.study import Structures, Study, TimePoint
from nufitdose.types import PerVoxel
from nufitdose.volume import Volume


def save_study(
    study: Study, folder: str | Path, *, tumours: Iterable[str] = (), on_progress: OnProgress = lambda share: None
) -> Path:
    """Write a study as a folder of NIfTI images and its manifest; returns the manifest's path.

    Activity is written as it is held, at acquisition and with the scanner's calibration factor applied: the factor in
    the manifest is then 1 and a statement says so. Structures of all time points share one list of
    names, and where none has a name none are written; `tumours` adds to those the structures carry themselves.
    `on_progress` is told after each image.
    """
    folder = Path(folder)
    names, entries = _shared_names(study), []
    save = _saving(sum(_count_images(timepoint) for timepoint in study.timepoints), on_progress)
    for timepoint in study.timepoints:
        (folder / timepoint.id).mkdir(parents=True, exist_ok=True)
        entries.append(_write_timepoint(study, timepoint, folder, names, save))
    manifest: dict[str, Any] = {
        "patient": study.patient,
        "nuclide": study.nuclide,
        "administration": {"activity_mbq": float(study.administration.activity_mbq)},
        "reference": study.reference_id,
        "timepoints": entries,
    }
    details = {name: value for name, value in asdict(study.details).items() if value is not None}
    if details:
        manifest["details"] = details
    if study.tracer:
        manifest["tracer"] = study.tracer
    if study.administration.time is not None:
        manifest["administration"]["time"] = study.administration.time.isoformat()
    if names and study.structures is not None:
        marked = set(tumours) | set(study.structures.tumours)
        reference = next(entry for entry in entries if entry["id"] == study.reference_id)
        manifest["structures"] = {
            "labels": reference.pop("structures"),
            "names": {number: name for name, number in names.items()},
            "tumours": sorted(marked & set(names)),
        }
        if study.structures.u_outline_mm is not None:
            manifest["structures"]["u_outline_mm"] = study.structures.u_outline_mm
    if study.dicom:
        manifest["dicom"] = dict(study.dicom)
    statements = [*study.statements, *_applied_factor(study.scanner)]
    if study.scanner is not None:
        manifest["scanner"] = scanner_entry(study.scanner.with_factor_applied())
    if statements:
        manifest["statements"] = statements
    build(Manifest, manifest, where=folder / MANIFEST)
    return write_whole(folder / MANIFEST, dump_yaml(manifest))


def _applied_factor(scanner: Scanner | None) -> list[str]:
    if scanner is None or scanner.factor == 1.0:
        return []
    return [f"the images are multiplied by the calibration factor {scanner.factor:g} of {scanner.name!r}"]


def _shared_names(study: Study) -> dict[str, int]:
    ordered = [study.reference, *study.timepoints]
    found = [name for tp in ordered if tp.structures for _, name in sorted(tp.structures.names.items())]
    return {name: number for number, name in enumerate(dict.fromkeys(found), start=1)}


def _saving(images: int, on_progress: OnProgress) -> Callable[[Volume, Path], None]:
    numbers = count(1)

    def save(volume: Volume, path: Path) -> None:
        save_volume(volume, path)
        on_progress(next(numbers) / images)

    return save


def _count_images(timepoint: TimePoint) -> int:
    layers = 0 if timepoint.structures is None else len(timepoint.structures.layers)
    return 1 + (timepoint.ct is not None) + layers


def _write_timepoint(
    study: Study, timepoint: TimePoint, folder: Path, names: dict[str, int], save: Callable[[Volume, Path], None]
) -> dict[str, Any]:
    place = timepoint.id
    entry: dict[str, Any] = {"id": place}
    if study.administration.time is None:
        entry["hours"] = float(timepoint.time_h)
    else:
        entry["time"] = _clock(study.administration.time, timepoint.time_h)
    entry |= {"activity": f"{place}/activity.nii.gz", "decay_corrected_to": "acquisition"}
    save(timepoint.activity, folder / entry["activity"])
    if timepoint.slice_offsets_h is not None:
        entry["beds"] = _beds(timepoint.slice_offsets_h)
    if timepoint.ct is not None:
        entry["ct"] = f"{place}/ct.nii.gz"
        save(timepoint.ct, folder / entry["ct"])
    if timepoint.sources is not None:
        entry["dicom"] = f"{place}/dicom.yaml"
        write_whole(folder / entry["dicom"], dump_yaml(_sources(timepoint.sources)))
    if names and timepoint.structures is not None:
        entry["structures"] = []
        for number, layer in enumerate(_relabelled(timepoint.structures, names), start=1):
            suffix = "" if number == 1 else f"_{number}"
            entry["structures"].append(f"{place}/structures{suffix}.nii.gz")
            save(layer, folder / entry["structures"][-1])
        entry["structures"] = entry["structures"][0] if len(entry["structures"]) == 1 else entry["structures"]
    return entry


def _sources(sources: ImageSources) -> dict[str, Any]:
    ct = {} if sources.ct is None else {"ct": SourceEntry.plain(sources.ct)}
    return {"activity": SourceEntry.plain(sources.activity), **ct}


def _beds(slice_offsets_h: PerVoxel) -> list[dict[str, Any]]:
    """Neighbouring slices acquired together, as entries of `beds`."""
    firsts = [0, *(np.flatnonzero(np.diff(slice_offsets_h)) + 1).tolist(), slice_offsets_h.size]
    return [
        {"slices": [first, end - 1], "start_s": round(float(slice_offsets_h[first]) * 3600.0, 3)}
        for first, end in pairwise(firsts)
    ]


def _clock(administered: datetime, time_h: float) -> str:
    return (administered + timedelta(hours=time_h)).isoformat()


def _relabelled(structures: Structures, names: dict[str, int]) -> list[Volume]:
    layers = []
    for layer in structures.layers:
        data = np.zeros(layer.grid.shape, dtype=np.uint8 if len(names) < 256 else np.uint16)
        for label, name in structures.names.items():
            data[layer.data == label] = names[name]
        layers.append(layer.with_data(data))
    return layers
