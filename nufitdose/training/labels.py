"""Structures of prepared scans: one label map each, and common numbers for the two scans of a pair."""

import json
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.registration.pair import resample
from nufitdose.study import Structures
from nufitdose.volume import Quantity, Volume

_MOST = 255


@dataclass(frozen=True, eq=False)
class LabelMap:
    """Structures on a working grid: label n is `names[n - 1]`, 0 is background; `tumours` are some of the names."""

    data: UInt8[np.ndarray, "i j k"]
    names: tuple[str, ...]
    tumours: frozenset[str]

    @classmethod
    def of(cls, structures: Structures, grid: Grid) -> "LabelMap":
        """Structures by the nearest voxel; where two overlap the tumour is kept, else the later by name.

        Raises `InputError` on more than 255 structures.
        """
        names = tuple(sorted(structures.present(), key=lambda name: (name in structures.tumours, name)))
        if len(names) > _MOST:
            raise InputError(f"{len(names)} structures are drawn on one scan, at most {_MOST} are wanted")
        number = {name: n for n, name in enumerate(names, start=1)}
        data = np.zeros(grid.shape, dtype=np.uint8)
        for layer in structures.layers:
            table = np.zeros(int(layer.data.max(initial=0)) + 1, dtype=np.uint8)
            for label, name in structures.names.items():
                if label < len(table):
                    table[label] = number.get(name, 0)
            numbered = layer.with_data(table[layer.data], Quantity.LABELS)
            np.maximum(data, resample(numbered, grid, np.eye(4)), out=data)
        return cls(data, names, structures.tumours & set(names))

    def on(self, own: Grid, grid: Grid, matrix: np.ndarray) -> "LabelMap":
        """The map of the grid `own` on another grid, seen through `matrix` (4x4 from the other world to its own)."""
        return LabelMap(resample(Volume(self.data, own, Quantity.LABELS), grid, matrix), self.names, self.tumours)

    def describe(self) -> str:
        """Names and tumours as JSON."""
        return json.dumps({"names": self.names, "tumours": sorted(self.tumours)})

    @classmethod
    def read(cls, data: Tensor, description: str) -> "LabelMap":
        """A map of its tensor and of what `described` told."""
        told = json.loads(description)
        return cls(data.numpy(), tuple(told["names"]), frozenset(told["tumours"]))


def common_labels(fixed: LabelMap, moving: LabelMap, *, same_patient: bool) -> UInt8[Tensor, "1 2 i j k"] | None:
    """Moving, then fixed: the structures that both scans name, numbered alike; None where there are none.

    Tumours of one name are the same tumour within a patient only.
    """
    shared = [name for name in fixed.names if name in moving.names]
    if not same_patient:
        shared = [name for name in shared if name not in fixed.tumours | moving.tumours]
    if not shared:
        return None
    both = []
    for scan in (moving, fixed):
        table = np.zeros(len(scan.names) + 1, dtype=np.uint8)
        for number, name in enumerate(shared, start=1):
            table[scan.names.index(name) + 1] = number
        both.append(table[scan.data])
    return torch.from_numpy(np.stack(both)[None])


def tumours_of(fixed: LabelMap, moving: LabelMap) -> torch.Tensor | None:
    """Moving, then fixed: 1 in tumours, 0 elsewhere, `[1, 2, i, j, k]`; None where neither scan has one."""
    if not fixed.tumours and not moving.tumours:
        return None
    both = []
    for scan in (moving, fixed):
        labels = [n for n, name in enumerate(scan.names, start=1) if name in scan.tumours]
        both.append(np.isin(scan.data, labels).astype(np.float32))
    return torch.from_numpy(np.stack(both)[None])
