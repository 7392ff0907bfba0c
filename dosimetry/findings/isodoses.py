"""The volume within each isodose, in every structure and in the body."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from dosimetry.config import WHOLE_BODY
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
    body_gy, known = _body_dose(results)
    asked, highest_gy = results.settings.metrics, float(body_gy.max())
    levels = [(f"{gy:g} Gy", gy) for gy in asked.isodose_gy]
    levels += [(f"{share:g} %", share / 100.0 * highest_gy) for share in asked.isodose_percent]
    named = [(found.name, found.histogram) for found in results.structures]
    named += [(found.name, found.histogram) for found in results.derived]
    for name, inside in named:
        for level, dose_gy in levels:
            yield IsodoseVolume(name, level, dose_gy, inside.volume_at_dose_ml(dose_gy), inside.v_percent(dose_gy))
    for level, dose_gy in levels:
        reached = np.count_nonzero(body_gy >= np.float64(dose_gy))
        percent = 100.0 * reached / body_gy.size if known else float("nan")
        yield IsodoseVolume(WHOLE_BODY, level, dose_gy, reached * results.maps.dose.grid.voxel_volume_ml, percent)


def _body_dose(results: PatientResults) -> tuple[Float32[np.ndarray, " voxels"], bool]:
    """Of the voxels within the body that the CT shows; without one of all voxels, and that no body is known."""
    dose, anatomy = results.maps.dose, results.anatomy
    inside = np.ones(dose.grid.shape, dtype=bool) if anatomy is None else anatomy.body_share >= _IN_BODY
    known = anatomy is not None and bool(inside.any())
    return (dose.data[inside] if known else dose.data.reshape(-1)), known
