"""Doses of several cycles on the grid of the first: each map brought there by the motion between the references."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError

from dosimetry.cycles.values import Cycle
from nufitdose.errors import InputError
from nufitdose.progress import Steps
from nufitdose.registration.scan_to_scan import Registration
from nufitdose.registration.series import Frame, register_other_series
from nufitdose.registration.settings import RegistrationSettings
from nufitdose.volume import Quantity, Volume

_SEEN = 0.5  # of a voxel, for its BED to count


@dataclass(frozen=True, eq=False)
class TotalMaps:
    """Σ dose and Σ BED, Gy, NaN where a cycle does not know it, and the frame of every later cycle.

    `bed` is None where a cycle has no map of it.
    """

    dose: Volume
    bed: Volume | None
    frames: tuple[Frame, ...]


def add_maps(
    cycles: Sequence[Cycle], settings: RegistrationSettings, steps: Steps, *, device: str = "auto"
) -> TotalMaps:
    """Sum the maps of all cycles on the dose grid of the first. Raises `InputError` where a registration cannot be."""
    first, fixed = cycles[0], cycles[0].as_study()
    total, effect = first.dose(), _bed(first)
    grid, frames = total.grid, []
    dose_gy = total.data.astype(np.float64)
    bed_gy = None if effect is None else effect.data.astype(np.float64)
    for cycle in cycles[1:]:
        frame = register_other_series(fixed, cycle.as_study(), settings, steps, device=device)[0]
        found = frame.registration
        assert found is not None
        frames.append(replace(frame, id=cycle.name))
        own = cycle.dose()
        dose_gy += np.where(found.inside(own.grid, onto=grid), found.warp(own, onto=grid).data, np.nan)
        own_bed = _bed(cycle)
        bed_gy = None if bed_gy is None or own_bed is None else bed_gy + _warp_known(own_bed, found, total)
    return TotalMaps(
        Volume(dose_gy.astype(np.float32), grid, Quantity.DOSE),
        None if bed_gy is None else Volume(bed_gy.astype(np.float32), grid, Quantity.DOSE),
        tuple(frames),
    )


def _bed(cycle: Cycle) -> Volume | None:
    """The BED map of a cycle, NaN where it is not known; None where it has none."""
    path: Path = cycle.results / "maps" / "bed.nii.gz"
    if not path.is_file():
        return None
    try:
        data = np.asarray(nibabel.load(path).dataobj, dtype=np.float32)
    except (OSError, EOFError, ImageFileError) as error:
        raise InputError(f"this map cannot be read ({error})", where=path) from error
    return Volume(data, cycle.dose().grid, Quantity.DOSE)


def _warp_known(volume: Volume, found: Registration, onto: Volume) -> np.ndarray:
    """A map with holes on another grid: the mean of what is known, NaN where less than half of a voxel is."""
    known = np.isfinite(volume.data)
    part = found.warp(volume.with_data(known.astype(np.float32), Quantity.SCALAR), onto=onto.grid).data
    value = found.warp(volume.with_data(np.where(known, volume.data, 0.0)), onto=onto.grid).data
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(part >= _SEEN, value / part, np.nan)
