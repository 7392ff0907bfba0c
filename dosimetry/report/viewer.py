"""What the page's viewer shows: CT, activity, dose, its uncertainty, isodoses and structures, small enough for a page.

All are read from the files of the results folder. Images are means over whole voxels where they have more voxels than
a page can carry, and are written with 16 bits, CT in steps of 8 HU.
"""

import base64
import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from dosimetry.findings import Findings
from dosimetry.report.colouring import COLOURS, CT_WINDOW_HU
from dosimetry.report.palette import Looks
from dosimetry.report.pictures import display_maximum, isodose_levels
from dosimetry.results import StructureResult
from nufitdose.anatomy.pooling import pool
from nufitdose.anatomy.regions import Region
from nufitdose.grid import Grid
from nufitdose.io.nifti import load_volume
from nufitdose.io.nifti_file import open_nifti, read_voxels
from nufitdose.volume import Quantity, Volume

_MOST_CT_VOXELS, _MOST_VOXELS = 2_600_000, 700_000
_CT_STEP_HU, _CT_RANGE_HU = 8.0, (-1024.0, 1016.0)
_INTENT_LABEL = 1002  # NIFTI_INTENT_LABEL
_ISODOSE_RGB = (255, 255, 255)


@dataclass(frozen=True, eq=False)
class _Maps:
    """The images of a results folder that the viewer shows, on their own grids."""

    ct: Volume | None
    activity: Volume
    dose: Volume
    u_dose: Volume | None


def viewer_content(folder: Path, results: Findings, looks: Looks) -> dict[str, Any]:
    """Images as base64 NIfTI with their scales, structures with colour and place, where to open; places in RAS+ mm."""
    maps = _load(folder, results.study.reference_id)
    dose = _shrink(maps.dose, _MOST_VOXELS)
    top_gy = max((s.dose["dose_d2_gy"] for s in results.structures), default=display_maximum(maps.dose)) or 1.0
    levels = isodose_levels(top_gy)
    images = [_ct_image(maps.ct)] if maps.ct is not None else []
    activity = _shrink(maps.activity, _MOST_VOXELS)
    activity = activity.with_data(1e-3 * activity.data)
    images.append(_image("activity", "kBq/mL", activity, display_maximum(activity), "inferno"))
    images.append(_image("dose", "Gy", dose, top_gy, COLOURS))
    if maps.u_dose is not None:
        u_dose = _shrink(maps.u_dose, _MOST_VOXELS)
        images.append(_image("uncertainty", "Gy", u_dose, display_maximum(u_dose), "viridis"))
    images.append(_labels("isodoses", np.digitize(dose.data, levels), dose.grid))
    drawn = _drawn(results.structures, maps.dose.grid).resampled_to(dose.grid)
    images.append(_labels("structures", drawn.data, dose.grid))
    return {
        "images": images,
        "isodoses": [{"gy": level, "rgb": _ISODOSE_RGB} for level in levels],
        "structures": [_structure(s, maps.dose.grid, looks) for s in results.structures],
        "start_mm": _start_mm(results.structures, maps.dose),
    }


def _load(folder: Path, reference_id: str) -> _Maps:
    ct, dose = folder / f"registered/{reference_id}_ct.nii.gz", load_volume(folder / "maps/dose.nii.gz", Quantity.DOSE)
    return _Maps(
        load_volume(ct, Quantity.HU) if ct.is_file() else None,
        load_volume(folder / f"registered/{reference_id}_activity.nii.gz", Quantity.ACTIVITY),
        dose,
        _load_uncertainty(folder / "maps/dose_uncertainty.nii.gz", dose),
    )


def _load_uncertainty(path: Path, dose: Volume) -> Volume | None:
    """The standard uncertainty on the grid of the dose; 0 where the map has none (NaN)."""
    if not path.is_file():
        return None
    return dose.with_data(np.nan_to_num(np.asarray(read_voxels(open_nifti(path), path), dtype=np.float32)))


def _shrink(volume: Volume, most: int) -> Volume:
    """Means over the smallest blocks that leave at most so many voxels."""
    found, spacing_mm = volume, min(volume.grid.spacing_mm)
    while found.grid.size > most:
        spacing_mm += 0.5
        found = pool(volume, spacing_mm)
    return found


