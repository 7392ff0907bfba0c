"""One treatment: what was administered and what was imaged when. Values and their checks; no files.

Images are read on first use: a `TimePoint` holds how to get its volumes, not the volumes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

import numpy as np

from nufitdose.errors import InputError
from nufitdose.image_sources import ImageSources
from nufitdose.scanner import Scanner
from nufitdose.types import Mask, PerVoxel
from nufitdose.volume import Quantity, Volume

#: A scan that holds more than this share of what decay leaves of the administered activity cannot be right as it is:
#: calibration may be off by a few percent. A guide value of this program.
MOST_OF_ADMINISTERED = 1.05
#: A scan of the whole body that holds less than this share of it is questioned. A guide value of this program.
LEAST_OF_ADMINISTERED = 0.01

Read = Callable[[], Volume]
ReadStructures = Callable[[], "Structures"]


@dataclass(frozen=True)
class Administration:
    """Administered activity (MBq, at the time of administration) and, where known, that time."""

    activity_mbq: float
    time: datetime | None = None

    def __post_init__(self) -> None:
        if not (np.isfinite(self.activity_mbq) and self.activity_mbq > 0):
            raise InputError(f"an administered activity of {self.activity_mbq} MBq was given, wanted a positive number")

    def left_mbq(self, time_h: float, half_life_h: float) -> float:
        """What physical decay leaves of it, A 2^(-t/T)."""
        return float(self.activity_mbq * 2.0 ** (-time_h / half_life_h))


@dataclass(frozen=True, kw_only=True)
class Details:
    """What a report names beside the treatment itself, as the user says it; None where nothing was said.

    `cycle` counts the administrations of a course; `site` and `operator` are who answers for the numbers.
    """

    sex: str | None = None
    weight_kg: float | None = None
    cycle: int | None = None
    site: str | None = None
    operator: str | None = None


@dataclass(frozen=True, eq=False)
class Structures:
    """Named regions as label maps; several layers where regions overlap.

    `names` maps a label to its structure; a label occurs in one layer only. `tumours` are the names
    whose role is tumour. `u_outline_mm` is the standard uncertainty of where the outlines lie, along their normal;
    None: not known.
    """

    layers: tuple[Volume, ...]
    names: Mapping[int, str]
    tumours: frozenset[str] = field(default_factory=frozenset)
    u_outline_mm: float | None = None

    def __post_init__(self) -> None:
        if any(layer.quantity is not Quantity.LABELS for layer in self.layers):
            raise ValueError("structures need volumes of labels")
        if len(set(self.names.values())) != len(self.names):
            raise InputError(f"two labels carry one structure name: {sorted(self.names.values())}")
        unknown = sorted(self.tumours - set(self.names.values()))
        if unknown:
            raise InputError(
                f"tumours {unknown} are not among the structures {sorted(self.names.values())}",
                remedy="Name every tumour under 'structures: names:'",
            )

    def role(self, name: str) -> str:
        """'tumour' or 'organ'."""
        return "tumour" if name in self.tumours else "organ"

    @cached_property
    def _layer_of(self) -> dict[int, int]:
        present = [set(np.unique(layer.data).tolist()) for layer in self.layers]
        for label in self.names:
            if sum(label in labels for labels in present) > 1:
                raise InputError(
                    f"label {label} ({self.names[label]}) occurs in two label maps, each label belongs to one",
                    remedy="Give overlapping structures different labels",
                )
        return {label: n for label in self.names for n, labels in enumerate(present) if label in labels}

    def present(self) -> tuple[str, ...]:
        """The names with at least one voxel, in order of label."""
        return tuple(self.names[label] for label in sorted(self._layer_of))

    def volume_ml(self, name: str) -> float:
        """The volume of a structure's voxels."""
        mask, layer = self.mask(name)
        return int(mask.sum()) * layer.grid.voxel_volume_ml

    def mask(self, name: str) -> tuple[Mask, Volume]:
        """The voxels of a structure, and the layer they lie on (for its grid)."""
        label = next(number for number, known in self.names.items() if known == name)
        layer = self.layers[self._layer_of.get(label, 0)]
        return layer.data == label, layer


