"""Engines and peers on real CTs bent by known fields: `python -m benchmarks.bent_ct [--engines refine,nufit,...]`.

`NUFITDOSE_DATA` names the folder with the two CTs (chest, abdomen). Each is the moving scan; the fixed one is what it
looks like bent by a random smooth field, in the chest with lungs that slide along the wall besides. The two scans have
noise and contrast of their own; the activity is made from the CT. Printed is the mean error over points of the body by
their CT number, a row for every field and engine, in Markdown.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from dosimetry.evaluation.methods import Method
from nufitdose.anatomy.body import body_mask_from_ct
from nufitdose.grid import Grid
from nufitdose.io.nifti import load_volume
from nufitdose.registration.field import DisplacementField
from nufitdose.registration.network import TrainedNetwork
from nufitdose.study import TimePoint
from nufitdose.volume import Quantity, Volume

CTS = {"chest": "thorax_ct_1p5mm.nii.gz", "abdomen": "abdomen_pelvis_ct_3mm.nii.gz"}
FIELDS_MM = ((45.0, 10.0), (30.0, 4.0), (20.0, 2.5))  # length, root mean square of a component
TISSUES = {"soft tissue": (-100.0, 150.0), "bone": (250.0, 2000.0), "lung and gas": (-1000.0, -500.0)}
_SPACING_MM, _ACTIVITY_MM = 3.0, 4.0
_SLIDE_MM = 6.0  # of a lung along the wall, at half its height
_STRETCH = 0.4  # of a column of lung at most
_BORDER_MM = 24.0  # no point is nearer to the border of the CT
_NOISE_HU, _BRIGHTER_HU, _BRIGHT_HU = 25.0, 40.0, 100.0
_POINTS = 4000  # of a tissue
_COUNTS = 60.0  # in a voxel of the mean activity


@dataclass(frozen=True, eq=False)
class BentPair:
    """Two scans, the displacement (mm) of points `points_mm[tissue]` of the fixed one."""

    fixed: TimePoint
    moving: TimePoint
    points_mm: dict[str, np.ndarray]
    true_mm: dict[str, np.ndarray]


def bent_pair(ct: Volume, length_mm: float, rms_mm: float, slides: bool, seed: int) -> BentPair:
    """A CT and what it looks like bent; u is the displacement of fixed points, so fixed(x) = moving(x + u)."""
    random = np.random.default_rng(seed)
    grid = ct.grid.resampled(_SPACING_MM)
    ct = ct.averaged_onto(grid)
    u = rms_mm * np.stack([_smooth(random, grid, length_mm) for _ in range(3)])
    if slides:
        u[2] += _read(ct.with_data(_slide(ct), Quantity.SCALAR), u, 0.0, order=0).data
    field = DisplacementField(u.astype(np.float32), grid)
    activity = _activity(ct, random)
    bent, moved = (_read(volume, u, air) for volume, air in ((ct, -1000.0), (activity, 0.0)))
    fixed = TimePoint.of("fixed", 4.0, _seen(moved, random), _scanned(bent, random, 0.0))
    moving = TimePoint.of("moving", 24.0, _seen(activity, random), _scanned(ct, random, _BRIGHTER_HU))
    places = dict(_places(bent, field.inside(grid), random))
    points = {name: grid.world(index) for name, index in places.items()}
    return BentPair(fixed, moving, points, {name: u[:, *index.T].T for name, index in places.items()})


def _read(volume: Volume, u: np.ndarray, outside: float, order: int = 3) -> Volume:
    """The volume at x + u(x), by cubic splines: linear reading would blur one scan of the two."""
    grid = volume.grid
    index = grid.index(grid.world(np.moveaxis(np.indices(grid.shape), 0, -1)) + np.moveaxis(u, 0, -1))
    read = ndimage.map_coordinates(volume.data, np.moveaxis(index, -1, 0), order=order, cval=outside)
    return volume.with_data(np.maximum(read, outside).astype(np.float32))


def _smooth(random: np.random.Generator, grid: Grid, length_mm: float) -> np.ndarray:
    """Noise smoothed by a Gaussian, of root mean square 1."""
    noise = ndimage.gaussian_filter(random.standard_normal(grid.shape), np.divide(length_mm, grid.spacing_mm))
    return noise / np.sqrt((noise**2).mean())


def _slide(ct: Volume) -> np.ndarray:
    """A shift along the body within lungs that is 0 at both ends of each column of them: they slide at their sides."""
    labels, count = ndimage.label(ct.data < -500.0)
    sizes = ndimage.sum_labels(np.ones(ct.data.shape), labels, range(1, count + 1))
    rim = np.ones(ct.data.shape, bool)
    rim[1:-1, 1:-1] = False
    touches = np.unique(labels[rim])
    inside = [n + 1 for n in np.argsort(sizes)[::-1] if n + 1 not in touches][:2]
    lungs = ndimage.binary_closing(np.isin(labels, inside), iterations=3)
    voxels = lungs.sum(2, keepdims=True)
    most_mm = np.minimum(_SLIDE_MM, _STRETCH / np.pi * voxels * ct.grid.spacing_mm[2])
    return np.where(lungs, most_mm * np.sin(np.pi * np.cumsum(lungs, axis=2) / np.maximum(voxels, 1)) ** 2, 0.0)


def _activity(ct: Volume, random: np.random.Generator) -> Volume:
    """Uptake that differs from place to place in what is not air, as a scanner blurs it."""
    tissue = np.clip((ct.data + 300.0) / 400.0, 0.0, 1.0)
    uptake = np.exp(0.8 * _smooth(random, ct.grid, 12.0)) * tissue
    blurred = ndimage.gaussian_filter(uptake, 5.0 / np.array(ct.grid.spacing_mm))
    return Volume(1e4 * blurred.astype(np.float32), ct.grid, Quantity.ACTIVITY)


def _seen(activity: Volume, random: np.random.Generator) -> Volume:
    """On the voxels of a SPECT, with its noise."""
    coarse = activity.averaged_onto(activity.grid.resampled(_ACTIVITY_MM))
    counts = _COUNTS / max(float(coarse.data.mean()), 1e-9)
    noisy = ndimage.gaussian_filter(random.poisson(coarse.data * counts).astype(np.float32) / counts, 1.0)
    return coarse.with_data(noisy)


def _scanned(ct: Volume, random: np.random.Generator, brighter_hu: float) -> Volume:
    """With noise, and more contrast in what is bright."""
    noisy = ct.data + _NOISE_HU * random.standard_normal(ct.data.shape) + brighter_hu * (ct.data > _BRIGHT_HU)
    return ct.with_data(noisy.astype(np.float32))


def _places(ct: Volume, inside: np.ndarray, random: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    """Voxels of each tissue within the body, away from the border and from what the moving scan does not show."""
    body = (body_mask_from_ct(ct).data > 0) & inside
    near = [int(np.ceil(_BORDER_MM / spacing)) for spacing in ct.grid.spacing_mm]
    inner = np.zeros_like(body)
    inner[tuple(slice(n, -n) for n in near)] = True
    for name, (low, high) in TISSUES.items():
        found = np.argwhere(body & inner & (ct.data > low) & (ct.data < high))
        yield name, random.permutation(found)[:_POINTS]


def errors_mm(pair: BentPair, method: Method, network: TrainedNetwork | None) -> tuple[list[float], float]:
    """The mean error of each tissue, and seconds."""
    begun = time.monotonic()
    grid, cpu = pair.fixed.activity.grid, torch.device("cpu")
    field = method.find_field(Path(), pair.fixed, pair.moving, grid, cpu, network)
    seconds = time.monotonic() - begun
    errors = []
    for name, points in pair.points_mm.items():
        errors.append(float(np.linalg.norm(field.at(points) - pair.true_mm[name], axis=1).mean()))
    return errors, seconds


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--engines", default="rigid,refine,nufit")
    arguments.add_argument("--weights", type=Path, help="of the network, in place of the shipped ones")
    arguments.add_argument("--seed", type=int, default=1)
    given = arguments.parse_args()
    folder = Path(os.environ["NUFITDOSE_DATA"]) / "totalseg_ct"
    methods = [Method(name, name, given.weights) for name in given.engines.split(",")]
    networks = [method.load_network() for method in methods]
    print(f"| CT, field | engine | {', mm | '.join(TISSUES)}, mm | seconds |")
    print("|---" * (len(TISSUES) + 3) + "|")
    for name, file in CTS.items():
        ct = load_volume(folder / file, Quantity.HU)
        for length_mm, rms_mm in FIELDS_MM:
            pair = bent_pair(ct, length_mm, rms_mm, name == "chest", given.seed)
            for method, network in zip(methods, networks, strict=True):
                errors, seconds = errors_mm(pair, method, network)
                told = " | ".join(f"{error:.2f}" for error in errors)
                print(
                    f"| {name}, {length_mm:g} and {rms_mm:g} mm | `{method.name}` | {told} | {seconds:.1f} |",
                    flush=True,
                )


if __name__ == "__main__":
    sys.exit(main())
