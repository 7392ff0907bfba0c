"""The study folder: `study.yaml` and the images beside it, read into a `Study` and written from one."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import yaml
from pydantic import BeforeValidator, Field, model_validator

from nufitdose.config import Settings, build, read_yaml
from nufitdose.errors import InputError
from nufitdose.io.nifti import load_volume, save_volume
from nufitdose.nuclides import half_life_h
from nufitdose.study import Administration, Structures, Study, TimePoint
from nufitdose.types import PerVoxel
from nufitdose.volume import Quantity, Volume

MANIFEST = "study.yaml"


def _as_name(value: Any) -> Any:
    if isinstance(value, bool | float):
        raise ValueError("a name is wanted; write it in quotes")
    return str(value) if isinstance(value, int) else value


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Name = Annotated[str, BeforeValidator(_as_name), Field(min_length=1)]
Paths = Annotated[list[str], BeforeValidator(_as_list), Field(min_length=1)]


class AdministrationEntry(Settings):
    """`administration:` activity at the time of administration, and that time (ISO 8601)."""

    activity_mbq: float = Field(gt=0, allow_inf_nan=False)
    time: datetime | None = None


class BedEntry(Settings):
    """One entry of `beds:` the slices [first, last] along the third axis, from 0, and when after `time` they began."""

    slices: tuple[Annotated[int, Field(ge=0)], int]
    start_s: float = Field(ge=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _in_order(self) -> "BedEntry":
        if self.slices[1] < self.slices[0]:
            raise ValueError(f"the slices {list(self.slices)} end before they begin")
        return self


class TimePointEntry(Settings):
    """One entry of `timepoints:`; exactly one of `time` and `hours` (after administration).

    With `beds`, slices were acquired one bed after the other; `activity` is physically decay-corrected to `time`.
    """

    id: Name = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    time: datetime | None = None
    hours: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    activity: str
    decay_corrected_to: Literal["acquisition", "administration"]
    ct: str | None = None
    structures: Paths | None = None
    beds: Annotated[list[BedEntry], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one_time(self) -> "TimePointEntry":
        if (self.time is None) == (self.hours is None):
            raise ValueError(f"time point {self.id!r} needs exactly one of 'time' and 'hours'")
        return self

    @model_validator(mode="after")
    def _every_slice_once(self) -> "TimePointEntry":
        following = 0
        for bed in sorted(self.beds or (), key=lambda bed: bed.slices):
            if bed.slices[0] != following:
                raise ValueError(
                    f"the beds of time point {self.id!r} must hold every slice once; slice "
                    f"{min(following, bed.slices[0])} is in {'none' if bed.slices[0] > following else 'two'}"
                )
            following = bed.slices[1] + 1
        return self

    def slice_offsets_h(self) -> PerVoxel | None:
        """Hours after the start of the scan at which each slice was acquired."""
        if self.beds is None:
            return None
        beds = sorted(self.beds, key=lambda bed: bed.slices)
        return np.concatenate([np.full(1 + bed.slices[1] - bed.slices[0], bed.start_s / 3600.0) for bed in beds])


class StructuresEntry(Settings):
    """`structures:` on the reference time point; several label maps where structures overlap."""

    labels: Paths
    names: dict[int, Name] = Field(min_length=1)
    tumours: tuple[Name, ...] = ()

    @model_validator(mode="after")
    def _known_and_single(self) -> "StructuresEntry":
        known = list(self.names.values())
        if len(set(known)) != len(known):
            raise ValueError(f"two labels carry one structure name: {sorted(known)}")
        unknown = sorted(set(self.tumours) - set(known))
        if unknown:
            raise ValueError(f"the tumours {unknown} are not among the structures {known}")
        return self


class Manifest(Settings):
    """`study.yaml` (DESIGN: the study folder)."""

    patient: Name
    nuclide: Name
    administration: AdministrationEntry
    reference: Name
    timepoints: list[TimePointEntry] = Field(min_length=1)
    structures: StructuresEntry | None = None
    dicom: dict[str, str] | None = None


def manifest_path(study: str | Path) -> Path:
    """The manifest of a study given as its folder or as the file itself."""
    path = Path(study)
    if path.is_dir():
        path = path / MANIFEST
    if not path.is_file():
        raise InputError(
            f"there is no {MANIFEST} here",
            where=study,
            remedy="Give a study folder; 'nufitdose import DICOM_DIR --out DIR' makes one from DICOM",
        )
    return path


def load_study(path: str | Path) -> Study:
    """Read and check `study.yaml` (or the folder that holds it); images are read on first use.

    Activity is delivered in Bq/mL at acquisition: where the manifest says `decay_corrected_to:
    administration`, `c(t) = c_file · 2^(-t/T)` with the nuclide's physical half-life T. Raises `InputError`
    on anything missing, unknown, contradictory or ambiguous.
    """
    path = manifest_path(path)
    manifest = build(Manifest, read_yaml(path), where=path)
    try:
        return _study_of(manifest, path)
    except InputError as error:
        raise error.located(path) from error


def study_files(path: str | Path) -> list[Path]:
    """Every file a study is made of, the manifest first."""
    path = manifest_path(path)
    manifest = build(Manifest, read_yaml(path), where=path)
    names: list[str] = []
    for entry in manifest.timepoints:
        names += [entry.activity, *([entry.ct] if entry.ct else []), *(entry.structures or [])]
    names += manifest.structures.labels if manifest.structures else []
    return [path, *(path.parent / name for name in dict.fromkeys(names))]


def _study_of(manifest: Manifest, path: Path) -> Study:
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
    return Study(
        patient=manifest.patient,
        nuclide=manifest.nuclide,
        administration=Administration(manifest.administration.activity_mbq, manifest.administration.time),
        reference_id=manifest.reference,
        timepoints=tuple(timepoints),
        dicom=manifest.dicom,
    )


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
    for name in [entry.activity, *([entry.ct] if entry.ct else []), *(labels or [])]:
        if not (folder / name).is_file():
            raise InputError(
                f"the image {name!r} of time point {entry.id!r} does not exist",
                remedy="Correct the path, which is relative to study.yaml",
            )
    factor = 2.0 ** (-time_h / physical_half_life_h) if entry.decay_corrected_to == "administration" else 1.0

    def read_activity() -> Volume:
        volume = load_volume(folder / entry.activity, Quantity.ACTIVITY)
        return volume if factor == 1.0 else volume.with_data(volume.data * factor)

    def read_ct() -> Volume:
        return load_volume(folder / str(entry.ct), Quantity.HU)

    def read_structures() -> Structures:
        layers = tuple(load_volume(folder / name, Quantity.LABELS) for name in labels or ())
        return Structures(layers, names, tumours)

    return TimePoint(
        entry.id,
        time_h,
        read_activity,
        read_ct if entry.ct else None,
        read_structures if labels else None,
        entry.slice_offsets_h(),
    )


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


def save_study(study: Study, folder: str | Path, *, tumours: Iterable[str] = ()) -> Path:
    """Write a study as a folder of NIfTI images and its manifest; returns the manifest's path.

    Activity is written as it is held, at acquisition. Structures of all time points share one list of
    names; `tumours` adds to those the structures carry themselves.
    """
    folder = Path(folder)
    names, entries = _shared_names(study), []
    for timepoint in study.timepoints:
        (folder / timepoint.id).mkdir(parents=True, exist_ok=True)
        entries.append(_write_timepoint(study, timepoint, folder, names))
    manifest: dict[str, Any] = {
        "patient": study.patient,
        "nuclide": study.nuclide,
        "administration": {"activity_mbq": float(study.administration.activity_mbq)},
        "reference": study.reference_id,
        "timepoints": entries,
    }
    if study.administration.time is not None:
        manifest["administration"]["time"] = study.administration.time.isoformat()
    if study.structures is not None:
        marked = set(tumours) | set(study.structures.tumours)
        reference = next(entry for entry in entries if entry["id"] == study.reference_id)
        manifest["structures"] = {
            "labels": reference.pop("structures"),
            "names": {number: name for name, number in names.items()},
            "tumours": sorted(marked & set(names)),
        }
    if study.dicom:
        manifest["dicom"] = dict(study.dicom)
    build(Manifest, manifest, where=folder / MANIFEST)
    path = folder / MANIFEST
    temporary = path.with_name(f".{MANIFEST}")
    temporary.write_text(yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return temporary.replace(path)


def _shared_names(study: Study) -> dict[str, int]:
    ordered = [study.reference, *study.timepoints]
    found = [name for tp in ordered if tp.structures for _, name in sorted(tp.structures.names.items())]
    return {name: number for number, name in enumerate(dict.fromkeys(found), start=1)}


def _write_timepoint(study: Study, timepoint: TimePoint, folder: Path, names: dict[str, int]) -> dict[str, Any]:
    place = timepoint.id
    entry: dict[str, Any] = {"id": place}
    if study.administration.time is None:
        entry["hours"] = float(timepoint.time_h)
    else:
        entry["time"] = _clock(study.administration.time, timepoint.time_h)
    entry |= {"activity": f"{place}/activity.nii.gz", "decay_corrected_to": "acquisition"}
    save_volume(timepoint.activity, folder / entry["activity"])
    if timepoint.slice_offsets_h is not None:
        entry["beds"] = _beds(timepoint.slice_offsets_h)
    if timepoint.ct is not None:
        entry["ct"] = f"{place}/ct.nii.gz"
        save_volume(timepoint.ct, folder / entry["ct"])
    if timepoint.structures is not None:
        entry["structures"] = []
        for number, layer in enumerate(_relabelled(timepoint.structures, names), start=1):
            suffix = "" if number == 1 else f"_{number}"
            entry["structures"].append(f"{place}/structures{suffix}.nii.gz")
            save_volume(layer, folder / entry["structures"][-1])
        entry["structures"] = entry["structures"][0] if len(entry["structures"]) == 1 else entry["structures"]
    return entry


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
