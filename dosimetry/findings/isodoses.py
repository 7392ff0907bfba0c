"""The volume within each isodose, in every structure and in the body."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dosimetry.config import WHOLE_BODY
from dosimetry.metrics import DoseVolume
from dosimetry.results import PatientResults

_IN_BODY = 0.5  # share of a voxel within the body from which its dose counts


@dataclass(frozen=True)
class IsodoseVolume:
    """A row of isodoses.csv: what of a structure receives at least `dose_gy`, which was asked for as `isodose`."""

    structure: str
    isodose: str
    dose_gy: float
    volume_ml: float
    volume_percent: float


def isodose_volumes(results: PatientResults) -> Iterator[IsodoseVolume]:
    """For each dose of `metrics.isodose_gy` and `isodose_percent`, by structure; the body comes last."""
    body, known = _body_histogram(results)
    asked, highest_gy = results.settings.metrics, float(body.dose_gy[0])
    levels = [(f"{gy:g} Gy", gy) for gy in asked.isodose_gy]
    levels += [(f"{share:g} %", share / 100.0 * highest_gy) for share in asked.isodose_percent]
    named = [(found.name, found.histogram, True) for found in results.structures]
    named += [(found.name, found.histogram, True) for found in results.derived]
    for name, histogram, has_volume in [*named, (WHOLE_BODY, body, known)]:
        for level, dose_gy in levels:
            percent = histogram.v_percent(dose_gy) if has_volume else float("nan")
            yield IsodoseVolume(name, level, dose_gy, histogram.volume_at_dose_ml(dose_gy), percent)


def _body_histogram(results: PatientResults) -> tuple[DoseVolume, bool]:
    """Of the voxels within the body that the CT shows; without one of all voxels, and that no body is known."""
    dose, anatomy = results.maps.dose, results.anatomy
    inside = np.ones(dose.grid.shape, dtype=bool) if anatomy is None else anatomy.body_share >= _IN_BODY
    known = anatomy is not None and bool(inside.any())
    dose_gy = dose.data[inside] if known else dose.data.reshape(-1)
    return DoseVolume.of(dose_gy, np.full(dose_gy.size, dose.grid.voxel_volume_ml)), known