def _ct_image(ct: Volume) -> dict[str, Any]:
    small = _shrink(ct, _MOST_CT_VOXELS)
    low, high = _CT_RANGE_HU
    steps = np.round((np.clip(small.data, low, high) - low) / _CT_STEP_HU).astype(np.uint8)
    return {
        "name": "CT",
        "unit": "HU",
        "low": CT_WINDOW_HU[0],
        "high": CT_WINDOW_HU[1],
        "colours": "gray",
        "nifti": _nifti(steps, small.grid, _CT_STEP_HU, low),
    }


def _image(name: str, unit: str, volume: Volume, top: float, colours: str) -> dict[str, Any]:
    largest = float(np.max(volume.data, initial=0.0))
    slope = largest / 32767.0 if largest > 0 else 1.0
    steps = np.round(np.maximum(volume.data, 0.0) / slope).astype(np.int16)
    content = {"name": name, "unit": unit, "low": 0.03 * top, "high": top, "colours": colours}
    return {**content, "nifti": _nifti(steps, volume.grid, slope)}


def _labels(name: str, numbers: NDArray[Any], grid: Grid) -> dict[str, Any]:
    return {"name": name, "labels": True, "nifti": _nifti(numbers.astype(np.uint8), grid, intent=_INTENT_LABEL)}


def _nifti(data: NDArray[Any], grid: Grid, slope: float = 1.0, start: float = 0.0, *, intent: int = 0) -> str:
    image = nib.Nifti1Image(data, grid.affine)
    image.header.set_slope_inter(slope, start)
    image.header.set_xyzt_units("mm")
    image.header["intent_code"] = intent
    image.set_sform(grid.affine, 1)
    image.set_qform(grid.affine, 1)
    header = image.header.copy()
    header.set_data_offset(352)
    content = header.binaryblock + bytes(4) + data.tobytes(order="F")
    return base64.b64encode(gzip.compress(content, 6, mtime=0)).decode("ascii")


def _drawn(structures: tuple[StructureResult, ...], grid: Grid) -> Volume:
    """Each voxel's structure by number from 1: where several hold half of it, the smallest; 0 for none."""
    labels = np.zeros(grid.size, np.uint16)
    numbered = sorted(enumerate(structures, start=1), key=lambda pair: -pair[1].volume_ml)
    for number, found in numbered[-255:]:
        labels[_core(found.region, grid)] = number
    return Volume(labels.reshape(grid.shape), grid, Quantity.LABELS)


def _core(region: Region, grid: Grid) -> NDArray[np.int64]:
    """The voxels that lie at least half within the structure; the fullest one where none does."""
    inside = region.index[region.part_ml >= 0.499 * grid.voxel_volume_ml]
    return inside if inside.size else region.index[[int(np.argmax(region.part_ml))]]


def _structure(found: StructureResult, grid: Grid, looks: Looks) -> dict[str, Any]:
    colour = looks[found.name].colour
    rgb = [int(colour[n : n + 2], 16) for n in (1, 3, 5)]
    return {"name": found.name, "rgb": rgb, "at_mm": _middle_mm(found.region, grid)}


def _middle_mm(region: Region, grid: Grid) -> list[float]:
    """The voxel of the structure nearest to its centroid, which may itself lie outside."""
    places = grid.world(np.stack(np.unravel_index(_core(region, grid), grid.shape), axis=-1))
    nearest = np.argmin(np.linalg.norm(places - places.mean(axis=0), axis=1))
    return [round(float(value), 3) for value in places[nearest]]


def _start_mm(structures: tuple[StructureResult, ...], dose: Volume) -> list[float]:
    """In the tumour with the largest mean dose, else the structure, else at the maximum of the map."""
    if not structures:
        peak = np.unravel_index(int(np.argmax(dose.data)), dose.grid.shape)
        return [round(float(value), 3) for value in dose.grid.world(np.array(peak, dtype=np.float64))]
    some = [s for s in structures if s.role == "tumour"] or list(structures)
    return _middle_mm(max(some, key=lambda s: s.dose["dose_mean_gy"]).region, dose.grid)
