"""What is true of a digital patient: integrals, half-lives, labels, fields, landmarks, tables."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nufitdose.grid import Grid
from nufitdose.phantom.anatomy import Anatomy
from nufitdose.phantom.composition import Composition
from nufitdose.phantom.fields import BodyMap
from nufitdose.phantom.tracer import LN2, Distribution
from nufitdose.types import Field, Image32
from nufitdose.volume import Quantity, Volume

_LANDMARKS_PER_STRUCTURE = 7


@dataclass(frozen=True, eq=False)
class TimePointTruth:
    """One scan: `field` leads from the reference pose to this one, `inverse` back (mm, RAS+, both on `grid`).

    `activity` is the true concentration (Bq/mL) in this pose, without blur and noise.
    """

    id: str
    time_h: float
    field: Field
    inverse: Field
    pose: BodyMap
    activity: Image32
    grid: Grid


@dataclass(frozen=True)
class Landmark:
    """A point of a structure at rest and where it is at a time point (mm, RAS+)."""

    structure: str
    timepoint: str
    fixed_mm: tuple[float, float, float]
    moving_mm: tuple[float, float, float]


@dataclass(frozen=True)
class OrganTruth:
    """A structure on the reference grid: `tiac_h` is Ã over the administered activity, `teff_h` = Σ Ã T / Σ Ã.

    `tia_mbq_h` is that of the voxels of its label, which at its edge hold others too; `own_tia_mbq_h` is that of the
    structure alone in all voxels it has a share of, as `volume_ml` is its volume. `activity_mbq` holds the total at
    each time point, at rest.
    """

    structure: str
    role: str
    volume_ml: float
    tia_mbq_h: float
    tiac_h: float
    teff_h: float
    activity_mbq: Mapping[str, float]
    own_tia_mbq_h: float


@dataclass(frozen=True, eq=False)
class PatientTruth:
    """The truth on the reference activity grid; `names` are the structures of `labels`, `ct` has no noise (HU)."""

    tia: Volume
    effective_half_life: Volume
    labels: Volume
    names: Mapping[int, str]
    tumours: frozenset[str]
    ct: Volume
    timepoints: tuple[TimePointTruth, ...]
    landmarks: tuple[Landmark, ...]
    organs: tuple[OrganTruth, ...]

    def timepoint(self, id: str) -> TimePointTruth:
        """The truth of one scan."""
        return next(tp for tp in self.timepoints if tp.id == id)


def gather_truth(
    anatomy: Anatomy,
    distribution: Distribution,
    composition: Composition,
    timepoints: tuple[TimePointTruth, ...],
) -> PatientTruth:
    """Everything true of a patient at rest, on the reference activity grid (that of `composition`)."""
    grid = composition.grid
    tia, half_life = distribution.integral(composition)
    structures = [compartment.structure if n else "" for n, compartment in enumerate(anatomy.compartments)]
    present = np.unique(composition.labels)
    names = dict(enumerate(dict.fromkeys(structures[n] for n in present if structures[n]), start=1))
    number = {name: label for label, name in names.items()}
    table = np.array([number.get(structure, 0) for structure in structures], dtype=np.uint8)
    labels = table[composition.labels]
    organs = _organs(composition, structures, names, anatomy.tumours, distribution, timepoints, labels, tia, half_life)
    return PatientTruth(
        tia=Volume(tia, grid, Quantity.TIA),
        effective_half_life=Volume(half_life, grid, Quantity.TIME),
        labels=Volume(labels, grid, Quantity.LABELS),
        names=names,
        tumours=anatomy.tumours & set(number),
        ct=Volume(anatomy.hu(composition), grid, Quantity.HU),
        timepoints=timepoints,
        landmarks=_landmarks(labels, names, grid, timepoints),
        organs=organs,
    )


def _organs(
    composition: Composition,
    structures: list[str],
    names: Mapping[int, str],
    tumours: frozenset[str],
    distribution: Distribution,
    timepoints: tuple[TimePointTruth, ...],
    labels: np.ndarray,
    tia: Image32,
    half_life: Image32,
) -> tuple[OrganTruth, ...]:
    """Totals over each structure's voxels; the volume counts shares of voxels."""
    mega = composition.grid.voxel_volume_ml * 1e-6
    flat = labels.ravel()

    def totals(values: Image32) -> np.ndarray:
        return np.bincount(flat, weights=values.ravel(), minlength=len(names) + 1) * mega

    compartment_ml = composition.volumes_ml(len(structures))
    own = distribution.compartment_totals(composition, distribution.integral_by_slot(composition)) * mega
    tia_mbq_h, weighted = totals(tia), totals(tia * half_life)
    at_rest = {tp.id: totals(distribution.activity(composition, tp.time_h)) for tp in timepoints}
    rows = []
    for label, name in names.items():
        total = float(tia_mbq_h[label])
        rows.append(
            OrganTruth(
                structure=name,
                role="tumour" if name in tumours else "organ",
                volume_ml=float(
                    sum(ml for ml, structure in zip(compartment_ml, structures, strict=True) if structure == name)
                ),
                tia_mbq_h=total,
                tiac_h=total / distribution.administered_mbq,
                teff_h=float(weighted[label]) / total if total > 0 else LN2 / distribution.decay_per_h,
                activity_mbq={key: float(values[label]) for key, values in at_rest.items()},
                own_tia_mbq_h=float(
                    sum(tia for tia, structure in zip(own, structures, strict=True) if structure == name)
                ),
            )
        )
    return tuple(rows)


def _landmarks(
    labels: np.ndarray, names: Mapping[int, str], grid: Grid, timepoints: tuple[TimePointTruth, ...]
) -> tuple[Landmark, ...]:
    """The centre of every structure and its outermost points along the three axes."""
    rows = []
    for label, name in names.items():
        points = grid.world(np.argwhere(labels == label).astype(np.float64))
        if len(points) < 4:
            continue
        ends = [points[int(f(points[:, axis]))] for axis in range(3) for f in (np.argmin, np.argmax)]
        chosen = np.array([points.mean(axis=0), *ends])[:_LANDMARKS_PER_STRUCTURE]
        for tp in timepoints:
            for fixed, moving in zip(chosen, tp.pose.move(chosen), strict=True):
                rows.append(Landmark(name, tp.id, _triple(fixed), _triple(moving)))
    return tuple(rows)


def _triple(point: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(c) for c in point)
    return x, y, z