@dataclass(frozen=True, eq=False)
class TimePoint:
    """One scan: activity at its own acquisition time, `time_h` after administration; CT and structures if any.

    Where slices were acquired one after the other (bed positions), `slice_offsets_h` [k] is how long after `time_h`
    each of them was; the activity is physically decay-corrected to `time_h` throughout. `sources` names the DICOM
    images it was read from, where they are known.
    """

    id: str
    time_h: float
    read_activity: Read
    read_ct: Read | None = None
    read_structures: ReadStructures | None = None
    slice_offsets_h: PerVoxel | None = None
    sources: ImageSources | None = None

    def __post_init__(self) -> None:
        if not (np.isfinite(self.time_h) and self.time_h >= 0):
            raise InputError(
                f"time point {self.id!r} is {self.time_h:.3f} h after administration, wanted 0 h or later",
                remedy="Check the administration time and the acquisition time, dates and time zones included",
            )
        offsets_h = self.slice_offsets_h
        if offsets_h is not None and not (np.isfinite(offsets_h) & (offsets_h >= 0)).all():
            raise InputError(
                f"time point {self.id!r} has slices acquired {float(np.min(offsets_h)):.3g} to "
                f"{float(np.max(offsets_h)):.3g} h after its start, wanted 0 h or later"
            )

    @classmethod
    def of(
        cls,
        id: str,
        time_h: float,
        activity: Volume,
        ct: Volume | None = None,
        structures: Structures | None = None,
        slice_offsets_h: PerVoxel | None = None,
    ) -> "TimePoint":
        """A time point of volumes already in memory."""
        return cls(
            id,
            time_h,
            lambda: activity,
            None if ct is None else lambda: ct,
            None if structures is None else lambda: structures,
            slice_offsets_h,
        )

    @cached_property
    def activity(self) -> Volume:
        """Activity concentration, Bq/mL at acquisition. `InputError` where the slice times are not those of it."""
        volume = self.read_activity()
        offsets_h, slices = self.slice_offsets_h, volume.grid.shape[2]
        if offsets_h is not None and offsets_h.size != slices:
            raise InputError(
                f"time point {self.id!r} says when {offsets_h.size} slices were acquired, its activity has {slices}",
                remedy="List every slice of the third axis under 'beds', counted from 0",
            )
        return volume

    @cached_property
    def ct(self) -> Volume | None:
        """CT in HU, on its own grid, in the same world as the activity."""
        return self.read_ct() if self.read_ct else None

    @cached_property
    def structures(self) -> Structures | None:
        """Structures drawn on this time point."""
        return self.read_structures() if self.read_structures else None

    def multiplied_by(self, factor: float) -> "TimePoint":
        """The same scan with its activity multiplied by a factor when it is read."""
        read = self.read_activity

        def read_scaled() -> Volume:
            volume = read()
            return volume.with_data(volume.data * np.float32(factor))

        return self if factor == 1.0 else replace(self, read_activity=read_scaled)

    def released(self) -> "TimePoint":
        """The same time point with nothing held in memory."""
        return replace(self)


@dataclass(frozen=True, eq=False)
class Study:
    """Serial scans of one patient after one administration; `reference` names the scan all others are brought to.

    Time points are held in order of time. `dicom` holds the attributes (keyword -> value) that DICOM
    objects made for this patient must repeat, where the images came from DICOM; `statements` is what the user said
    beside or against those images when they were imported; `scanner` is what is known of the scanner, the activity
    has its calibration factor applied; `tracer` is the radiopharmaceutical, as its label has it; `details` go to the
    head of the report. Raises `InputError` on no time points, two of one id or one time, or an unknown reference.
    """

    patient: str
    nuclide: str
    administration: Administration
    reference_id: str
    timepoints: tuple[TimePoint, ...]
    dicom: Mapping[str, str] | None = None
    statements: tuple[str, ...] = ()
    scanner: Scanner | None = None
    tracer: str | None = None
    details: Details = Details()

    def __post_init__(self) -> None:
        object.__setattr__(self, "timepoints", tuple(sorted(self.timepoints, key=lambda tp: tp.time_h)))
        ids = [tp.id for tp in self.timepoints]
        if not ids:
            raise InputError(f"study {self.patient!r} has no time points, at least one is wanted")
        if len(set(ids)) != len(ids):
            raise InputError(f"study {self.patient!r} has two time points of one id: {ids}")
        for early, late in zip(self.timepoints, self.timepoints[1:], strict=False):
            if late.time_h - early.time_h < 1e-3:
                raise InputError(
                    f"time points {early.id!r} and {late.id!r} are both {early.time_h:.3f} h after administration",
                    remedy="Give each scan its own acquisition time, or remove the copy",
                )
        if self.reference_id not in ids:
            raise InputError(f"the reference time point {self.reference_id!r} is not among {ids}")

    @property
    def reference(self) -> TimePoint:
        """The time point whose grid and anatomy all others are brought to."""
        return next(tp for tp in self.timepoints if tp.id == self.reference_id)

    @property
    def structures(self) -> Structures | None:
        """The structures on the reference time point."""
        return self.reference.structures

    def with_scanner(self, scanner: Scanner) -> "Study":
        """This study with its scanner described; the calibration factor is applied to every scan's activity."""
        scans = tuple(scan.multiplied_by(scanner.factor) for scan in self.timepoints)
        return replace(self, scanner=scanner, timepoints=scans)
